"""A wish to label, as a person types it or a script writes it, one JSON object a line -> a label.

{"part": "cup/0042", "as": "defect", "defect": "scratch", "box": [[10, 20, 30, 40]]}
{"entry": "1764140000000-0", "as": "normal"}
{"camera": "cam", "seq": 7, "as": "defect", "mask": "7.png"}       # or "predicted": true
{"entry": "1764140000000-1", "as": "unsure", "by": "anna"}         # or "polygon": [[[y, x], ...]]
"""

from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from engines.errors import PictureError
from engines.pictures import read_mask
from pipeline.archive import Archive, ArchivedFrame
from pipeline.errors import LabelError
from pipeline.frames import Label, LabelKind
from pipeline.labels import box, label_mask

MAX_LINE_CHARS = 1 << 20
_SHOWN = 5  # entries of a part, where it has many


class Request(BaseModel):
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


def read_request(line: str) -> Request:
    """Read one line of a file of wishes.

    Raises:
        LabelError: no such wish; says which field and why.
    """
    if len(line) > MAX_LINE_CHARS:
        raise LabelError(f"a line of more than {MAX_LINE_CHARS} characters: draw masks in files")
    try:
        return Request.model_validate_json(line)
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


def find_entry(request: Request, archive: Archive | None) -> str:
    """Give the entry id of the frame that was named.

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
    """Give an archived frame.

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


def make_label(request: Request, entry_id: str) -> Label:
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
