"""Pictures that belong together: of one part, one series, or one picture saved several times.

Such pictures say nearly the same thing. One that teaches and one that tests would make an engine
look better than it is, and several that calibrate would count as more parts than they show. A
person names groups by a file or a pattern. Copies and near-copies are found without being told, by
the fingerprint that the sample store uses too.
"""

import csv
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from trainer.dataset import Dataset, Sample
from trainer.errors import DatasetError
from trainer.fingerprints import LENGTH, Fingerprint, fingerprint, near_copies

NAMED = "group "  # how the key of a named group begins
MAX_GROUPS_BYTES = 64 << 20
_HEADER = ("picture", "group")
_PERMUTATIONS = 99
_ALIKE = 0.8  # of the usual difference: neighbours that differ by less come in series
_COPY_STEP = 1.0  # grey levels: as near as copies
_LEAST_SERIES = 10  # pictures, to tell a series from chance


@dataclass(frozen=True, slots=True)
class GroupRule:
    """How a person names groups: a file, a pattern, or not at all."""

    file: Path | None = None  # CSV: picture, group
    pattern: str | None = None  # regular expression on a picture's path in the data folder


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
        """How many groups there are."""
        return len(set(self.keys))


def name_groups(dataset: Dataset, rule: GroupRule) -> Dataset:
    """Write the groups that a person named into the samples of a dataset.

    Raises:
        DatasetError: both a file and a pattern, an unreadable one, or one that names no picture.
    """
    if rule.file is None and rule.pattern is None:
        return dataset
    if rule.file is not None and rule.pattern is not None:
        raise DatasetError("--groups and --group-pattern name the same thing: give one of them")
    samples = (*dataset.normals, *dataset.defects, *dataset.test)
    if rule.file is not None:
        named, source = _by_file(rule.file, samples), f"--groups {rule.file}"
    else:
        named, source = _by_pattern(rule.pattern or "", samples), f"--group-pattern {rule.pattern}"
    if samples and not named:
        raise DatasetError(
            f"{source} names none of the {len(samples)} pictures of {dataset.name}, which are "
            f"called as {samples[0].name}"
        )

    def grouped(part: Sequence[Sample]) -> tuple[Sample, ...]:
        return tuple(replace(each, group=named.get(each.name, each.group)) for each in part)

    return replace(
        dataset,
        normals=grouped(dataset.normals),
        test=grouped(dataset.test),
        defects=grouped(dataset.defects),
    )


def find_groups(
    samples: Sequence[Sample], prints: NDArray[np.float16], shas: Sequence[str]
) -> PictureGroups:
    """Join pictures that share a named group, and those that are near-copies of each other.

    Where most pictures are nearly the same, as parts in one jig may be, near-copies say nothing of
    series: then only exact copies are joined, and the note says so.

    Args:
        samples: N of them.
        prints: their fingerprints, [N, LENGTH].
        shas: [N], as `content_sha` gives them.

    Raises:
        DatasetError: all of several pictures are copies of one.
    """
    places = tuple(str(place) for place in range(len(samples)))
    alike, note = np.concatenate([near_copies(prints), same_places(shas)]), ""
    if len(samples) > 1 and len(set(shas)) == 1:
        raise DatasetError(
            f"all {len(samples)} pictures of normal parts are copies of one, {samples[0].name}: "
            "take pictures of different parts"
        )
    if 2 * max(Counter(join(places, alike)).values(), default=0) > len(places) > 1:
        alike = same_places(shas)
        note = (
            "most pictures are nearly the same: only exact copies count as one part, and "
            "the promised rate of false rejects is optimistic if several pictures show one part"
        )
    copies = len(places) - len(set(join(places, alike)))
    if not note and not any(sample.group for sample in samples):
        note = series_note([sample.name for sample in samples], prints)
    if copies and not note:
        note = f"{copies} of {len(samples)} pictures are near-copies of others: a part counts once"
    return PictureGroups(join([group_key(sample) for sample in samples], alike), copies, note)


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


def related(
    learned: Sequence[tuple[Sample, Fingerprint]], tested: Sequence[tuple[Sample, Fingerprint]]
) -> tuple[Sample, ...]:
    """Return the tested samples that share a group with a learned one, or nearly copy it."""
    groups = {sample.group for sample, _ in learned if sample.group}
    found = {sample.name for sample, _ in tested if sample.group in groups}
    prints = [print_ for _, print_ in (*learned, *tested)]
    if learned and tested:
        for one, other in near_copies(np.stack(prints)):
            low, high = sorted((int(one), int(other)))
            if low < len(learned) <= high:
                found.add(tested[high - len(learned)][0].name)
    return tuple(sample for sample, _ in tested if sample.name in found)


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


def _by_file(path: Path, samples: Sequence[Sample]) -> Mapping[str, str]:
    """Read rows of picture and group; a picture is its path in the data folder or its file name."""
    try:
        if path.stat().st_size > MAX_GROUPS_BYTES:
            raise DatasetError(f"{path} is larger than {MAX_GROUPS_BYTES} bytes: no list of groups")
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read as CSV (picture, group): {error}") from error
    if rows and tuple(cell.strip().lower() for cell in rows[0]) == _HEADER:
        rows = rows[1:]
    wanted: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        if len(row) != len(_HEADER) or not row[0].strip():
            raise DatasetError(
                f"{path}, row {number}: {','.join(row)!r:.80}, wanted is a picture and its group"
            )
        name, group = row[0].strip().replace("\\", "/"), row[1].strip()
        if wanted.setdefault(name, group) != group:
            raise DatasetError(f"{path} puts {name} into two groups: {wanted[name]} and {group}")
    return _matched(wanted, samples, path)


def _matched(wanted: Mapping[str, str], samples: Sequence[Sample], path: Path) -> Mapping[str, str]:
    """Find the sample of each row; a file name that several samples share names none of them."""
    short: dict[str, list[str]] = {}
    for sample in samples:
        short.setdefault(PurePosixPath(sample.name).name, []).append(sample.name)
    named: dict[str, str] = {}
    for sample in samples:
        name = PurePosixPath(sample.name).name
        if sample.name in wanted:
            named[sample.name] = wanted[sample.name]
        elif name in wanted:
            if len(short[name]) > 1:
                raise DatasetError(
                    f"{path} names {name}, which is {' and '.join(short[name][:2])}: write the "
                    "path in the data folder"
                )
            named[sample.name] = wanted[name]
    return named


def _by_pattern(pattern: str, samples: Sequence[Sample]) -> Mapping[str, str]:
    """Name a group by what the pattern finds in a picture's path: its brackets, or all of it."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise DatasetError(f"--group-pattern {pattern}: {error}: no regular expression") from error
    named: dict[str, str] = {}
    for sample in samples:
        found = compiled.search(sample.name)
        if found:
            parts = [part for part in found.groups() if part is not None]
            named[sample.name] = "/".join(parts) if compiled.groups else found.group(0)
    return named
