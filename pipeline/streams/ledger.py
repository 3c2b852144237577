"""What a line's books say: frames offered, frames open, verdicts published."""

from dataclasses import dataclass
from typing import Any

import redis

from pipeline.errors import SettingsError
from pipeline.streams.connect import Client, translated
from pipeline.streams.keys import Keys, check_name
from pipeline.streams.result_reader import Result, read_result
from pipeline.streams.rollback.marks import RollbackRecord, unpack_record

_BOOKS = 3  # answers about each camera
_OPEN_PAGE = 64  # entries come with their pixels


@dataclass(frozen=True, slots=True)
class CameraLedger:
    """What one camera offered."""

    camera: str
    offered: int
    runs: tuple[tuple[int, int], ...]  # (first, last) seq of each run without gaps, oldest first
    lost: int = 0  # seqs between them, since the line began: triggers whose picture never came
    # first and last seq of what was admitted and then lost, because Redis went back
    rolled_back: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ResultRetention:
    """What the stream of verdicts says of itself."""

    added: int  # verdicts ever added
    length: int  # verdicts still kept
    first_ms: int  # when the oldest kept was published, Redis's clock; 0 where none is kept
    deleted: bool  # whether any was deleted by hand: the limit trims, it does not delete


@dataclass(frozen=True, slots=True)
class LedgerSnapshot:
    """The books of a line at one moment."""

    cameras: tuple[CameraLedger, ...]
    open_entries: int
    counts: dict[str, int]  # answer -> verdicts since the line began
    retention: ResultRetention
    damaged: tuple[str, ...] = ()  # what of the books cannot be read, one sentence each
    rollbacks: tuple[RollbackRecord, ...] = ()  # that programs noticed, oldest first


class Ledger:
    """Reads the books of one line."""

    def __init__(self, client: Client, line: str) -> None:
        self._client = client
        self._keys = Keys(line)

    def snapshot(self) -> LedgerSnapshot:
        """Read all books in one transaction, so that they fit each other."""
        names: list[str] = []
        while True:
            found, *rest = self._read(names)
            now, unsafe = _safe_names(found)
            if now == names:
                return _snapshot(self._keys, names, unsafe, rest)
            names = now  # a camera joined the line while we looked

    def _read(self, names: list[str]) -> list[Any]:
        keys = self._keys
        with translated():
            pipe = self._client.pipeline(transaction=True)
            pipe.smembers(keys.cameras)
            pipe.zcard(keys.open)
            pipe.hgetall(keys.counts)
            pipe.xinfo_stream(keys.results)
            pipe.lrange(keys.rollbacks, 0, -1)
            for key in keys.put_aside(names):
                pipe.exists(key)
            for name in names:
                pipe.hgetall(keys.camera(name))
                pipe.lrange(keys.runs(name), 0, -1)
                pipe.lrange(keys.rolled(name), 0, -1)
            found = pipe.execute(raise_on_error=False)
            for at, answer in enumerate(found):
                if isinstance(answer, redis.ResponseError) and "no such key" in str(answer):
                    found[at] = None  # no verdict yet
                elif isinstance(answer, Exception):
                    raise answer
        return list(found)

    def results(self, after: str, count: int) -> list[Result]:
        """Return the next verdicts after a result id (`-` from the oldest kept)."""
        low = after if after == "-" else f"({after}"
        with translated():
            raws = self._client.xrange(self._keys.results, low, "+", count)
        return [read_result(raw) for raw in raws]

    def open_headers(self) -> dict[str, bytes]:
        """The heads of all frames not yet answered, by entry id."""
        with translated():
            ids = self._client.zrange(self._keys.open, 0, -1)
        heads: dict[str, bytes] = {}
        for at in range(0, len(ids), _OPEN_PAGE):
            with translated():
                pipe = self._client.pipeline(transaction=False)
                for raw_id in ids[at : at + _OPEN_PAGE]:
                    pipe.xrange(self._keys.frames, raw_id, raw_id)
                found = pipe.execute()
            heads |= {
                entry[0].decode(): _fields(entry[1]).get(b"m", b"")
                for page in found
                for entry in page
            }
        return heads


def _safe_names(found: set[bytes]) -> tuple[list[str], list[str]]:
    """Return the names of cameras, sorted, and those that no camera can have."""
    safe, unsafe = [], []
    for raw in found:
        name = raw.decode(errors="replace")
        try:
            safe.append(check_name(name))
        except SettingsError:
            unsafe.append(name)
    return sorted(safe), sorted(unsafe)


def _snapshot(keys: Keys, names: list[str], unsafe: list[str], rest: list[Any]) -> LedgerSnapshot:
    open_entries, counts, stream, records, *books = rest
    put_aside = keys.put_aside(names)
    aside, books = books[: len(put_aside)], books[len(put_aside) :]
    damaged = [
        f"{key.removesuffix(':damaged')} held a value of another kind, which now lies at {key}"
        for key, exists in zip(put_aside, aside, strict=True)
        if exists
    ]
    damaged += [f"no camera can have the name {name!r:.80}" for name in unsafe]
    cameras = []
    for at, name in enumerate(names):
        fields, runs, rolled = books[_BOOKS * at : _BOOKS * (at + 1)]
        try:
            cameras.append(_camera_ledger(name, _fields(fields), runs, rolled))
        except (KeyError, ValueError) as error:
            damaged.append(f"the books of camera {name} cannot be read: {error!r:.80}")
    rollbacks = []
    for raw in records:
        try:
            rollbacks.append(unpack_record(raw))
        except ValueError as error:
            damaged.append(f"a record of a rollback cannot be read: {error!s:.80}")
    return LedgerSnapshot(
        cameras=tuple(cameras),
        open_entries=int(open_entries),
        counts={answer.decode(): int(count) for answer, count in _fields(counts).items()},
        retention=_retention(_fields(stream))
        if stream
        else ResultRetention(0, 0, 0, deleted=False),
        damaged=tuple(damaged),
        rollbacks=tuple(rollbacks),
    )


def _fields(answer: Any) -> dict[bytes, Any]:  # noqa: ANN401  # as redis-py gives it
    """Fields by name: a cluster's transaction gives them as Redis does, in one flat list."""
    if isinstance(answer, dict):
        return {name.encode() if isinstance(name, str) else name: answer[name] for name in answer}
    return dict(zip(answer[::2], answer[1::2], strict=True))


def _retention(stream: dict[bytes, Any]) -> ResultRetention:
    first = stream[b"first-entry"]
    return ResultRetention(
        added=int(stream[b"entries-added"]),
        length=int(stream[b"length"]),
        first_ms=int(first[0].split(b"-")[0]) if first else 0,
        deleted=stream[b"max-deleted-entry-id"] != b"0-0",
    )


def _camera_ledger(
    name: str, fields: dict[bytes, bytes], runs: list[bytes], rolled: list[bytes]
) -> CameraLedger:
    closed = [tuple(map(int, run.split(b"-"))) for run in runs]
    current = (int(fields[b"from"]), int(fields[b"last"]))
    lost_writes = [tuple(map(int, after_last.split(b":"))) for after_last in rolled]
    return CameraLedger(
        camera=name,
        offered=int(fields[b"offered"]),
        runs=tuple((first, last) for first, last in [*closed, current]),
        lost=int(fields.get(b"lost", 0)),
        rolled_back=tuple((after + 1, last) for after, last in lost_writes),
    )
