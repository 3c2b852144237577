"""The gate over Modbus TCP: one block of registers per camera."""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence

from pipeline.bridge.face import BridgeState, Outcome, PlcRequest
from pipeline.bridge.freshness import Freshness
from pipeline.bridge.modbus.block import CameraBlock, is_mapped
from pipeline.bridge.modbus.layout import CAMERA_STRIDE, END, WordOrder
from pipeline.bridge.modbus.tcp import ModbusServer, Network
from pipeline.bridge.report import VerdictReport

MOST_PENDING = 4096
_log = logging.getLogger(__name__)
_WHY_PLAIN = "Modbus is plain text without authentication: whoever reaches this port can read and "
_WHY_PLAIN += "acknowledge verdicts. Keep it in a network of its own"


class ModbusFace:
    """Shows verdicts in registers until their deadline."""

    gate = True
    most_pending = MOST_PENDING

    def __init__(
        self,
        blocks: dict[str, CameraBlock],
        address: tuple[str, int],
        allowed: Sequence[Network],
        now_ms: Callable[[], float | None],
    ) -> None:
        """Prepare; nothing listens before `start`.

        Args:
            blocks: one per camera, in the order of their addresses.
            address: host and port to listen on.
            allowed: networks beside this machine that may connect.
            now_ms: Redis's time, from any thread.
        """
        self._blocks = blocks
        self._order = list(blocks.values())
        self._address = address
        self._allowed = allowed
        self._now_ms = now_ms
        self._lock = threading.Lock()
        size = (len(blocks) - 1) * CAMERA_STRIDE + END
        self._server = ModbusServer(self, address, allowed, size)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server.port

    def start(self) -> None:
        """Listen."""
        self._server.start()
        fields = {
            "listen": f"{self._address[0]}:{self.port}",
            "cameras": ",".join(self._blocks),
            "allow": ",".join(map(str, self._allowed)) or "this machine only",
            "why": _WHY_PLAIN,
        }
        _log.warning("modbus.plain_text", extra=fields)

    def show(self, state: BridgeState) -> None:
        """Show the state in every block."""
        with self._lock:
            for block in self._order:
                block.show(state)

    def deliver(self, report: VerdictReport) -> Outcome:
        """Put a verdict into its slot."""
        with self._lock:
            block = self._blocks.get(report.camera)
            return Outcome.HOMELESS if block is None else block.put(report, self._now_ms())

    def skip(self, report: VerdictReport) -> None:
        """Count a verdict that came without time left."""
        with self._lock:
            if block := self._blocks.get(report.camera):
                block.skip()

    def settled(self) -> list[tuple[str, Outcome]]:
        """Return what a PLC confirmed, and what is past its deadline."""
        with self._lock:
            now_ms = self._now_ms()
            return [settled for block in self._order for settled in block.settle(now_ms)]

    def requests(self) -> Iterator[PlcRequest]:
        """Return which cameras' stop signals a PLC wants to be cleared."""
        with self._lock:
            asked = [camera for camera, block in self._blocks.items() if block.take_clear_stop()]
        return (PlcRequest(camera, clear_stop=True) for camera in asked)

    def failure(self) -> str:
        """Return why it no longer serves."""
        return "" if self._server.alive() else "the Modbus server has ended"

    def stop(self) -> None:
        """Stop serving."""
        self._server.stop()

    def read(self, first: int, count: int) -> list[int] | None:
        """Return registers at one moment, for the server's thread."""
        at, offset = divmod(first, CAMERA_STRIDE)
        if at >= len(self._order) or not is_mapped(offset, count):
            return None
        with self._lock:
            now_ms = self._now_ms()
            registers = self._order[at].registers(now_ms)[offset : offset + count]
            self._order[at].note_sent(offset, count, now_ms)
        return registers

    def write(self, first: int, values: list[int]) -> bool:
        """Write registers, for the server's thread."""
        at, offset = divmod(first, CAMERA_STRIDE)
        if at >= len(self._order):
            return False
        with self._lock:
            return self._order[at].write(offset, values)


def modbus_face(
    cameras: Sequence[str],
    address: tuple[str, int],
    allowed: Sequence[Network],
    order: WordOrder,
    freshness: Freshness,
    plc_timeout_s: float,
    now_ms: Callable[[], float | None],
) -> ModbusFace:
    """Return a face with a block for each camera."""
    blocks = {camera: CameraBlock(camera, freshness, order, plc_timeout_s) for camera in cameras}
    return ModbusFace(blocks, address, allowed, now_ms)
