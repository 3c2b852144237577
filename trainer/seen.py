"""The few defects that training may see: drawn by seed, evenly over the kinds, never tested with.

PRN's setting is ten of them. The drawn defects, and the hash of every picture that training saw,
are written beside the engine file. So `trainer-evaluate` and `trainer-gate` never judge an engine
by a picture that it learned from, even if another file holds the same picture.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engines.errors import PictureError
from engines.files import file_sha256, read_file, write_atomic
from trainer.dataset import GOOD, Dataset, Sample, content_sha, load_pictures
from trainer.errors import DatasetError
from trainer.fingerprints import fingerprint
from trainer.groups import LookedAt, related
from trainer.truth import read_truth, truth_at

SEEN_NAME = "seen.json"
MAX_SEEN_BYTES = 16 << 20  # hashes of 200,000 pictures; a registry takes no more


class SeenRecord(BaseModel):
    """Which pictures an engine learned from, or was calibrated on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1, 2] = 2  # 1: defects only, no content
    dataset: str
    seed: int
    leave_out: tuple[str, ...] = Field(default=(), description="kinds that were never drawn")
    pictures: dict[str, str] = Field(
        description="SHA-256 of the defects' files by name in the data folder"
    )
    content: tuple[str, ...] = Field(
        default=(), description="SHA-256 of shape and pixels of every picture, normal ones too"
    )


@dataclass(frozen=True, slots=True)
class SeenPictures:
    """Seen defects with their pixels."""

    pixels: NDArray[np.uint8]  # [S, H, W, 3], RGB
    masks: NDArray[np.bool_]  # [S, H, W], none of them empty
    shas: tuple[str, ...] = ()  # of each, as `content_sha` gives it


def draw_seen(
    dataset: Dataset, count: int | None, seed: int, leave_out: Collection[str] = ()
) -> tuple[tuple[Sample, ...], Dataset]:
    """Draw `count` defects in turns over their kinds, and take them out of the dataset.

    With them goes what is tested and shares a named group with one of them.

    They come from the training part where that holds defects, else from the test part, which loses
    them. One whose picture does not decode is named in `Dataset.unreadable`, and the next is drawn.

    Args:
        dataset: to draw from.
        count: how many; 0 draws none, None all that can be learned from: then one without a
            fitting mask is named in `Dataset.unreadable` too.
        seed: of the draw: the same one and the same files give the same pictures.
        leave_out: kinds of defects never to draw, to see how unknown kinds fare.

    Returns: the drawn samples and the dataset without them.

    Raises:
        DatasetError: too few defects, or one of a number drawn has no mask, an empty one or one of
            another size.
    """
    if count == 0:
        return (), dataset
    pool = dataset.defects or tuple(sample for sample in dataset.test if sample.kind != GOOD)
    pool = tuple(sample for sample in pool if sample.kind not in leave_out)
    seen: list[Sample] = []
    unreadable: list[str] = []
    refused: list[Sample] = []
    for sample in _in_turns(pool, np.random.default_rng(seed)):
        if len(seen) == count:
            break
        try:
            height, width = sample.read().shape[:2]
            read_truth(sample, (height, width))
        except (PictureError, DatasetError) as error:
            if count is not None and isinstance(error, DatasetError):
                raise
            unreadable.append(str(error))
            refused.append(sample)
            continue
        seen.append(sample)
    if count is not None and len(seen) < count:
        raise DatasetError(_too_few(dataset.name, count, len(seen), leave_out, unreadable))
    groups = {sample.group for sample in seen if sample.group}
    mates = [sample for sample in dataset.test if sample.group in groups]
    rest = without(dataset, [sample.name for sample in (*seen, *refused, *mates)])
    return tuple(seen), replace(rest, unreadable=(*dataset.unreadable, *unreadable))


def without(dataset: Dataset, names: Collection[str]) -> Dataset:
    """Take the samples of these names out of the test and the defects of a dataset."""
    gone = frozenset(names)
    return replace(
        dataset,
        test=tuple(sample for sample in dataset.test if sample.name not in gone),
        defects=tuple(sample for sample in dataset.defects if sample.name not in gone),
    )


def seen_record(
    dataset: str,
    seed: int,
    leave_out: Collection[str],
    samples: Sequence[Sample],
    shas: Iterable[str] = (),
) -> SeenRecord:
    """Make the record of the defects drawn, and of the pixels of all pictures by `content_sha`."""
    return SeenRecord(
        dataset=dataset,
        seed=seed,
        leave_out=tuple(leave_out),
        pictures={sample.name: file_sha256(sample.path) for sample in samples},
        content=tuple(sorted(set(shas))),
    )


def recognise(dataset: Dataset, record: SeenRecord) -> tuple[Sample, ...]:
    """Find the recorded pictures among a dataset's defects and its test, by their pixels."""
    content = frozenset(record.content)
    every = (*dataset.defects, *dataset.test)
    if not content:  # as it was written before: of defects only, and their files
        return tuple(
            sample
            for sample in every
            if sample.name in record.pictures
            and file_sha256(sample.path) == record.pictures[sample.name]
        )
    return tuple(sample for sample in every if _sha_of(sample) in content)


