"""A verdict as plain values and numbers, the same on every wire.

A report is of a camera and its trigger number. A station that joins several cameras is a camera
here, with a trigger number of its own.
"""

from dataclasses import dataclass
from enum import IntEnum

from pipeline.frames import Decision, Reason, Verdict
from pipeline.verdicts import has_identity

TRIGGER_IDS = 1 << 32  # a trigger id is the seq modulo this
_HALF = TRIGGER_IDS // 2


class Code(IntEnum):
    """The answer for a part. NOTHING is never OK: an empty slot, a cut cable, a cleared memory."""

    NOTHING = 0
    OK = 1
    NG = 2
    UNKNOWN = 3


class ReasonCode(IntEnum):
    """Why a code is UNKNOWN."""

    NONE = 0
    LATE = 1  # could not be judged before its deadline
    SHED = 2  # the line was full
    UNREADABLE = 3  # no picture could be read
    ENGINE = 4  # the engine failed
    FOREIGN = 5  # the bridge could not read the verdict, or not all of it
    UNDELIVERED = 6  # its deadline passed in the bridge: what was decided no longer helps
    MISSING_VIEW = 7  # of a station: a view of the part was not judged in time
    OTHER = 255  # a reason of a later release


CODES = {Decision.OK: Code.OK, Decision.NG: Code.NG, Decision.UNKNOWN: Code.UNKNOWN}
REASON_CODES: dict[Reason | None, ReasonCode] = {
    None: ReasonCode.NONE,
    Reason.LATE: ReasonCode.LATE,
    Reason.SHED: ReasonCode.SHED,
    Reason.UNREADABLE: ReasonCode.UNREADABLE,
    Reason.ENGINE: ReasonCode.ENGINE,
    Reason.FOREIGN: ReasonCode.FOREIGN,
    Reason.MISSING_VIEW: ReasonCode.MISSING_VIEW,
}


@dataclass(frozen=True, slots=True)
class VerdictReport:
    """One verdict, ready to be sent."""

    line: str
    camera: str  # empty: not even the frame could be read
    epoch: int  # 1..65535, another one after the camera's numbering restarted
    seq: int
    trigger_id: int  # seq modulo 2^32
    part_id: str
    code: Code
    reason: ReasonCode
    result_id: str  # of the verdict in Redis: the id of every repetition
    captured_ns: int  # UTC, nanoseconds since the epoch
    due_ms: float  # its deadline, Redis's clock, ms since the epoch
    score: float | None = None  # raw; None: no engine judged it
    normalised: float | None = None  # 0..1, 0.5 at the threshold
    threshold: float | None = None
    regions: int = 0
    largest_area_mm2: float | None = None
    engine: str = ""  # model and version
    historical: bool = False  # its deadline had passed when it was sent

    @property
    def identified(self) -> bool:
        """Return whether it belongs to a part that can be told."""
        return bool(self.camera)


def report_of(verdict: Verdict, epoch: int) -> VerdictReport:
    """Return a verdict as plain values.

    The deadline of a verdict of an earlier release, which carries none of Redis's clock, is that of
    the camera's clock.
    """
    meta, judgement = verdict.meta, verdict.judgement
    areas = [region.area_mm2 for region in judgement.regions] if judgement else []
    return VerdictReport(
        line=verdict.line,
        camera=meta.camera if has_identity(verdict) else "",
        epoch=epoch,
        seq=meta.seq,
        trigger_id=meta.seq % TRIGGER_IDS,
        part_id=meta.part_id,
        code=CODES[verdict.decision],
        reason=REASON_CODES.get(verdict.reason, ReasonCode.OTHER),
        result_id=verdict.result_id,
        captured_ns=meta.captured_ns,
        due_ms=meta.deadline_ns / 1e6 if verdict.due_ms is None else verdict.due_ms,
        score=judgement.score if judgement else None,
        normalised=judgement.normalised if judgement else None,
        threshold=judgement.threshold if judgement else None,
        regions=len(judgement.regions) if judgement else 0,
        largest_area_mm2=max((area for area in areas if area is not None), default=None),
        engine=f"{judgement.engine.model} {judgement.engine.version}" if judgement else "",
    )


def is_newer(trigger_id: int, other: int) -> bool:
    """Return whether a trigger id comes after another one, modulo 2^32."""
    return 0 < (trigger_id - other) % TRIGGER_IDS < _HALF


class Epochs:
    """Numbers the numberings of each camera: 1, and one more when a seq falls far back.

    A camera's seq rises for as long as the server keeps its books. Verdicts of one numbering come
    out of order by what the workers hold at most, far less than `_REORDERED`.
    """

    _REORDERED = 4096
    _MOST = 65535

    def __init__(self) -> None:
        self._newest: dict[str, tuple[int, int]] = {}  # by camera: epoch, highest seq

    def epoch_of(self, camera: str, seq: int) -> int:
        """Return the epoch of the next verdict of a camera."""
        epoch, highest = self._newest.get(camera, (1, seq))
        if seq < highest - self._REORDERED:
            epoch, highest = epoch % self._MOST + 1, seq
        self._newest[camera] = epoch, max(highest, seq)
        return epoch
