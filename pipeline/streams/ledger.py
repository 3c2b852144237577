"""What a line's books say: frames offered, frames open, verdicts published."""

from dataclasses import dataclass
from typing import Any

from pipeline.streams.connect import Client, translated
from pipeline.streams.keys import Keys
from pipeline.streams.outcome import Result, read_result


@dataclass(frozen=True, slots=True)
class CameraBook:
    """What one camera offered."""

    camera: str
    offered: int
    runs: tuple[tuple[int, int], ...]  # (first, last) seq of each run without gaps, oldest first


@dataclass(frozen=True, slots=True)
class Books:
    """The books of a line at one moment."""

    cameras: tuple[CameraBook, ...]
    open_entries: int
    counts: dict[str, int]  # answer -> verdicts since the line began
    first_result_ms: int  # admission of frames before this may have lost its verdict to the limit
    trimmed: bool  # whether older verdicts are no longer kept


class Ledger:
    """Reads the books of one line."""

    def __init__(self, client: Client, line: str) -> None:
        self._client = client
        self._keys = Keys(line)

    def books(self) -> Books:
        """Read all books in one transaction, so that they fit each other."""
        keys = self._keys
        with translated():
            names = sorted(name.decode() for name in self._client.smembers(keys.cameras))
            pipe = self._client.pipeline(transaction=True)
            pipe.zcard(keys.open)
            pipe.hgetall(keys.counts)
            pipe.xrange(keys.results, "-", "+", count=1)
            for name in names:
                pipe.hgetall(keys.camera(name))
                pipe.lrange(keys.runs(name), 0, -1)
            open_entries, counts, first, *rest = pipe.execute()
            kept = int(self._client.xlen(keys.results))
        published = {answer.decode(): int(count) for answer, count in counts.items()}
        return Books(
            cameras=tuple(
                _camera_book(name, rest[2 * at], rest[2 * at + 1]) for at, name in enumerate(names)
            ),
            open_entries=int(open_entries),
            counts=published,
            first_result_ms=int(first[0][0].split(b"-")[0]) if first else 0,
            trimmed=kept < sum(published.values()),
        )

    def results(self, after: str, count: int) -> list[Result]:
        """Give the next verdicts after a result id (`-` from the oldest kept)."""
        low = after if after == "-" else f"({after}"
        with translated():
            raws = self._client.xrange(self._keys.results, low, "+", count)
        return [read_result(raw) for raw in raws]

    def open_heads(self, count: int = 100_000) -> dict[str, bytes]:
        """The heads of all frames not yet answered, by entry id."""
        with translated():
            ids = self._client.zrange(self._keys.open, 0, count)
        heads: dict[str, bytes] = {}
        for raw_id in ids:
            with translated():
                entry = self._client.xrange(self._keys.frames, raw_id, raw_id)
            if entry:
                heads[raw_id.decode()] = entry[0][1].get(b"m", b"")
        return heads


def _camera_book(name: str, fields: dict[bytes, bytes], runs: list[Any]) -> CameraBook:
    closed = [tuple(map(int, run.split(b"-"))) for run in runs]
    current = (int(fields[b"from"]), int(fields[b"last"]))
    return CameraBook(
        camera=name,
        offered=int(fields[b"offered"]),
        runs=tuple((first, last) for first, last in [*closed, current]),
    )
