"""A wish to label, as a person types it or a script writes it, one JSON object a line -> a label.

{"part": "cup/0042", "as": "defect", "defect": "scratch", "box": [[10, 20, 30, 40]]}
{"entry": "1764140000000-0", "as": "normal"}
{"camera": "cam", "seq": 7, "as": "defect", "mask": "7.png"}       # or "predicted": true
{"entry": "1764140000000-1", "as": "unsure", "by": "anna"}         # or "polygon": [[[y, x], ...]]
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from engines.errors import PictureError
from engines.pictures.masks import read_mask
from pipeline.archive import Archive, ArchivedFrame
from pipeline.errors import LabelError
from pipeline.frames import Label, LabelKind
from pipeline.label_rules import box, check_label, label_mask
from pipeline.labels.book import all_labels
from pipeline.streams.labels import LabelStream
from pipeline.wire.label import encode_label

MAX_LINE_CHARS = 1 << 20
_SHOWN = 5  # entries of a part, where it has many
Retry = Callable[[Callable[[], str]], str]


class LabelRequest(BaseModel):
    """Which frame, and what it truly shows."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    entry: str = ""
    part: str = ""
    camera: str = ""
    seq: int | None = None
    as_kind: LabelKind = Field(alias="as")
    defect: str = ""
    predicted: bool = False
    mask: Path | None = None
    box: list[tuple[float, float, float, float]] = []  # top, left, height, width
    polygon: list[list[tuple[float, float]]] = []  # corners (y, x)
    by: str = ""

    @model_validator(mode="after")
    def _check_frame(self) -> Self:
        by_seq = bool(self.camera) and self.seq is not None
        halves = {bool(self.camera), self.seq is not None}  # one of them alone names no frame
        if len(halves) > 1 or bool(self.entry) + bool(self.part) + by_seq != 1:
            raise ValueError("name one frame: entry, or part, or camera and seq")
        if any(min(height, width) < 1 for _, _, height, width in self.box):
            raise ValueError("a box is top, left, height, width: at least one pixel each way")
        return self


def read_request(line: str) -> LabelRequest:
    """Read one line of a file of wishes.

    Raises:
        LabelError: no such wish; says which field and why.
    """
    if len(line) > MAX_LINE_CHARS:
        raise LabelError(f"a line of more than {MAX_LINE_CHARS} characters: draw masks in files")
    try:
        return LabelRequest.model_validate_json(line)
    except ValidationError as error:
        raise LabelError("; ".join(map(sentence, error.errors()))) from error


def sentence(part: object) -> str:
    """Word one of pydantic's errors."""
    match part:
        case {"loc": (first, *_), "msg": str() as message}:
            return f"{first}: {message}"
        case {"msg": str() as message}:
            return message.removeprefix("Value error, ")
    return str(part)


def find_entry(request: LabelRequest, archive: Archive | None) -> str:
    """Return the entry id of the frame that was named.

    Raises:
        LabelError: no such frame in the archive, more than one, or no archive to look in.
    """
    if request.entry:
        return request.entry
    if archive is None:
        raise LabelError("a part or a camera's seq is found in the archive only: give --archive")
    if request.part:
        named, found = f"part {request.part!r:.200}", archive.find_part(request.part)
    else:
        named = f"seq {request.seq} of camera {request.camera!r:.80}"
        found = archive.find_seq(request.camera, request.seq or 0)
    if not found:
        raise LabelError(f"no frame of {named} in {archive.folder}: {_why_missing(archive)}")
    if len(found) > 1:
        shown = ", ".join(found[-_SHOWN:])
        raise LabelError(f"{len(found)} frames of {named}: name one with its entry, last: {shown}")
    return found[0]


def find_frame(entry_id: str, archive: Archive) -> ArchivedFrame:
    """Return an archived frame.

    Raises:
        LabelError: unknown, expired, or not to be read now.
    """
    try:
        frame = archive.find(entry_id)
    except OSError as error:
        raise LabelError(f"frame {entry_id} cannot be read now: {error}: label it later") from error
    if frame is None:
        raise LabelError(f"no frame {entry_id!r:.80} in {archive.folder}: {_why_missing(archive)}")
    return frame


