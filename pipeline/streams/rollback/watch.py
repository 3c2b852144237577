"""What a program remembers of a line, compared with Redis (docs/decisions/0018)."""

import logging
import math
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import redis

from pipeline.errors import ConnectionLost, RedisFull, RedisUnfit
from pipeline.streams.connect import Client, ask_nodes, translated
from pipeline.streams.keys import Keys, is_name
from pipeline.streams.result_reader import whole
from pipeline.streams.rollback.marks import LostWrites, Marks, find_lost_writes, pack_record
from pipeline.streams.rollback.memory_file import MemoryFile
from pipeline.streams.scripts import Script

EVERY_S = 1.0
RECORDS_KEPT = 10_000
MOST_NOTES = 256  # of programs; some are dropped when another one comes
_TRIES = 5  # where a note changes while it is compared
_WHY = (
    "Redis went back to an earlier state (a failover, or a restart from an older file): frames "
    "and verdicts in between may be lost"
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Books:
    """What Redis says at one moment."""

    now: Marks
    note: bytes  # of this program, as it lies there
    notes: int | None  # of all programs; None: they were of another kind
    rollbacks: int  # that anybody marked
    runs: frozenset[str]  # run ids of the servers


class RollbackWatch:
    """Remembers how far a line had come, and marks it in Redis when that is behind; thread-safe."""

    def __init__(
        self,
        client: Client,
        line: str,
        who: str,
        *,
        own_camera: str = "",
        file: Path | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Read what an earlier process left; Redis is not asked yet.

        Args:
            client: of the line's server.
            line: its name.
            who: this program, for people.
            own_camera: the camera that only this process offers for.
            file: keeps the memory beyond the process; None: nowhere.
            clock_s: monotonic.

        Raises:
            SettingsError: the file is of another line or cannot be read.
        """
        self._client, self._keys, self._who = client, Keys(line), who
        self._own_camera = own_camera
        self._clock_s = clock_s
        self._looked_s = -math.inf
        self._note_marks = Script(client.execute_command, "note_marks")
        self._file = MemoryFile(file, line) if file else None
        kept = self._file.read() if self._file else None
        self._name, self._marks = kept or (secrets.token_hex(8), Marks())
        self._told: dict[str, int] = {}  # since the last look: camera -> seq
        self._told_number = 0
        self._refused = False
        self._runs: frozenset[str] | None = None  # of the servers, at the last look
        self._noting, self._asking = threading.Lock(), threading.Lock()
        self.rollbacks = 0  # that anybody marked in this line

    def note_frame(self, camera: str, seq: int) -> None:
        """Remember that a frame was admitted; of a camera that the last look saw, or our own.

        A header may be damaged or forged: what it says counts if the server was another one at the
        next look, or was started again, and is forgotten otherwise.
        """
        with self._noting:
            is_own = bool(self._own_camera) and camera == self._own_camera
            if (is_own or camera in self._marks.cameras) and seq > self._told.get(camera, -1):
                self._told[camera] = seq

    def note_verdict(self, number: int | None) -> None:
        """Remember the number of a verdict that was published, in the same way."""
        with self._noting:
            self._told_number = max(self._told_number, number or 0)

    def look(self) -> None:
        """Compare if a second has passed; may be called as often as one likes.

        Raises:
            ConnectionLost, RedisFull: no answer.
        """
        if self._clock_s() - self._looked_s >= EVERY_S:
            self.ask()

    def ask(self) -> LostWrites | None:
        """Compare now; log and mark in Redis what may be lost, or return None.

        A server that refuses it is said once: nobody ends for want of a watch.

        Raises:
            ConnectionLost, RedisFull: no answer.
        """
        try:
            rollback = self._ask()
        except RedisUnfit as error:
            if not self._refused:
                fields = {"by": self._who, "why": f"{error}: a rollback would not be noticed"}
                _log.error("books.unwatched", extra=fields)
            self._refused, self._looked_s = True, self._clock_s()
            return None
        self._refused = False
        return rollback

    def _ask(self) -> LostWrites | None:
        with self._asking:
            for _ in range(_TRIES):
                told = self._heard()  # before Redis is asked: what comes later may be ahead of it
                books = self._read(self._marks.joined(told))
                if books is None:
                    self._looked_s = self._clock_s()
                    return None  # a key of another kind, which the next writer puts aside
                stored = Marks.unpack(books.note) if books.note else None
                rollback = self._compare(books, stored, told)
                looks = max(self._marks.looks, stored.looks if stored else 0) + 1
                now = replace(books.now, looks=looks)
                if self._write(books, now, rollback):
                    self._looked_s = self._clock_s()
                    self.rollbacks = books.rollbacks + (rollback is not None)
                    self._learn(books, now, told, rollback)
                    return rollback
        return None  # another process uses the same file just now, and looks as this one does

    def close(self) -> None:
        """Look once more for the file; without one, take the note of this process away."""
        with suppress(ConnectionLost, RedisFull, RedisUnfit):
            if self._file:
                self.ask()
                return
            with translated():
                self._client.hdel(self._keys.witnesses, self._name)

    def _heard(self) -> Marks:
        with self._noting:
            return Marks(0, self._told_number, dict(self._told))

    def _compare(self, books: _Books, stored: Marks | None, told: Marks) -> LostWrites | None:
        """Return what may be lost: told by headers only if the books themselves bear it out."""
        own = {name: seq for name, seq in told.cameras.items() if name == self._own_camera}
        sure, every = self._marks.joined(Marks(cameras=own)), self._marks.joined(told)
        pruned = books.notes is None or books.notes >= MOST_NOTES // 2

        def find(known: Marks) -> LostWrites | None:
            return find_lost_writes(known, stored, books.now, pruned=pruned, own=self._own_camera)

        restarted = self._runs is not None and books.runs != self._runs
        return find(every) if restarted or find(sure) else None

    def _read(self, known: Marks) -> _Books | None:
        """Read the position; None if what it rests on is of another kind."""
        keys = self._keys
        with translated():
            try:
                names = self._client.smembers(keys.cameras)
            except redis.ResponseError as error:
                _pass_over_wrong_kind(error)
                return None
            found = {raw.decode(errors="replace") for raw in names}
            cameras = sorted(filter(is_name, found | known.cameras.keys()))
            pipe = self._client.pipeline(transaction=True)
            pipe.hget(keys.witnesses, self._name)
            pipe.hlen(keys.witnesses)
            pipe.llen(keys.rollbacks)
            pipe.hvals(keys.counts)
            for camera in cameras:
                pipe.hget(keys.camera(camera), "last")
            answers = pipe.execute(raise_on_error=False)
            for answer in answers:
                if isinstance(answer, Exception):
                    _pass_over_wrong_kind(answer)
        note, notes, rollbacks, counts, *lasts = answers
        if any(isinstance(answer, Exception) for answer in (counts, *lasts)):
            return None
        seqs = zip(cameras, map(whole, lasts), strict=True)
        now = Marks(
            published=sum(whole(count) or 0 for count in counts),
            cameras={camera: seq for camera, seq in seqs if seq is not None},
        )
        runs = frozenset(str(node.get("run_id")) for node in ask_nodes(self._client, "server"))
        return _Books(
            now,
            note if isinstance(note, bytes) else b"",
            notes if isinstance(notes, int) else None,
            rollbacks if isinstance(rollbacks, int) else 0,
            runs,
        )

    def _write(self, books: _Books, now: Marks, rollback: LostWrites | None) -> bool:
        """Write the note and the marks of a rollback; False if the note has changed meanwhile."""
        keys = self._keys
        if not books.note and (books.notes or 0) >= MOST_NOTES:
            self._prune()
        written, arguments = [keys.witnesses, keys.rollbacks], []
        for camera, after, last in rollback.frames if rollback else ():
            written += [keys.camera(camera), keys.rolled(camera)]
            arguments += [after, last]
        record = b"" if rollback is None else pack_record(self._who, rollback)
        head = [self._name, books.note, now.pack(), RECORDS_KEPT, record]
        return bool(self._note_marks(written, [*head, *arguments]))

    def _prune(self) -> None:
        """Drop the notes with the fewest looks: most of them are of programs that were killed."""
        with translated():
            notes = self._client.hgetall(self._keys.witnesses)
            looks = {name: (Marks.unpack(note) or Marks()).looks for name, note in notes.items()}
            fewest = sorted(looks, key=lambda name: looks[name])[: len(notes) // 4]
            self._client.hdel(self._keys.witnesses, *fewest)

    def _learn(self, books: _Books, now: Marks, told: Marks, rollback: LostWrites | None) -> None:
        self._runs = books.runs
        with self._noting:
            if rollback is None:
                self._marks = self._marks.joined(now)
                later = {name: seq for name, seq in self._told.items() if seq > told.last(name)}
                self._told = later
                self._told_number *= self._told_number > told.published
            else:
                self._marks, self._told, self._told_number = now, {}, 0
        if self._file:
            self._file.write(self._name, self._marks)
        if rollback is not None:
            self._log(rollback)

    def _log(self, rollback: LostWrites) -> None:
        fields: dict[str, Any] = {"by": self._who, "why": _WHY}
        if rollback.verdicts:
            first, last = rollback.verdicts
            fields |= {"from_verdict": first, "to_verdict": last}
        for camera, after, last in rollback.frames:
            lost = {"camera": camera, "from_seq": after + 1, "to_seq": last, "frames": last - after}
            _log.error("books.rolled_back", extra={**fields, **lost})
        if not rollback.frames:
            _log.error("books.rolled_back", extra=fields)


def _pass_over_wrong_kind(error: Exception) -> None:
    """Raise every other error."""
    if "WRONGTYPE" not in str(error):
        raise error