def unseen(dataset: Dataset, engines: Iterable[Path]) -> Dataset:
    """Take what any of these engines learned from, or what is like it, out of test and defects.

    Raises:
        DatasetError: the record beside an engine is no such record.
    """
    for engine in engines:
        record = read_seen(engine.parent)
        if record is not None:
            learned = recognise(dataset, record)
            gone = (*learned, *related_to_learned(dataset, learned, record))
            dataset = without(dataset, [each.name for each in gone])
    return dataset


def related_to_learned(
    dataset: Dataset, learned: Sequence[Sample], record: SeenRecord
) -> tuple[Sample, ...]:
    """Find tested pictures that share a group with one that was learned, or nearly copy it.

    Args:
        dataset: with its normal pictures to learn from, as far as they are there.
        learned: its defects and tested pictures that were learned, as `recognise` finds them.
        record: of all that was learned.
    """
    content, names = frozenset(record.content), {sample.name for sample in learned}
    seen = [each for sample in learned if (each := _looked_at(sample))]
    seen += [
        each for sample in dataset.normals if (each := _looked_at(sample)) and each.sha in content
    ]
    if not seen:
        return ()
    tested = [sample for sample in dataset.test if sample.name not in names]
    looked = [each for sample in tested if (each := _looked_at(sample))]
    return related(seen, looked)


def apart_from(dataset: Dataset, learned: Sequence[Sample]) -> Dataset:
    """Take out of a dataset's test what shares a group with a learned picture, or nearly copies it.

    Args:
        dataset: to test with.
        learned: pictures to learn from, normal ones and defects.
    """
    seen = [each for sample in learned if (each := _looked_at(sample))]
    looked = [each for sample in dataset.test if (each := _looked_at(sample))]
    gone = frozenset(sample.name for sample in related(seen, looked))
    rest = tuple(sample for sample in dataset.test if sample.name not in gone)
    return replace(dataset, test=rest)


def load_seen(samples: Sequence[Sample], size: tuple[int, int]) -> SeenPictures:
    """Read defects that `draw_seen` gave, with their masks, at `size` (height, width).

    Raises:
        DatasetError: one is not readable any more.
    """
    if not samples:
        return SeenPictures(np.empty((0, *size, 3), np.uint8), np.empty((0, *size), np.bool_))
    pictures = load_pictures(samples, size)
    if pictures.unreadable:
        raise DatasetError(f"seen defect {pictures.unreadable[0]}: draw again")
    masks = [
        truth_at(sample, shape, size)
        for sample, shape in zip(samples, pictures.shapes, strict=True)
    ]
    return SeenPictures(pictures.pixels, np.stack(masks), pictures.shas)


def write_seen(folder: Path, record: SeenRecord) -> None:
    """Write `folder`/seen.json, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / SEEN_NAME, (record.model_dump_json(indent=2) + "\n").encode())


def join_seen(folder: Path, record: SeenRecord) -> None:
    """Write `folder`/seen.json, joined with what a training on defects left there."""
    found = read_seen(folder)
    if found is not None and found.pictures:
        content = tuple(sorted({*found.content, *record.content}))
        record = found.model_copy(update={"content": content})
    write_seen(folder, record)


def read_seen(folder: Path) -> SeenRecord | None:
    """Read `folder`/seen.json; None where there is none.

    Raises:
        DatasetError: it is no such record.
    """
    path = folder / SEEN_NAME
    if not path.is_file():
        return None
    try:
        return SeenRecord.model_validate_json(read_file(path, MAX_SEEN_BYTES))
    except (OSError, ValidationError) as error:
        raise DatasetError(f"{path} is no list of seen pictures ({error}): train again") from error


def _looked_at(sample: Sample) -> LookedAt | None:
    """Return a sample with its fingerprint and the hash of its pixels; None if unreadable."""
    try:
        pixels = sample.read()
    except PictureError:
        return None  # reported by the code that judges by it
    return LookedAt(sample, fingerprint(pixels), content_sha(pixels))


def _sha_of(sample: Sample) -> str | None:
    try:
        return content_sha(sample.read())
    except PictureError:
        return None  # reported by the code that judges by it


def _in_turns(pool: Sequence[Sample], rng: np.random.Generator) -> Iterator[Sample]:
    """All of them in random order, one of each kind in turn; the turns' order is random too."""
    kinds: dict[str, list[Sample]] = {}
    for sample in sorted(pool, key=lambda sample: (sample.kind, sample.name)):
        kinds.setdefault(sample.kind, []).append(sample)
    queues = [[each[index] for index in rng.permutation(len(each))] for each in kinds.values()]
    queues = [queues[index] for index in rng.permutation(len(queues))]
    for turn in range(max((len(queue) for queue in queues), default=0)):
        yield from (queue[turn] for queue in queues if turn < len(queue))


def _too_few(
    name: str, wanted: int, found: int, leave_out: Collection[str], unreadable: Sequence[str]
) -> str:
    but = f" (kinds left out: {', '.join(sorted(leave_out))})" if leave_out else ""
    if not found and unreadable:
        return (
            f"none of {len(unreadable)} defects of {name} can be learned from{but}, the first: "
            f"{unreadable[0]}"
        )
    if not found:
        return (
            f"{name} holds no defects to learn from{but}: put pictures into test/KIND and masks "
            "into ground_truth/KIND, or train without seen defects"
        )
    why = f", {len(unreadable)} do not read, the first: {unreadable[0]}" if unreadable else ""
    return f"{name} holds {found} readable defects{but}, {wanted} are wanted{why}: ask for fewer"
