"""The gate over OPC UA: one object of flat tags per camera."""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

from pipeline.bridge.freshness import Freshness
from pipeline.bridge.gate_face import GateFace
from pipeline.bridge.opcua.camera import LiveCamera
from pipeline.bridge.opcua.nodes import Shown
from pipeline.bridge.opcua.server import OpcuaServer, Protection

_log = logging.getLogger(__name__)
_WHY_INSECURE = "--insecure: clients may connect without encryption and without a certificate; "
_WHY_INSECURE += "whoever is on the way can read and change what they send"


class CameraTags:
    """The tags of all cameras, as the server's thread reads and writes them."""

    def __init__(
        self,
        cameras: Mapping[str, LiveCamera],
        lock: threading.Lock,
        now_ms: Callable[[], float | None],
    ) -> None:
        """Take the cameras by name, and the lock around their calls."""
        self._cameras = cameras
        self._lock = lock
        self._now_ms = now_ms

    def changed(self, cameras: Iterable[str], *, all_of_them: bool) -> list[Shown]:
        """Return the tags of those cameras that changed, or of all of them."""
        shown: list[Shown] = []
        with self._lock:
            now_ms = self._now_ms()
            for name in cameras:
                camera = self._cameras[name]
                if all_of_them or camera.is_changed(now_ms):
                    trouble, values = camera.tags(now_ms)
                    shown.append((name, trouble, values))
        return shown

    def sent(self, camera: str, names: set[str]) -> None:
        """Note that a client gets these tags of a camera."""
        with self._lock:
            self._cameras[camera].note_sent(names, self._now_ms())

    def write(self, camera: str, written: dict[str, int]) -> None:
        """Apply what a client wrote in one request."""
        with self._lock:
            self._cameras[camera].write(written)


def opcua_face(
    cameras: Sequence[str],
    address: tuple[str, int],
    protection: Protection,
    freshness: Freshness,
    plc_timeout_s: float,
    now_ms: Callable[[], float | None],
) -> GateFace:
    """Return a face with the tags of each camera."""
    live = {camera: LiveCamera(camera, freshness, plc_timeout_s) for camera in cameras}
    lock = threading.Lock()
    server = OpcuaServer(CameraTags(live, lock, now_ms), list(live), address, protection)

    def listening(port: int) -> None:
        fields = {
            "listen": f"{address[0]}:{port}",
            "cameras": ",".join(live),
            "trusted": str(protection.folder.trusted),
        }
        _log.info("opcua.listening", extra=fields)
        if protection.insecure:
            _log.warning("opcua.insecure", extra={"why": _WHY_INSECURE})

    return GateFace(live, lock, server, now_ms, listening)
