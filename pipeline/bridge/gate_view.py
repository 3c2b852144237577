"""What a gate shows of one camera and what the PLC asks of it, on whatever wire.

The names are those of the register map (`modbus.layout`), the one table of all gates.
"""

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator

from pipeline.bridge.face import BridgeState, Outcome
from pipeline.bridge.freshness import Freshness
from pipeline.bridge.modbus.layout import (
    MAP_VERSION,
    NO_SLOT,
    PATTERN,
    PATTERN_FLOAT,
    SCORE_SCALE,
    StatusBit,
    Value,
    slot_name,
    status_word,
)
from pipeline.bridge.report import Code, VerdictReport
from pipeline.bridge.slots import Ack, Slots
from pipeline.logs import CountedEvents

CLEAR_STOP = 1
_DONE, _UNKNOWN_COMMAND = 1, 2
_U16_MOST = 65_535
_LOG_EVERY_S = 10.0
_log = logging.getLogger(__name__)
_WHY_ACK = {
    Ack.BACKWARDS: "it is older than the one before: ignored",
    Ack.NEVER_READ: "no verdict of this trigger id was read: ignored, check the word order",
    Ack.OTHER_EPOCH: "it is of another epoch than what was read: ignored",
}


class GateView:
    """What one camera shows. The face holds a lock around every call."""

    def __init__(
        self,
        camera: str,
        freshness: Freshness,
        plc_timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.camera = camera
        self.state = BridgeState()
        self._freshness = freshness
        self._plc_timeout_s = plc_timeout_s
        self._clock = clock
        self._slots = Slots(freshness)
        self._echo = self._result = 0
        self._plc_beat_s: float | None = None
        self._plc_lost = False
        self._overruns_seen = 0
        self._clear_stop = False
        self._ignored = (0, 0)  # epoch and trigger id: a PLC repeats what it writes
        self._events = CountedEvents(_log, _LOG_EVERY_S, clock)

    def show(self, state: BridgeState) -> None:
        """Store the state, and check whether the PLC's heartbeat goes on."""
        self.state = state
        lost = (
            self._plc_beat_s is not None and self._clock() - self._plc_beat_s > self._plc_timeout_s
        )
        if lost != self._plc_lost:
            self._plc_lost = lost
            level, event = (logging.WARNING, "plc.lost") if lost else (logging.INFO, "plc.back")
            _log.log(level, event, extra={"camera": self.camera})
        self._events.flush(every_s=_LOG_EVERY_S)

    def put(self, report: VerdictReport, now_ms: float | None) -> Outcome:
        """Put a verdict into its slot."""
        return self._slots.put(report, now_ms)

    def skip(self) -> None:
        """Count a verdict that came without time left."""
        self._slots.skip()

    def settle(self, now_ms: float | None) -> Iterator[tuple[str, Outcome]]:
        """Yield what is confirmed or past its deadline."""
        yield from self._slots.settle(now_ms)
        new = self._slots.overruns - self._overruns_seen
        self._overruns_seen = self._slots.overruns
        why = "a newer verdict took their slot before the PLC read them: poll more often"
        self._events.add("bridge.overrun", new, camera=self.camera, why=why)

    def take_clear_stop(self) -> bool:
        """Return whether the PLC asked to clear the stop signal since the last call."""
        asked, self._clear_stop = self._clear_stop, False
        return asked

    @property
    def plc_lost(self) -> bool:
        """Return whether the PLC's heartbeat stood still for too long."""
        return self._plc_lost

    def note_read(self, slots: Iterable[int], now_ms: float | None) -> None:
        """Note that these slots were sent to a reader."""
        self._slots.note_read(slots, now_ms)

    def plc_beat(self) -> None:
        """Note that the PLC's heartbeat changed."""
        self._plc_beat_s = self._clock()

    def acknowledge(self, epoch: int, trigger_id: int) -> None:
        """Apply an acknowledgement; log and ignore one that cannot be right."""
        if epoch == 0:
            return  # a PLC that has read nothing yet writes zeros
        ack = self._slots.acknowledge(epoch, trigger_id)
        if ack in _WHY_ACK and self._ignored != (epoch, trigger_id):
            self._ignored = epoch, trigger_id
            last = f"{epoch}:{trigger_id}"
            why = _WHY_ACK[ack]
            self._events.add("plc.ack_ignored", 1, camera=self.camera, last=last, why=why)

    def command(self, command: int) -> None:
        """Carry out a command once; it is echoed until the PLC writes 0."""
        if command == self._echo:
            return  # carried out before; the PLC writes 0 next
        self._echo = command
        self._result = 0 if command == 0 else _UNKNOWN_COMMAND
        if command == CLEAR_STOP:
            self._clear_stop, self._result = True, _DONE

    def values(self, now_ms: float | None) -> dict[str, Value]:
        """Return all that is shown at this moment, by the names of the map; texts in full."""
        slots, newest = self._slots, self._slots.newest
        oldest = slots.oldest(now_ms)
        values: dict[str, Value] = {
            "heartbeat": self.state.heartbeat,
            "map_version": MAP_VERSION,
            "newest_trigger_id": newest.trigger_id if newest else 0,
            "status": status_word(self._bits(live=oldest is not None)),
            "epoch": newest.epoch if newest else 0,
            "count_ok": slots.counts[Code.OK],
            "count_ng": slots.counts[Code.NG],
            "count_unknown": slots.counts[Code.UNKNOWN],
            "count_undelivered": slots.undelivered,
            "oldest_slot": NO_SLOT if oldest is None else oldest,
            "error_code": self.state.error_code,
            "command_echo": self._echo,
            "command_result": self._result,
            "pattern_u32": PATTERN,
            "pattern_f32": PATTERN_FLOAT,
        }
        for at, report in enumerate(slots.read(now_ms)):
            if report is not None:
                fields = self._slot_values(report, now_ms)
                values |= {slot_name(at, name): value for name, value in fields.items()}
        return values | (_detail(newest) if newest else {})

    def _slot_values(self, report: VerdictReport, now_ms: float | None) -> dict[str, Value]:
        age_ms = _U16_MOST if now_ms is None else now_ms - report.captured_ns / 1e6
        normalised = report.normalised or 0.0
        return {
            "trigger_id": report.trigger_id,
            "code": report.reason << 8 | report.code,
            "score": round(min(max(normalised, 0.0), 1.0) * SCORE_SCALE),
            "age_ms": int(min(max(age_ms, 0), _U16_MOST)),
            "ms_left": self._freshness.ms_left(report, now_ms),
            "part_id": report.part_id,
        }

    def _bits(self, *, live: bool) -> set[StatusBit]:
        state = self.state
        bits = {
            StatusBit.READY: state.ready,
            StatusBit.BUSY: self._slots.busy,
            StatusBit.VALID: live,
            StatusBit.TOGGLE: self._slots.shown % 2 == 1,
            StatusBit.OVERRUN: bool(self._slots.overruns or state.missed),
            StatusBit.DEGRADED: state.degraded,
            StatusBit.PAUSED: state.paused,
            StatusBit.ERROR: bool(state.error),
            StatusBit.PLC_LOST: self._plc_lost,
            StatusBit.STOP: self.camera in state.stopped,
        }
        return {bit for bit, is_set in bits.items() if is_set}


def _detail(report: VerdictReport) -> dict[str, Value]:
    finite = {
        "raw_score": report.score,
        "threshold": report.threshold,
        "largest_area_mm2": report.largest_area_mm2,
    }
    return {
        "detail_trigger_id": report.trigger_id,
        **{name: _single(value) for name, value in finite.items()},
        "regions": min(report.regions, _U16_MOST),
        "engine": report.engine,
        "detail_part_id": report.part_id,
    }


def _single(value: float | None) -> float:
    """Return a value as a 32-bit float can hold it."""
    most = 3.4028235e38
    return 0.0 if value is None or math.isnan(value) else min(max(value, -most), most)
