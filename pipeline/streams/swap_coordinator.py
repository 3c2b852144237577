"""The lease for changing an engine, and what the line knows of each promotion."""

from collections.abc import Callable

from pipeline.streams.connect import Client, translated
from pipeline.streams.keys import Keys
from pipeline.streams.scripts import Reply, Script, with_sound_key


class RedisSwapCoordinator:
    """What the workers of a line agree on when their engines change, in the name of one worker."""

    def __init__(self, client: Client, line: str, worker: str) -> None:
        self._client = client
        self._keys = Keys(line)
        self.worker = worker
        self._acquire_lease = Script(client.execute_command, "acquire_lease")
        self._release_lease = Script(client.execute_command, "release_lease")
        self._compare_and_set = Script(client.execute_command, "compare_and_set")

    def acquire_lease(self, lasts_ms: int) -> bool:
        """Be the one that swaps, for the next `lasts_ms`; False while another worker is."""
        return bool(self._acquire_lease([self._keys.swap], [self.worker, lasts_ms]))

    def release_lease(self) -> None:
        """Leave the swap to the next worker."""
        self._release_lease([self._keys.swap], [self.worker])

    def is_alive(self, worker: str) -> bool:
        """Return whether a worker of the line beats."""
        with translated():
            return bool(self._client.exists(self._keys.worker(worker)))

    def compare_and_set(self, promotion: str, was: bytes, now: bytes) -> bool:
        """Change the record of a promotion, packed by `wire.encode_rollout_record`; b"" is none.

        Returns: False, and nothing done, where it is not `was` any more.
        """
        return bool(self._compare_and_set([self._keys.promotions], [promotion, was, now]))

    def read_record(self, promotion: str) -> bytes:
        """What is known of a promotion; b"" where that is nothing."""
        key = self._keys.promotions
        found: bytes | None = self._read(lambda: self._client.hget(key, promotion))
        return found or b""

    def read_records(self) -> dict[str, bytes]:
        """What is known of every promotion."""
        found = self._read(lambda: self._client.hgetall(self._keys.promotions))
        return {field.decode(errors="replace"): packed for field, packed in found.items()}

    def _read(self, action: Callable[[], Reply]) -> Reply:
        call, key = self._client.execute_command, self._keys.promotions
        with translated():
            return with_sound_key(call, key, "hash", action)
