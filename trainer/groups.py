"""Pictures that belong together: of one part, one series, or one picture saved several times.

Such pictures hold nearly the same information. If one is learned and another tested, an engine
looks better than it is. Several in a calibration would count as more parts than they show. A person
names groups (`trainer.group_rules`). Copies and near-copies are found automatically, by the
fingerprint that the sample store uses too.
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.dataset import Sample
from trainer.errors import DatasetError
from trainer.fingerprints import LENGTH, Fingerprint, fingerprint, near_copies

NAMED = "group "  # how the key of a named group begins
_PERMUTATIONS = 99
_ALIKE = 0.8  # of the usual difference: neighbours that differ by less come in series
_COPY_STEP = 1.0  # grey levels: as near as copies
_LEAST_SERIES = 10  # pictures, to tell a series from chance
_MOST_ALIKE = (
    "most pictures are nearly the same: only exact copies count as one part, and the promised rate "
    "of false rejects is optimistic if several pictures show one part"
)


@dataclass(frozen=True, slots=True)
class PictureGroups:
    """Which of N pictures belong together."""

    keys: tuple[str, ...]  # [N], equal for pictures of one group
    copies: int  # pictures that are near-copies of an earlier one
    note: str = ""  # what a person should know of them; "": nothing

    @property
    def notes(self) -> tuple[str, ...]:
        """The note, if there is one."""
        return (self.note,) if self.note else ()

    @property
    def count(self) -> int:
        """Return the number of groups."""
        return len(set(self.keys))


def find_groups(
    samples: Sequence[Sample], prints: NDArray[np.float16], shas: Sequence[str]
) -> PictureGroups:
    """Join pictures that share a named group, and those that are near-copies of each other.

    If most pictures are nearly the same, as parts in one jig may be, near-copies do not indicate a
    series. Then only exact copies are joined, and the note says so.

    Args:
        samples: N of them.
        prints: their fingerprints, [N, LENGTH].
        shas: [N], as `content_sha` gives them.

    Raises:
        DatasetError: all of several pictures are copies of one.
    """
    if len(samples) > 1 and len(set(shas)) == 1:
        raise DatasetError(
            f"all {len(samples)} pictures of normal parts are copies of one, {samples[0].name}: "
            "take pictures of different parts"
        )
    alike, most = _alike_pairs(prints, shas)
    copies = len(samples) - len(set(join(_places(len(samples)), alike)))
    return PictureGroups(
        join([group_key(sample) for sample in samples], alike),
        copies,
        _MOST_ALIKE if most else _note(samples, prints, copies),
    )


def picture_keys(
    samples: Sequence[Sample], prints: NDArray[np.float16], shas: Sequence[str]
) -> tuple[str, ...]:
    """Return a key for each of N pictures, [N], equal for pictures of one group.

    Args:
        samples: N of them.
        prints: their fingerprints, [N, LENGTH].
        shas: [N], as `content_sha` gives them; empty where they are not known.
    """
    return join([group_key(sample) for sample in samples], _alike_pairs(prints, shas)[0])


def _alike_pairs(prints: NDArray[np.float16], shas: Sequence[str]) -> tuple[NDArray[np.intp], bool]:
    """Pair copies and near-copies, [P, 2]; of pictures that are nearly all alike only copies.

    Returns: the pairs, and whether most pictures are nearly alike.
    """
    exact = same_places(shas)
    alike = np.concatenate([near_copies(prints), exact])
    largest = max(Counter(join(_places(len(prints)), alike)).values(), default=0)
    most = 2 * largest > len(prints) > 1
    return (exact if most else alike), most


def _places(count: int) -> tuple[str, ...]:
    return tuple(str(place) for place in range(count))


def _note(samples: Sequence[Sample], prints: NDArray[np.float16], copies: int) -> str:
    note = ""
    if not any(sample.group for sample in samples):
        note = series_note([sample.name for sample in samples], prints)
    if copies and not note:
        note = f"{copies} of {len(samples)} pictures are near-copies of others: a part counts once"
    return note


def fingerprints(pixels: NDArray[np.uint8]) -> NDArray[np.float16]:
    """Reduce pictures, uint8 [N, H, W, 3], to their fingerprints [N, LENGTH]."""
    prints = np.empty((len(pixels), LENGTH), np.float16)
    for place, picture in enumerate(pixels):
        prints[place] = fingerprint(picture)
    return prints


def join(names: Sequence[str], pairs: NDArray[np.intp]) -> tuple[str, ...]:
    """Join N names over pairs [P, 2] of places; each gets the first name that it is joined to.

    Equal names belong together from the start.
    """
    first = {name: place for place, name in reversed(list(enumerate(names)))}
    root = [first[name] for name in names]

    def find(place: int) -> int:
        while root[place] != place:
            root[place] = root[root[place]]
            place = root[place]
        return place

    for one, other in pairs:
        low, high = sorted((find(int(one)), find(int(other))))
        root[high] = low
    return tuple(names[find(place)] for place in range(len(names)))


def group_key(sample: Sample) -> str:
    """Return what pictures of one named group share; a picture without one is its own."""
    return NAMED + sample.group if sample.group else f"picture {sample.name}"


def same_places(values: Sequence[str]) -> NDArray[np.intp]:
    """Pair each place [P, 2] with an earlier one that holds the same value."""
    first: dict[str, int] = {}
    pairs = [(first.setdefault(value, place), place) for place, value in enumerate(values)]
    return np.array([pair for pair in pairs if pair[0] != pair[1]], np.intp).reshape(-1, 2)


@dataclass(frozen=True, slots=True)
class LookedAt:
    """A picture that was read, by what it is compared with others."""

    sample: Sample
    print_: Fingerprint
    sha: str  # as `content_sha` gives it


def related(learned: Sequence[LookedAt], tested: Sequence[LookedAt]) -> tuple[Sample, ...]:
    """Return the tested samples that share a group with a learned one, or nearly copy it."""
    groups = {each.sample.group for each in learned if each.sample.group}
    found = {each.sample.name for each in tested if each.sample.group in groups}
    every = (*learned, *tested)
    if learned and tested:
        prints = np.stack([each.print_ for each in every])
        for one, other in _alike_pairs(prints, [each.sha for each in every])[0]:
            low, high = sorted((int(one), int(other)))
            if low < len(learned) <= high:
                found.add(every[high].sample.name)
    return tuple(each.sample for each in tested if each.sample.name in found)


def draw_groups(
    keys: Sequence[str], share: float, seed: int, kept: Collection[str] = ()
) -> NDArray[np.bool_]:
    """Draw groups to hold out, at least one and never all; returns which pictures they are.

    Args:
        keys: [N], the group of each picture.
        share: of the groups.
        seed: of the draw.
        kept: groups that must not be held out.

    Raises:
        DatasetError: fewer than two groups, or none but those that must be kept.
    """
    order = list(dict.fromkeys(keys))
    free = [key for key in order if key not in kept]
    if len(order) < 2 or not free:  # noqa: PLR2004  # one to learn from, one to calibrate with
        raise DatasetError(
            f"{len(keys)} readable normal pictures in {len(order)} groups of which {len(free)} can "
            "be held out: pictures of at least 2 parts are needed, better 100"
        )
    most = len(free) - (len(free) == len(order))
    count = min(max(1, round(len(order) * share)), most)
    drawn = np.random.default_rng(seed).permutation(len(free))[:count]
    held = {free[place] for place in drawn}
    return np.array([key in held for key in keys], np.bool_)


def series_note(names: Sequence[str], prints: NDArray[np.float16]) -> str:
    """Return a warning if pictures that follow each other by name are clearly more alike; else "".

    Their order is compared with random ones; copies would only repeat that they are copies.
    """
    order = sorted(range(len(prints)), key=lambda place: natural_order(names[place]))
    rows = prints[order].astype(np.float32)
    kept = [0] + [place for place in range(1, len(rows)) if _step(rows, place) > _COPY_STEP]
    rows = rows[kept]
    if len(rows) < _LEAST_SERIES:
        return ""
    rng = np.random.default_rng(0)
    random = [_mean_step(rows[rng.permutation(len(rows))]) for _ in range(_PERMUTATIONS)]
    found, usual = _mean_step(rows), float(np.mean(random))
    if found >= min(random) or found > _ALIKE * usual:
        return ""
    return (
        "pictures that follow one another by name are more alike than others "
        f"({found:.1f} against {usual:.1f} grey levels): if they come from one part, day or lot, "
        "the promised rate of false rejects is optimistic; say with --groups or --group-pattern "
        "which belong together"
    )


def natural_order(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts names as people count: 2 before 10."""
    parts = re.split(r"(\d+)", name)
    return [(int(part.isdecimal()), int(part) if part.isdecimal() else 0, part) for part in parts]


def _step(rows: NDArray[np.float32], place: int) -> float:
    return float(np.abs(rows[place] - rows[place - 1]).mean())


def _mean_step(rows: NDArray[np.float32]) -> float:
    return float(np.abs(np.diff(rows, axis=0)).mean())
