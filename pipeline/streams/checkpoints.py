"""Checkpoints of what a camera's source has taken, kept with the line."""

from collections.abc import Callable
from typing import Any

from pipeline.streams.connect import Client, translated
from pipeline.streams.keys import Keys
from pipeline.streams.scripts import Reply, with_sound_key


class Checkpoints:
    """The checkpoints of one camera: the last one, and the one before it."""

    def __init__(
        self,
        client: Client,
        line: str,
        camera: str,
        patiently: Callable[[Callable[[], Any]], Any] = lambda action: action(),
    ) -> None:
        """Name the camera.

        Args:
            client: of the line's Redis.
            line: the line.
            camera: the camera.
            patiently: repeats an action until Redis answers.
        """
        self._client = client
        self._key = Keys(line).taken(camera)
        self._patiently = patiently

    def load(self, generation: int) -> bytes | None:
        """Return a checkpoint, or None where there is none."""
        kept: bytes | None = self._patiently(lambda: self._load(generation))
        return kept

    def save(self, generation: int, records: bytes) -> None:
        """Keep a checkpoint and the one before it."""
        self._patiently(lambda: self._save(generation, records))

    def _load(self, generation: int) -> bytes | None:
        with translated():
            kept = self._sound(lambda: self._client.hget(self._key, str(generation)))
        return None if kept is None else bytes(kept)

    def _save(self, generation: int, records: bytes) -> None:
        with translated():
            self._sound(lambda: self._client.hset(self._key, str(generation), records))
            old = [
                name
                for name in self._client.hkeys(self._key)
                if name not in {b"%d" % generation, b"%d" % (generation - 1)}
            ]
            if old:
                self._client.hdel(self._key, *old)

    def _sound(self, action: Callable[[], Reply]) -> Reply:
        return with_sound_key(self._client.execute_command, self._key, "hash", action)
