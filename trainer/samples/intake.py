"""How pictures get into a store and move within it: file first, whole, then the row.

They come from folders, and from labels of a line with their archived frames.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.pictures.read import MAX_PIXELS
from pipeline.archive import ArchivedFrame
from pipeline.errors import LabelError
from pipeline.label_rules import label_mask
from pipeline.labels import Label, LabelKind
from trainer.dataset import GOOD, content_sha
from trainer.errors import SampleError
from trainer.fingerprints import NearDuplicateIndex, fingerprint
from trainer.layouts import DEFECT
from trainer.samples.files import check_kind, mask_path, move, picture_path, write_png
from trainer.samples.group_journal import GroupJournal
from trainer.samples.index import Index, IndexChange
from trainer.samples.records import AddResult, LabelRecord, LabelSource, Picture, SampleStatus
from trainer.samples.split import Split, choose_split

Pixels = NDArray[np.uint8]  # [H, W, 3], RGB
Mask = NDArray[np.bool_]  # [H, W]
ReadTo = tuple[str, str] | None  # (line, label id)
_SETTLED = frozenset({SampleStatus.ASIDE, SampleStatus.REJECTED})
UNSURE = "unsure"
EXPIRED = "expired"
PREDICTED = "predicted"


class SampleWriter:
    """Writes the pictures of one store."""

    def __init__(self, folder: Path, index: Index, duplicates: NearDuplicateIndex) -> None:
        self._folder = folder
        self._index = index
        self._duplicates = duplicates
        self._journal = GroupJournal(folder)

    def add(
        self,
        pixels: Pixels,
        kind: str,
        mask: Mask | None,
        source: LabelSource,
        note: str = "",
        read_to: ReadTo = None,
        group: str = "",
    ) -> AddResult:
        """Take a picture; see `SampleStore.add`. `note` and `read_to` are written with it."""
        _check(pixels, kind, mask)
        marked = mask if mask is not None and kind != GOOD and mask.any() else None
        sha = content_sha(pixels)
        mask_sha = "" if marked is None else content_sha(marked)
        label_record = LabelRecord(sha, kind, mask_sha, source, note)
        named = (sha, group) if group else None
        if group and self._index.group(sha) != group:
            self._journal.add(sha, group)
        change = IndexChange(label_record=label_record, read_to=read_to, group=named)
        row = self._index.picture(sha)
        if row is None:
            picture = self._new(sha, pixels, kind, mask_sha, marked, change)
            return AddResult(sha, "new", picture.golden)
        if not (self._folder / picture_path(row)).is_file():  # a lost file comes back
            write_png(self._folder / picture_path(row), pixels)
        after = _relabelled(row, kind, mask_sha)
        if self._joins_golden(row, group):
            after = replace(row, place=SampleStatus.ASIDE)
        elif after == row or self._index.has_label(label_record):
            self._index.write(change)
            return AddResult(sha, "known", row.golden)
        self._write_mask(after, marked)
        self.place(row, after, change)
        return AddResult(sha, "changed", row.golden)

    def place(self, before: Picture, after: Picture, change: IndexChange) -> None:
        """Move a picture to where its new row says, and write the row with `change`.

        Raises:
            StoreError: the disk is full, or not ours to write.
        """
        old, new = self._folder / picture_path(before), self._folder / picture_path(after)
        if old != new and old.is_file():
            move(old, new)
        self._index.write(replace(change, picture=after))

    def _new(
        self,
        sha: str,
        pixels: Pixels,
        kind: str,
        mask_sha: str,
        mask: Mask | None,
        change: IndexChange,
    ) -> Picture:
        print_ = fingerprint(pixels)
        group = change.group[1] if change.group else ""
        likes = {*self._duplicates.of(print_), *self._index.group_members(group)}
        sides = [row.golden for like in sorted(likes) if (row := self._index.picture(like))]
        decided = choose_split(sha, sides)
        place = SampleStatus.INCOMING if kind == GOOD else SampleStatus.KEPT
        picture = Picture(
            sha=sha,
            kind=kind,
            golden=decided is Split.GOLDEN,
            place=SampleStatus.ASIDE if decided is Split.NEITHER else place,
            mask=mask_sha,
            mask_kind=kind if mask_sha else "",
        )
        self._write_mask(picture, mask)
        write_png(self._folder / picture_path(picture), pixels)
        self._index.write(replace(change, picture=picture, fingerprint=print_))
        self._duplicates.add(sha, print_)
        return picture

    def _joins_golden(self, row: Picture, group: str) -> bool:
        """Whether a known picture, now said to be of a group, must not be learned any more."""
        if not group or row.golden or row.place in _SETTLED:
            return False
        mates = (self._index.picture(sha) for sha in self._index.group_members(group))
        return any(mate.golden for mate in mates if mate)

    def _write_mask(self, picture: Picture, mask: Mask | None) -> None:
        inner = mask_path(picture)
        if mask is not None and inner is not None:
            write_png(self._folder / inner, mask.astype(np.uint8) * 255)


def _relabelled(row: Picture, kind: str, mask_sha: str) -> Picture:
    """Return a picture's row after another label; a mask stays known while it is a defect."""
    mask, mask_kind = (mask_sha, kind) if mask_sha else (row.mask, row.mask_kind)
    if kind == GOOD:
        mask, mask_kind = "", ""
    if (kind, mask) == (row.kind, row.mask):
        return row
    # a defect that is said to be normal is a new normal: it must be screened
    place = SampleStatus.INCOMING if kind == GOOD else SampleStatus.KEPT
    return replace(
        row,
        kind=kind,
        place=row.place if row.place in _SETTLED else place,
        mask=mask,
        mask_kind=mask_kind,
        reasons=(),
    )


