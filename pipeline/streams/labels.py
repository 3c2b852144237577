"""The labels of a line as they lie in Redis: packed, in the order in which they came."""

from pipeline.streams.connect import Client, translated
from pipeline.streams.keys import Keys

LABELS_KEPT = 100_000


class LabelStream:
    """Sends and reads the labels of one line."""

    def __init__(self, client: Client, line: str) -> None:
        self._client = client
        self._key = Keys(line).labels

    def send(self, packed: bytes) -> str:
        """Send one label, packed by `wire.encode_label`; returns its id."""
        with translated():
            sent = self._client.xadd(self._key, {"l": packed}, maxlen=LABELS_KEPT, approximate=True)
        return str(sent.decode())

    def since(self, after: str, count: int) -> list[tuple[str, bytes]]:
        """Give up to `count` labels after an id (`0-0` from the first), oldest first."""
        with translated():
            raws = self._client.xrange(self._key, f"({after}", "+", count=count)
        return [(raw_id.decode(), fields.get(b"l", b"")) for raw_id, fields in raws]
