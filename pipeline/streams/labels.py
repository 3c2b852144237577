"""The labels of a line as they lie in Redis: packed, in the order in which they came."""

from pipeline.streams.connect import Client, translated
from pipeline.streams.keys import Keys
from pipeline.streams.scripts import Script

LABELS_KEPT = 100_000
REPEATED_WITHIN_S = 86_400  # for so long a sender may repeat a label whose answer was lost


class LabelStream:
    """Sends and reads the labels of one line."""

    def __init__(self, client: Client, line: str) -> None:
        self._client = client
        self._keys = Keys(line)
        self._send = Script(client.execute_command, "label")

    def send(self, packed: bytes) -> str:
        """Send one label, packed by `wire.encode_label`; returns its id, of its first arrival."""
        keys = [self._keys.labels, self._keys.label(packed)]
        return str(self._send(keys, [packed, LABELS_KEPT, REPEATED_WITHIN_S]).decode())

    def since(self, after: str, count: int) -> list[tuple[str, bytes]]:
        """Return up to `count` labels after an id (`0-0` from the first), oldest first."""
        with translated():
            raws = self._client.xrange(self._keys.labels, f"({after}", "+", count=count)
        return [(raw_id.decode(), fields.get(b"l", b"")) for raw_id, fields in raws]
