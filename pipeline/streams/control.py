"""Messages to all workers of a line: they hear each one once, and after a start the latest."""

from pipeline.streams.connect import Client, translated
from pipeline.streams.keys import Keys
from pipeline.streams.scripts import Script

CONTROLS_KEPT = 10_000
_PAGE = 1000


class Controls:
    """Sends and reads the control messages of one line."""

    def __init__(self, client: Client, line: str) -> None:
        self._client = client
        self._keys = Keys(line)
        self._key = self._keys.control
        self._send = Script(client.execute_command, "send_control")

    def send(self, message: bytes) -> str:
        """Send one message, packed by `wire.encode_control`, also to a server that is full.

        Returns: its id.
        """
        return str(self._send([self._key], [message, CONTROLS_KEPT]).decode())

    def since(self, after: str) -> list[tuple[str, bytes]]:
        """Return the messages after an id (`0-0` from the first), oldest first: (id, message)."""
        with translated():
            raws = self._client.xrange(self._key, f"({after}", "+", count=_PAGE)
        return [(raw_id.decode(), fields.get(b"c", b"")) for raw_id, fields in raws]

    def workers(self) -> dict[str, bytes]:
        """The heartbeats of all living workers, packed by `wire.encode_report`, by name."""
        prefix = self._keys.worker("")
        with translated():
            found = sorted(self._client.scan_iter(match=f"{prefix}*", count=_PAGE))
            beats = [(key, self._client.get(key)) for key in found]
        return {
            key.decode("utf-8", "replace").removeprefix(prefix): beat
            for key, beat in beats
            if beat is not None
        }
