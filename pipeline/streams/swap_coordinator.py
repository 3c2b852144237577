"""Who may change its engine now, and what the line knows of each promotion."""

from pipeline.streams.connect import Client, translated
from pipeline.streams.keys import Keys
from pipeline.streams.scripts import Script


class Swaps:
    """What the workers of a line agree on when their engines change, in the name of one worker."""

    def __init__(self, client: Client, line: str, worker: str) -> None:
        self._client = client
        self._keys = Keys(line)
        self.worker = worker
        self._hold = Script(client.execute_command, "hold")
        self._let_go = Script(client.execute_command, "let_go")
        self._note = Script(client.execute_command, "note")

    def hold(self, lasts_ms: int) -> bool:
        """Be the one that swaps, for the next `lasts_ms`; False while another worker is."""
        return bool(self._hold([self._keys.swap], [self.worker, lasts_ms]))

    def let_go(self) -> None:
        """Leave the swap to the next worker."""
        self._let_go([self._keys.swap], [self.worker])

    def lives(self, worker: str) -> bool:
        """Whether a worker of the line beats."""
        with translated():
            return bool(self._client.exists(self._keys.worker(worker)))

    def note(self, promotion: str, was: bytes, now: bytes) -> bool:
        """Change what is known of a promotion, packed by `wire.encode_trial`; b"" is nothing.

        Returns: False, and nothing done, where it is not `was` any more.
        """
        return bool(self._note([self._keys.promotions], [promotion, was, now]))

    def noted(self, promotion: str) -> bytes:
        """What is known of a promotion; b"" where that is nothing."""
        with translated():
            found: bytes | None = self._client.hget(self._keys.promotions, promotion)
        return found or b""

    def notes(self) -> dict[str, bytes]:
        """What is known of every promotion."""
        with translated():
            found = self._client.hgetall(self._keys.promotions)
        return {field.decode(errors="replace"): packed for field, packed in found.items()}
