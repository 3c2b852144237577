"""Checkpoints of what a camera's source has taken, kept with the line."""

from pipeline.streams.connect import Client, translated
from pipeline.streams.keys import Keys


class Checkpoints:
    """The checkpoints of one camera: the last one, and the one before it."""

    def __init__(self, client: Client, line: str, camera: str) -> None:
        self._client = client
        self._key = Keys(line).taken(camera)

    def load(self, generation: int) -> bytes | None:
        """Return a checkpoint, or None where there is none."""
        with translated():
            kept = self._client.hget(self._key, str(generation))
        return None if kept is None else bytes(kept)

    def save(self, generation: int, records: bytes) -> None:
        """Keep a checkpoint and the one before it; safe to repeat."""
        with translated():
            self._client.hset(self._key, str(generation), records)
            old = [
                name
                for name in self._client.hkeys(self._key)
                if name not in {b"%d" % generation, b"%d" % (generation - 1)}
            ]
            if old:
                self._client.hdel(self._key, *old)
