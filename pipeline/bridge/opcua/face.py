"""The gate over OPC UA: one object of flat tags per camera."""

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence

from pipeline.bridge.face import BridgeState, Outcome, PlcRequest
from pipeline.bridge.freshness import Freshness
from pipeline.bridge.opcua.camera import LiveCamera
from pipeline.bridge.opcua.nodes import Shown
from pipeline.bridge.opcua.server import OpcuaServer, Protection
from pipeline.bridge.report import VerdictReport

MOST_PENDING = 4096
_log = logging.getLogger(__name__)
_WHY_INSECURE = "--insecure: clients may connect without encryption and without a certificate; "
_WHY_INSECURE += "whoever is on the way can read and change what they send"


class OpcuaFace:
    """Shows verdicts in tags until their deadline."""

    gate = True
    most_pending = MOST_PENDING

    def __init__(
        self,
        cameras: dict[str, LiveCamera],
        address: tuple[str, int],
        protection: Protection,
        now_ms: Callable[[], float | None],
    ) -> None:
        """Prepare; nothing listens before `start`.

        Args:
            cameras: by name.
            address: host and port to listen on.
            protection: who may connect.
            now_ms: Redis's time, from any thread.
        """
        self._by_name = cameras
        self._address = address
        self._protection = protection
        self._now_ms = now_ms
        self._lock = threading.Lock()
        self._server = OpcuaServer(self, list(cameras), address, protection)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server.port

    def start(self) -> None:
        """Listen."""
        self._server.start()
        fields = {
            "listen": f"{self._address[0]}:{self.port}",
            "cameras": ",".join(self._by_name),
            "trusted": str(self._protection.folder.trusted),
        }
        _log.info("opcua.listening", extra=fields)
        if self._protection.insecure:
            _log.warning("opcua.insecure", extra={"why": _WHY_INSECURE})

    def show(self, state: BridgeState) -> None:
        """Show the state at every camera."""
        with self._lock:
            for camera in self._by_name.values():
                camera.show(state)

    def deliver(self, report: VerdictReport) -> Outcome:
        """Put a verdict into its slot."""
        with self._lock:
            camera = self._by_name.get(report.camera)
            return Outcome.HOMELESS if camera is None else camera.put(report, self._now_ms())

    def skip(self, report: VerdictReport) -> None:
        """Count a verdict that came without time left."""
        with self._lock:
            if camera := self._by_name.get(report.camera):
                camera.skip()

    def settled(self) -> list[tuple[str, Outcome]]:
        """Return what a PLC confirmed, and what is past its deadline."""
        with self._lock:
            now_ms = self._now_ms()
            return [
                settled for camera in self._by_name.values() for settled in camera.settle(now_ms)
            ]

    def requests(self) -> Iterator[PlcRequest]:
        """Return which cameras' stop signals a PLC wants to be cleared."""
        with self._lock:
            asked = [name for name, camera in self._by_name.items() if camera.take_clear_stop()]
        return (PlcRequest(name, clear_stop=True) for name in asked)

    def failure(self) -> str:
        """Return why it no longer serves."""
        return "" if self._server.alive() else "the OPC UA server has ended"

    def stop(self) -> None:
        """Stop serving."""
        self._server.stop()

    def changed(self, cameras: Iterable[str], *, all_of_them: bool) -> list[Shown]:
        """Return what cameras show at this moment, for the server's thread."""
        shown: list[Shown] = []
        with self._lock:
            now_ms = self._now_ms()
            for name in cameras:
                camera = self._by_name[name]
                if all_of_them or camera.is_changed(now_ms):
                    trouble, values = camera.tags(now_ms)
                    shown.append((name, trouble, values))
        return shown

    def sent(self, camera: str, names: set[str]) -> None:
        """Note what a client gets, for the server's thread."""
        with self._lock:
            self._by_name[camera].note_sent(names, self._now_ms())

    def write(self, camera: str, written: dict[str, int]) -> None:
        """Take over what a client wrote, for the server's thread."""
        with self._lock:
            self._by_name[camera].write(written)


def opcua_face(
    cameras: Sequence[str],
    address: tuple[str, int],
    protection: Protection,
    freshness: Freshness,
    plc_timeout_s: float,
    now_ms: Callable[[], float | None],
) -> OpcuaFace:
    """Return a face with the tags of each camera."""
    live = {camera: LiveCamera(camera, freshness, plc_timeout_s) for camera in cameras}
    return OpcuaFace(live, address, protection, now_ms)
