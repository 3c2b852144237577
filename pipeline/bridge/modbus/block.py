"""The registers of one camera: what a PLC reads, what it writes, and what that means."""

import time
from collections.abc import Callable

from pipeline.bridge.freshness import Freshness
from pipeline.bridge.gate_view import GateView
from pipeline.bridge.modbus.layout import (
    END,
    PLC_START,
    PLC_WRITABLE,
    SLOT_REGISTERS,
    SLOT_START,
    WordOrder,
    decode_words,
    encode,
)
from pipeline.bridge.slots import SLOTS

_ACK_EPOCH, _HEARTBEAT, _COMMAND = 2, 3, 4  # offsets in the PLC's block


class CameraBlock(GateView):
    """What one camera's registers hold. The server's owner holds a lock around every call."""

    def __init__(
        self,
        camera: str,
        freshness: Freshness,
        order: WordOrder,
        plc_timeout_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(camera, freshness, plc_timeout_s, clock)
        self._order = order
        self._plc = [0] * PLC_WRITABLE  # as the PLC wrote it

    def registers(self, now_ms: float | None) -> list[int]:
        """Return all registers as they are at this moment."""
        registers = encode(self.values(now_ms), self._order)
        registers[PLC_START : PLC_START + PLC_WRITABLE] = self._plc
        return registers

    def note_sent(self, first: int, count: int, now_ms: float | None) -> None:
        """Note which slots a reader got whole."""
        starts = range(SLOT_START, SLOT_START + SLOTS * SLOT_REGISTERS, SLOT_REGISTERS)
        read = [
            at
            for at, start in enumerate(starts)
            if first <= start and start + SLOT_REGISTERS <= first + count
        ]
        self.note_read(read, now_ms)

    def write(self, first: int, values: list[int]) -> bool:
        """Write what a PLC sends; return whether it may: all of it in its own registers."""
        at = first - PLC_START
        if at < 0 or at + len(values) > PLC_WRITABLE:
            return False
        before = list(self._plc)
        self._plc[at : at + len(values)] = values
        written = range(at, at + len(values))
        if _HEARTBEAT in written and before[_HEARTBEAT] != self._plc[_HEARTBEAT]:
            self.plc_beat()
        if _ACK_EPOCH in written:
            self.acknowledge(self._plc[_ACK_EPOCH], decode_words(self._plc[:2], self._order))
        if _COMMAND in written:
            self.command(self._plc[_COMMAND])
        return True


def is_mapped(first: int, count: int) -> bool:
    """Return whether registers of one camera's block are asked for, from its start."""
    return first >= 0 and count > 0 and first + count <= END
