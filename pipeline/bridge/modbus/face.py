"""The gate over Modbus TCP: one block of registers per camera."""

import logging
import threading
from collections.abc import Callable, Sequence

from pipeline.bridge.freshness import Freshness
from pipeline.bridge.gate_face import GateFace
from pipeline.bridge.modbus.block import CameraBlock, is_mapped
from pipeline.bridge.modbus.layout import CAMERA_STRIDE, END, WordOrder
from pipeline.bridge.modbus.tcp import ModbusServer, Network

_log = logging.getLogger(__name__)
_WHY_PLAIN = "Modbus is plain text without authentication: whoever reaches this port can read and "
_WHY_PLAIN += "acknowledge verdicts. Keep it in a network of its own"


class CameraRegisters:
    """The registers of all cameras, as the server's thread reads and writes them."""

    def __init__(
        self,
        blocks: Sequence[CameraBlock],
        lock: threading.Lock,
        now_ms: Callable[[], float | None],
    ) -> None:
        """Take the blocks in the order of their addresses, and the lock around their calls."""
        self._blocks = blocks
        self._lock = lock
        self._now_ms = now_ms
        self.size = (len(blocks) - 1) * CAMERA_STRIDE + END

    def read(self, first: int, count: int) -> list[int] | None:
        """Return registers at one moment; None where some do not exist."""
        at, offset = divmod(first, CAMERA_STRIDE)
        if at >= len(self._blocks) or not is_mapped(offset, count):
            return None
        with self._lock:
            now_ms = self._now_ms()
            registers = self._blocks[at].registers(now_ms)[offset : offset + count]
            self._blocks[at].note_sent(offset, count, now_ms)
        return registers

    def write(self, first: int, values: list[int]) -> bool:
        """Write registers; return whether that is allowed."""
        at, offset = divmod(first, CAMERA_STRIDE)
        if at >= len(self._blocks):
            return False
        with self._lock:
            return self._blocks[at].write(offset, values)


def modbus_face(
    cameras: Sequence[str],
    address: tuple[str, int],
    allowed: Sequence[Network],
    order: WordOrder,
    freshness: Freshness,
    plc_timeout_s: float,
    now_ms: Callable[[], float | None],
) -> GateFace:
    """Return a face with a block for each camera."""
    blocks = {camera: CameraBlock(camera, freshness, order, plc_timeout_s) for camera in cameras}
    lock = threading.Lock()
    registers = CameraRegisters(list(blocks.values()), lock, now_ms)
    server = ModbusServer(registers, address, allowed, registers.size)

    def listening(port: int) -> None:
        fields = {
            "listen": f"{address[0]}:{port}",
            "cameras": ",".join(cameras),
            "allow": ",".join(map(str, allowed)) or "this machine only",
            "why": _WHY_PLAIN,
        }
        _log.warning("modbus.plain_text", extra=fields)

    return GateFace(blocks, lock, server, now_ms, listening)
