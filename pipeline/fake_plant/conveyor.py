"""A conveyor that knows the truth about every part, and counts what its gate did wrong."""

from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.bridge.report import Code
from pipeline.fake_plant.reject_gate import BridgeImage, RejectGate, TrackedPart

PART_ID_CHARS = 12  # of a slot
_EXAMPLES = 20


@dataclass(frozen=True, slots=True)
class Trigger:
    """A part before the camera."""

    trigger_id: int
    truth: Code  # the verdict that this part must get
    part_id: str
    deadline_ms: float  # from the trigger: no verdict may be used after it


@dataclass(slots=True)
class Tally:
    """What a gate did. Wrong are the last three."""

    parts: int = 0
    passed: int = 0
    rejected: int = 0
    rejected_without_need: int = 0  # the truth is OK: a verdict was late, or missing
    passed_bad: int = 0  # the truth is not OK
    passed_late: int = 0  # its OK was used after its deadline
    passed_by_another: int = 0  # its OK was of another part
    examples: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> int:
        """Number of wrong actuations."""
        return self.passed_bad + self.passed_late + self.passed_by_another

    def as_fields(self) -> dict[str, Any]:
        """Return all counts, and `wrong`, for JSON."""
        return {**asdict(self), "wrong": self.wrong}


class Conveyor:
    """Moves parts to a gate at one encoder pulse per millisecond."""

    def __init__(self, travel_ms: float) -> None:
        self.gate = RejectGate(travel_ms)
        self.tally = Tally()
        self._parts: dict[int, tuple[Trigger, float]] = {}  # by id: and when it was triggered

    def trigger(self, trigger: Trigger, now_ms: float) -> None:
        """Move a part past the camera."""
        self._parts[trigger.trigger_id] = trigger, now_ms
        self.tally.parts += 1
        self.gate.trigger(trigger.trigger_id, now_ms)

    def scan(self, image: BridgeImage | None, asked_ms: float) -> None:
        """Hand the PLC what it read, then move the belt.

        Args:
            image: the bridge's registers; None: no answer.
            asked_ms: the plant's clock when the PLC asked for them.
        """
        self.gate.scan(image, asked_ms)
        for part in self.gate.advance(asked_ms):
            self._count(part, *self._parts.pop(part.trigger_id))

    def _count(self, part: TrackedPart, trigger: Trigger, triggered_ms: float) -> None:
        if not part.passes:
            self.tally.rejected += 1
            self.tally.rejected_without_need += trigger.truth is Code.OK
            return
        self.tally.passed += 1
        wrongs = {
            "passed_bad": trigger.truth is not Code.OK,
            "passed_late": part.decided_ms > triggered_ms + trigger.deadline_ms,
            "passed_by_another": part.part_id != trigger.part_id[:PART_ID_CHARS],
        }
        for name, is_wrong in wrongs.items():
            setattr(self.tally, name, getattr(self.tally, name) + is_wrong)
            if is_wrong and len(self.tally.examples) < _EXAMPLES:
                self.tally.examples.append(f"{name}: {trigger.trigger_id} {trigger.part_id}")