def _check(pixels: Pixels, kind: str, mask: Mask | None) -> None:
    check_kind(kind)
    shape = pixels.shape
    if pixels.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3:  # noqa: PLR2004  # RGB
        raise SampleError(f"pixels of {pixels.dtype} {list(shape)}: uint8 [H, W, 3] are wanted")
    if not 1 <= shape[0] * shape[1] <= MAX_PIXELS:
        raise SampleError(f"picture of {shape[0]}x{shape[1]}, limit {MAX_PIXELS} pixels: crop it")
    if mask is not None and (mask.dtype != np.bool_ or mask.shape != shape[:2]):
        raise SampleError(
            f"mask of {mask.dtype} {list(mask.shape)}, picture of {list(shape[:2])} (height, "
            "width): draw it on that picture"
        )
    if mask is not None and kind == GOOD and mask.any():
        raise SampleError(
            "a good part with a marked defect: leave the mask out, or name the defect"
        )


@dataclass(frozen=True, slots=True)
class ParsedLabel:
    """What a label says of its frame."""

    kind: str  # GOOD, or which defect; "": unsure
    mask: NDArray[np.bool_] | None
    note: str = ""  # why its mask is of no use, or that an engine drew it


def parse_label(label: Label, frame: ArchivedFrame | None) -> ParsedLabel:
    """Read a label; a mask that does not fit costs the mask, not the label."""
    if label.kind is LabelKind.UNSURE:
        return ParsedLabel("", None, UNSURE)
    kind = GOOD if label.kind is LabelKind.NORMAL else label.defect or DEFECT
    if frame is None:
        return ParsedLabel(kind, None, EXPIRED)
    try:
        mask = label_mask(label, frame)
        return ParsedLabel(kind, mask, PREDICTED if label.predicted and mask is not None else "")
    except LabelError as error:
        return ParsedLabel(kind, None, str(error))


def source_of(line: str, label_id: str, label: Label, frame: ArchivedFrame | None) -> LabelSource:
    """Say where a label came from."""
    captured = frame.verdict.get("captured_ns") if frame else None
    return LabelSource(
        origin=label.entry_id,
        line=line,
        label_id=label_id,
        by=label.by,
        at_ns=label.at_ns,
        captured_ns=captured if isinstance(captured, int) else 0,
    )
