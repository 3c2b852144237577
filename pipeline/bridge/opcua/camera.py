"""What the tags of one camera show, and what a PLC's writes mean."""

import time
from collections.abc import Callable, Iterator, Mapping
from enum import Enum, auto

from pipeline.bridge.face import BridgeState, Outcome
from pipeline.bridge.freshness import Freshness
from pipeline.bridge.gate_view import GateView
from pipeline.bridge.modbus.layout import Value
from pipeline.bridge.opcua.tags import WRITABLE, read_slots, tag_values
from pipeline.bridge.report import VerdictReport
from pipeline.bridge.watchdog import SILENCE_S, ErrorCode


class Trouble(Enum):
    """Why tags show nothing; each has a status code of its own."""

    STARTING = auto()  # nothing is known yet
    BRIDGE = auto()  # the loop that hands over verdicts stands still
    REDIS = auto()  # Redis does not answer
    WORKERS = auto()  # no worker of the line is running


class LiveCamera(GateView):
    """The tags of one camera. The face holds a lock around every call."""

    def __init__(
        self,
        camera: str,
        freshness: Freshness,
        plc_timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(camera, freshness, plc_timeout_s, clock)
        self._now_s = clock
        self._shown_s: float | None = None  # when the state was shown last
        self._changed = True
        self._until_ms: float | None = None  # then the first verdict is past its deadline
        self._trouble: Trouble | None = Trouble.STARTING
        self._written: dict[str, int] = dict.fromkeys(WRITABLE, 0)

    def show(self, state: BridgeState) -> None:
        """Store the state."""
        self._shown_s = self._now_s()
        before = self.state, self.plc_lost
        super().show(state)
        self._changed = self._changed or (self.state, self.plc_lost) != before

    def put(self, report: VerdictReport, now_ms: float | None) -> Outcome:
        """Put a verdict into its slot."""
        self._changed = True
        return super().put(report, now_ms)

    def skip(self) -> None:
        """Count a verdict that came without time left."""
        self._changed = True
        super().skip()

    def settle(self, now_ms: float | None) -> Iterator[tuple[str, Outcome]]:
        """Yield what is confirmed or past its deadline."""
        for settled in super().settle(now_ms):
            self._changed = True
            yield settled

    def trouble(self, now_ms: float | None) -> Trouble | None:
        """Return why nothing can be shown now."""
        if self._shown_s is None:
            return Trouble.STARTING
        if self._now_s() - self._shown_s > SILENCE_S:
            return Trouble.BRIDGE
        if self.state.error_code == ErrorCode.REDIS or now_ms is None:
            return Trouble.REDIS
        return Trouble.WORKERS if self.state.error_code else None

    def is_changed(self, now_ms: float | None) -> bool:
        """Return whether tags differ from those of the last call of `tags`, but for ages."""
        late = now_ms is None or (self._until_ms is not None and now_ms >= self._until_ms)
        return self._changed or late or self.trouble(now_ms) is not self._trouble

    def tags(self, now_ms: float | None) -> tuple[Trouble | None, dict[str, Value]]:
        """Return what the tags show at this moment, in the order to write them in."""
        values = self.values(now_ms)
        left = [int(value) for name, value in values.items() if name.endswith("_ms_left")]
        live = [ms for ms in left if ms > 0]
        self._until_ms = now_ms + min(live) if now_ms is not None and live else None
        self._changed = False
        self._trouble = self.trouble(now_ms)
        return self._trouble, tag_values(values)

    def note_sent(self, names: set[str], now_ms: float | None) -> None:
        """Note the verdicts that a client gets with these tags."""
        if self.trouble(now_ms) is None:
            newest = int(self.values(now_ms)["newest_trigger_id"])
            self.note_read(read_slots(names, newest), now_ms)

    def write(self, written: Mapping[str, int]) -> None:
        """Apply what a client wrote in one request.

        An acknowledgement is made by its trigger id or its epoch, a command by the command.
        """
        self._changed = True
        before = dict(self._written)
        self._written |= written
        now = self._written
        if "PlcHeartbeat" in written and now["PlcHeartbeat"] != before["PlcHeartbeat"]:
            self.plc_beat()
        if "AckTriggerId" in written or "AckEpoch" in written:
            self.acknowledge(now["AckEpoch"], now["AckTriggerId"])
        if "Command" in written:
            self.command(now["Command"])
