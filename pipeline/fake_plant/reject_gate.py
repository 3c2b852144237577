"""The PLC of a reject gate as a state machine: a shift register behind the camera.

The reject pulse is the default. Only an OK for the right trigger id, read with time left from a
bridge whose heartbeat goes on, cancels it. The Structured Text of docs/bridges.md does the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.bridge.report import Code, is_newer

HEARTBEAT_TIMEOUT_MS = 500.0


@dataclass(frozen=True, slots=True)
class SlotImage:
    """One slot as the PLC read it."""

    trigger_id: int
    code: int  # 0 nothing, 1 OK, 2 NG, 3 UNKNOWN
    ms_left: int
    part_id: str = ""


@dataclass(frozen=True, slots=True)
class BridgeImage:
    """A read of the bridge's registers."""

    heartbeat: int
    epoch: int  # 0: no verdict yet
    slots: Sequence[SlotImage]


@dataclass(slots=True)
class TrackedPart:
    """A part between camera and gate."""

    trigger_id: int
    gate_at: float  # encoder position of the gate for this part
    decided: bool = False  # the first verdict decides; later reads change nothing
    passes: bool = False  # the reject pulse is cancelled
    part_id: str = ""  # of the verdict
    decided_ms: float = 0.0  # the PLC's clock when it asked for the registers


class RejectGate:
    """Tracks parts from the trigger to the gate."""

    def __init__(self, distance: float) -> None:
        """Start with an empty belt.

        Args:
            distance: from camera to gate, encoder pulses.
        """
        self._distance = distance
        self._belt: dict[int, TrackedPart] = {}
        self._heartbeat: int | None = None
        self._beat_ms = 0.0
        self._alive = False
        self.epoch = 0
        self.ack = 0  # trigger id of the newest verdict read in this epoch
        self.has_read = False  # whether there is anything to acknowledge

    def trigger(self, trigger_id: int, position: float) -> None:
        """Put the part into the shift register whose picture is being taken."""
        self._belt[trigger_id] = TrackedPart(trigger_id, position + self._distance)

    def scan(self, image: BridgeImage | None, now_ms: float) -> None:
        """Take over what was read; None: no answer.

        Args:
            image: the registers.
            now_ms: the PLC's own clock when it asked for the registers.
        """
        if image is not None and image.heartbeat != self._heartbeat:
            # the first read shows only where the heartbeat stands, not that it goes on
            self._alive = self._heartbeat is not None
            self._heartbeat, self._beat_ms = image.heartbeat, now_ms
        if now_ms - self._beat_ms > HEARTBEAT_TIMEOUT_MS:
            self._alive = False
        if image is None or not self._alive or image.epoch == 0:
            return
        if image.epoch != self.epoch:
            self.epoch, self.has_read = image.epoch, False
        for slot in image.slots:
            if slot.code != Code.NOTHING:
                self._apply(slot, now_ms)

    def _apply(self, slot: SlotImage, now_ms: float) -> None:
        if not self.has_read or is_newer(slot.trigger_id, self.ack):
            self.ack, self.has_read = slot.trigger_id, True
        part = self._belt.get(slot.trigger_id)
        if part is None or part.decided:
            return
        part.decided, part.decided_ms, part.part_id = True, now_ms, slot.part_id
        part.passes = slot.code == Code.OK and slot.ms_left > 0

    def advance(self, position: float) -> Iterator[TrackedPart]:
        """Yield the parts that are at the gate, each once; what does not pass is rejected."""
        for part in list(self._belt.values()):
            if position >= part.gate_at:
                yield self._belt.pop(part.trigger_id)

    @property
    def alive(self) -> bool:
        """Return whether the bridge's heartbeat goes on."""
        return self._alive

    @property
    def on_belt(self) -> int:
        """Number of parts between camera and gate."""
        return len(self._belt)
