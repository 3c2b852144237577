"""The values that travel: frames in, verdicts out, labels back."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray


class Decision(StrEnum):
    """The answer for a part. UNKNOWN is never OK: the plant's fail-safe decides."""

    OK = "OK"
    NG = "NG"
    UNKNOWN = "UNKNOWN"


class Reason(StrEnum):
    """Why a decision is UNKNOWN."""

    LATE = "LATE"  # could not be judged before its deadline
    SHED = "SHED"  # the line was full: the oldest waiting frame made room
    UNREADABLE = "UNREADABLE"  # no picture could be read, or it fits no engine
    ENGINE = "ENGINE"  # the engine failed
    MISSING_VIEW = "MISSING_VIEW"  # a view of the part was not judged before the part's deadline
    FOREIGN = "FOREIGN"  # the reading program could not read the verdict, or not all of it


# A reason that programs of an earlier release do not know is published under a word that they do
# (field `k`), and by its own name beside it (field `r`).
PUBLISHED_AS: dict[Decision | Reason, Reason] = {
    Reason.FOREIGN: Reason.UNREADABLE,
    Reason.MISSING_VIEW: Reason.LATE,
}


@dataclass(frozen=True, slots=True)
class FrameMeta:
    """Which part a picture shows, and until when it must be answered."""

    camera: str
    seq: int  # rises with the camera's trigger; a jump: triggers of which no picture came
    part_id: str
    captured_ns: int  # UTC, nanoseconds since the epoch
    deadline_ns: int  # UTC, nanoseconds since the epoch: no verdict helps after it
    mm_per_pixel: tuple[float, float] | None = None  # (vertical, horizontal), if calibrated


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of one part, as the camera gave it."""

    meta: FrameMeta
    pixels: NDArray[np.uint8]  # [H, W, 3], RGB


@dataclass(frozen=True, slots=True)
class Region:
    """One connected piece of the mask."""

    top: int  # of its bounding box, pixels
    left: int
    height: int
    width: int
    area_px: int
    peak: float  # highest map value in it, 0..1
    area_mm2: float | None = None
    height_mm: float | None = None
    width_mm: float | None = None
    zone: str = ""  # that judges its highest pixel; "" where no zone is named


@dataclass(frozen=True, slots=True)
class EngineName:
    """Which engine judged."""

    model: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of one frame went, milliseconds."""

    transport_ms: float  # captured -> in the worker's hands
    queue_ms: float  # in the worker's hands -> its batch starts
    inference_ms: float  # its batch on the engine
    batch: int  # frames in that batch


@dataclass(frozen=True, slots=True)
class Judgement:
    """What an engine and the thresholds say of one frame."""

    judged: Decision  # OK or NG; the verdict may still be UNKNOWN/LATE
    score: float  # raw
    normalised: float  # 0..1, 0.5 at the threshold
    threshold: float  # on the raw score
    pixel_threshold: float  # on the map
    regions: tuple[Region, ...]  # by falling peak
    mask: NDArray[np.bool_] | None  # [H, W]; None where it was not asked for
    engine: EngineName
    timings: Timings
    worker: str
    nearest: tuple[int, ...] = ()  # nearest prototype per scale
    distance: tuple[float, ...] = ()
    cells: tuple[float, ...] = ()  # mean of the map in each cell of a 4 x 4 grid, row by row
    # With zones, the score is the highest map value / factor in them, and a map value the threshold
    zone: str = ""  # where the score is; "" where no zone is named
    zones: str = ""  # SHA-256 of the zones; "" where the whole picture was judged


@dataclass(frozen=True, slots=True)
class ViewVerdict:
    """What one view of a part said."""

    view: str  # the view's line
    decision: Decision
    reason: Reason | None  # where the decision is UNKNOWN
    entry_id: str  # of its frame in {view}:frames
    camera: str
    seq: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """The one answer for one frame, or of a station for one part."""

    line: str
    meta: FrameMeta
    decision: Decision
    reason: Reason | None  # where the decision is UNKNOWN
    judgement: Judgement | None  # what the engine said, where it was asked
    entry_id: str  # of the frame in {line}:frames; its first part is the admission time in ms
    result_id: str = field(default="", compare=False)  # of the verdict in {line}:results
    answer: str = field(default="", compare=False)  # the word as published, known here or not
    detail: str = field(default="", compare=False)  # the published reason, where `answer` has none
    unread: str = field(default="", compare=False)  # what could not be read of it, and why
    views: tuple[ViewVerdict, ...] = ()  # of a part: what its views said before it was decided
    # its deadline on Redis's clock, ms since the epoch; None: published by an earlier release
    due_ms: int | None = field(default=None, compare=False)
    # what a later release adds to a verdict, as published
    extra: Mapping[str, bytes] = field(default_factory=dict, compare=False)


class LabelKind(StrEnum):
    """What a person, or a check of the plant's own, says of a frame."""

    NORMAL = "normal"
    DEFECT = "defect"
    UNSURE = "unsure"


Outline: TypeAlias = tuple[tuple[float, float], ...]  # corners (y, x), pixels of the picture


@dataclass(frozen=True, slots=True)
class Label:
    """What a frame truly shows. A defect's place is drawn, predicted, outlined or not known."""

    entry_id: str  # of the frame in {line}:frames
    kind: LabelKind
    defect: str = ""  # kind of defect, a safe name
    mask: NDArray[np.bool_] | None = None  # [H, W] of the archived picture
    predicted: bool = False  # the verdict's mask is right
    outlines: tuple[Outline, ...] = ()  # polygons; a box is one of four corners
    by: str = ""
    # when it was said, UTC, nanoseconds since the epoch: by it the same label sent again is known
    at_ns: int = field(default_factory=time.time_ns)
