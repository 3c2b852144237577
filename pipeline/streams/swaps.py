"""Who may change its engine now, and which promotion no worker of the line takes."""

from pipeline.streams.connect import Client, translated
from pipeline.streams.keys import Keys


class Swaps:
    """What the workers of a line agree on when their engines change, in the name of one worker."""

    def __init__(self, client: Client, line: str, worker: str) -> None:
        self._client = client
        self._keys = Keys(line)
        self._token = worker

    def hold(self, lasts_ms: int) -> bool:
        """Be the one that swaps, for the next `lasts_ms`; False while another worker is."""
        with translated():
            if self._client.set(self._keys.swap, self._token, nx=True, px=lasts_ms):
                return True
            if self._client.get(self._keys.swap) != self._token.encode():
                return False
            return bool(self._client.pexpire(self._keys.swap, lasts_ms))

    def let_go(self) -> None:
        """Leave the swap to the next worker."""
        with translated():
            if self._client.get(self._keys.swap) == self._token.encode():
                self._client.delete(self._keys.swap)

    def refuse(self, refusal: bytes) -> None:
        """Keep a promotion from every worker of the line; packed by `wire.encode_refusal`."""
        with translated():
            self._client.set(self._keys.refused, refusal)

    def refused(self) -> bytes | None:
        """The latest promotion that was refused."""
        with translated():
            found: bytes | None = self._client.get(self._keys.refused)
        return found