def _why_missing(archive: Archive) -> str:
    oldest = next(archive.entries(), None)
    if oldest is None:
        return "the archive is empty: start pipeline-worker with --archive on this folder"
    return (
        "it has expired (--archive-mb, --archive-days), or was an OK frame that is not among those "
        f"kept by chance (--archive-share); the oldest frame there is {oldest}"
    )


def make_label(request: LabelRequest, entry_id: str) -> Label:
    """Make the label that was asked for, its mask read.

    Raises:
        LabelError: the mask file is no picture.
    """
    mask = None
    if request.mask is not None:
        try:
            mask = read_mask(request.mask)
        except PictureError as error:
            raise LabelError(f"mask {error}") from error
    boxes = tuple(box(*edges) for edges in request.box)
    polygons = tuple(tuple(corners) for corners in request.polygon)
    return Label(
        entry_id,
        request.as_kind,
        request.defect,
        mask,
        request.predicted,
        boxes + polygons,
        request.by,
    )


def marked_px(label: Label, frame: ArchivedFrame) -> int:
    """Check a label against its frame; how many pixels it marks.

    Raises:
        LabelError: it does not fit.
    """
    mask = label_mask(label, frame)
    return 0 if mask is None else int(mask.sum())


@dataclass(frozen=True, slots=True)
class SentLabel:
    """A label that the line has."""

    label_id: str
    label: Label
    marked_px: int | None  # None: nobody could look
    earlier: Label | None  # what was said of the frame before, if it was something else

    def fields(self, line: str) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "line": line,
            "label_id": self.label_id,
            "entry_id": self.label.entry_id,
            "as": self.label.kind.value,
            "defect": self.label.defect,
            "marked_px": self.marked_px,
            "by": self.label.by,
            "at_ns": self.label.at_ns,
            "contradicts": None if self.earlier is None else _said(self.earlier),
        }

    def sentence(self) -> str:
        """It in words."""
        marked = f", {self.marked_px} px marked" if self.marked_px else ""
        return f"{self.label.entry_id}: {_said(self.label)}{marked}"

    def contradiction(self) -> str:
        """What was said before, in words; empty where the same was."""
        if self.earlier is None:
            return ""
        by = f" by {self.earlier.by}" if self.earlier.by else ""
        return (
            f"{self.label.entry_id} was labelled {_said(self.earlier)}{by} before: both are kept, "
            "the last one counts"
        )


def _said(label: Label) -> str:
    return f"{label.kind} {label.defect}".strip()


def _without_place(label: Label) -> Label:
    """What contradictions are found by; a line's drawn masks are gigabytes."""
    return replace(label, mask=None, outlines=())


class LabelSender:
    """Turns wishes into labels of the line, each checked against the archive where there is one."""

    def __init__(self, stream: LabelStream, archive: Archive | None, by: str, retry: Retry) -> None:
        """Read what was said of the line's frames so far.

        Args:
            stream: of the line.
            archive: of the line; None: nothing can be checked.
            by: who labels, where a wish does not say.
            retry: repeats what Redis does not answer, for as long as a user would wait.
        """
        self._stream = stream
        self._archive = archive
        self._retry = retry
        self._by = by
        self._latest = {
            label.entry_id: _without_place(label) for _, label in all_labels(self._stream)
        }

    def label(self, request: LabelRequest) -> SentLabel:
        """Send one label; its frame is kept from before it is sent, whatever Redis answers.

        A label whose answer was lost may have arrived, and others may have labelled the same frame.

        Raises:
            LabelError: it cannot be right, or its frame is unknown or has expired.
            ConnectionLost, RedisFull: Redis was away for too long: label it again.
        """
        entry_id = find_entry(request, self._archive)
        label = make_label(request.model_copy(update={"by": request.by or self._by}), entry_id)
        check_label(label)
        packed = encode_label(label)
        marked = None
        if self._archive is not None:
            marked = marked_px(label, find_frame(entry_id, self._archive))
            if not self._archive.pin(entry_id):
                raise LabelError(f"frame {entry_id} has expired this moment")
        label_id = self._retry(lambda: self._stream.send(packed))
        before = self._latest.get(entry_id)
        self._latest[entry_id] = _without_place(label)
        contradicts = before is not None and _said(before) != _said(label)
        return SentLabel(label_id, label, marked, before if contradicts else None)
