"""What a store does when it is opened for writing: files and index are brought to agree.

The index is the truth for pictures that it knows: a file that lies elsewhere is moved to where the
index says. A picture that it does not know is taken up as its folder describes it, so that a lost
index costs the sources and reasons only; groups are in a file of their own. Nothing is removed but
files that were half written.
"""

from dataclasses import dataclass
from pathlib import Path

from engines.errors import PictureError
from engines.pictures.masks import read_mask
from engines.pictures.read import read_picture
from trainer.dataset import GOOD, content_sha
from trainer.fingerprints import NearDuplicateIndex, fingerprint
from trainer.samples.files import (
    PictureFile,
    find_halves,
    find_masks,
    find_pictures,
    move,
    picture_path,
)
from trainer.samples.group_journal import GroupJournal
from trainer.samples.index import Index, IndexChange
from trainer.samples.records import Picture, SampleStatus
from trainer.samples.split import Split, choose_split


@dataclass(frozen=True, slots=True)
class Repair:
    """What was found and done."""

    taken_up: int = 0  # pictures that the index did not know
    moved: int = 0  # files that lay elsewhere
    strange: tuple[str, ...] = ()  # files left as they are: no picture, or not what they are named


def repair(folder: Path, index: Index, duplicates: NearDuplicateIndex) -> Repair:
    """Bring files and index to agree; `duplicates` learns of the pictures that are taken up.

    Raises:
        StoreError: the disk is full, or not ours to write.
    """
    for half in find_halves(folder):
        half.unlink(missing_ok=True)
    journal = GroupJournal(folder)
    groups = journal.read()
    taken_up = moved = 0
    strange: list[str] = []
    rows = {each.sha: each for each in index.pictures()}
    for found in sorted(find_pictures(folder), key=_rank):
        row = rows.get(found.sha)
        if row is None:
            group = groups.get(found.sha, "")
            taken = _take_up(found, _mask_of(folder, found.sha), group, index, duplicates)
            if isinstance(taken, str):
                strange.append(taken)
                continue
            row = taken
            taken_up += 1
        if (right := folder / picture_path(row)) != found.path:
            moved += _moved(found.path, right, strange)
    journal.match(index.groups(), {each.sha for each in index.pictures()})
    return Repair(taken_up, moved, tuple(strange))


def _rank(found: PictureFile) -> int:
    """Kept ones come first, as they decide on which side others are, and last those on neither."""
    return {SampleStatus.KEPT: 0, SampleStatus.ASIDE: 2}.get(found.place, 1)


def _mask_of(folder: Path, sha: str) -> tuple[str, str]:
    """Hash and kind of the newest mask of a picture; empty where there is none."""
    masks = [(path.stat().st_mtime_ns, kind, path) for kind, path in find_masks(folder, sha)]
    for _, kind, path in sorted(masks, reverse=True):
        try:
            return content_sha(read_mask(path)), kind
        except PictureError:
            continue  # a fault of the disk: the picture counts without it
    return "", ""


def _take_up(
    found: PictureFile,
    mask: tuple[str, str],
    group: str,
    index: Index,
    duplicates: NearDuplicateIndex,
) -> Picture | str:
    """Add a row for a picture; returns it, or why there is none."""
    try:
        pixels = read_picture(found.path)
    except PictureError as error:
        return str(error)
    if content_sha(pixels) != found.sha:
        return f"{found.path}: other pixels than its name says"
    print_ = fingerprint(pixels)
    kind, golden, place = found.kind or mask[1] or GOOD, found.golden, found.place
    if place is not SampleStatus.KEPT:
        likes = {*duplicates.of(print_), *index.group_members(group)}
        sides = [row.golden for sha in sorted(likes) if (row := index.picture(sha))]
        decided = choose_split(found.sha, sides)
        golden = decided is Split.GOLDEN
        if decided is Split.NEITHER and place is not SampleStatus.REJECTED:
            place = SampleStatus.ASIDE
    with_mask = mask if kind != GOOD else ("", "")
    picture = Picture(found.sha, kind, golden, place, *with_mask)
    named = (found.sha, group) if group else None
    index.write(IndexChange(picture, print_, group=named))
    duplicates.add(found.sha, print_)
    return picture


def _moved(path: Path, right: Path, strange: list[str]) -> int:
    if right.exists():
        strange.append(f"{path}: lies at {right} too")
        return 0
    move(path, right)
    return 1
