"""The worker's side of a line: reading frames, answering them, taking over from the dead."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis

from pipeline.errors import RedisUnfit
from pipeline.frames import PUBLISHED_AS, Decision, Reason
from pipeline.streams.clock import ServerClock
from pipeline.streams.connect import Client, translated
from pipeline.streams.group import is_stream_gone, make_group, read_group
from pipeline.streams.keys import GROUP, NEVER_DELIVERED, Keys, LineLimits
from pipeline.streams.scripts import Script, with_sound_key
from pipeline.streams.thread_connection import ThreadConnection

EXPIRE_AT_ONCE = 256
DEAD_LETTERS_KEPT = 100  # with DEAD_PAYLOAD_BYTES a tenth of the embedded server
DEAD_PAYLOAD_BYTES = 1 << 20
CLAIM_IDLE_MS = 200  # two workers that see the same dead one do not both take its frames
TRIM_SAMPLES = 32
LEAST_KEPT = 100  # verdicts, whatever their size
STUCK_IDLE_MS = 30_000  # a worker that beats but never answers loses its frames after this


@dataclass(frozen=True, slots=True)
class Entry:
    """A frame as it lies in the stream: nothing of it is trusted yet."""

    entry_id: str
    header: bytes
    payload: bytes | None  # None for a frame in a ring
    charged: int
    deliveries: int = 1
    # from when it was read to its deadline on Redis's clock; None: offered by an earlier release
    left_ns: int | None = None
    due_ms: int | None = None  # the deadline itself


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker says of one entry."""

    entry: Entry
    decision: Decision | Reason  # OK, NG or the reason of UNKNOWN
    judgement: bytes = b""  # packed by wire.encode_judgement


class OverdueFrames:
    """Answers the frames of one line that nobody judged in time; workers and cameras call it."""

    def __init__(self, client: Client, line: str, limits: LineLimits) -> None:
        self._written = Keys(line).written_by_answers
        self._arguments = [GROUP, limits.results_kept]
        self._expire = Script(client.execute_command, "expire")
        self.clock = ServerClock()

    def expire(self, most: int = EXPIRE_AT_ONCE) -> int:
        """Answer LATE for up to `most` frames past their deadline; returns how many.

        What Redis's clock says is noted on the way.
        """
        sent_s = self.clock.monotonic_s()
        server_ms, *late = self._expire(self._written, [*self._arguments, most])
        self.clock.note(float(server_ms), sent_s)
        return len(late)


class FrameConsumer:
    """Reads and answers the frames of one line in the name of one worker."""

    def __init__(self, client: Client, line: str, worker: str, limits: LineLimits) -> None:
        self._client = client
        self._keys = Keys(line)
        self._worker = worker
        self._results_kept = limits.results_kept
        self._results_bytes = limits.results_bytes
        self.on_publish: Callable[[int], object] | None = None  # number of a verdict
        self._connection = ThreadConnection(client)
        self._answer = Script(self._connection, "answer")
        self._overdue = OverdueFrames(client, line, limits)
        self._remove_consumer = Script(client.execute_command, "remove_consumer")
        self._heartbeat = Script(client.execute_command, "heartbeat")
        self._take_over = Script(client.execute_command, "take_over")

    def join(self) -> None:
        """Make the stream and its group, where missing, and be listed in it."""
        make_group(self._client, self._keys, self._worker)
        self._overdue.expire(0)  # for its clock

    def read(self, count: int, block_ms: int) -> list[Entry]:
        """Take up to `count` waiting frames; wait `block_ms` for the first (0 returns at once)."""
        return self._read(NEVER_DELIVERED, count, block_ms)

    def pending(self) -> list[Entry]:
        """Return every frame that is in this worker's name, in hand or lost with a connection."""
        return self._read("0", None, 0)

    def _read(self, after: str, count: int | None, block_ms: int) -> list[Entry]:
        with translated():
            try:
                found = read_group(
                    self._connection,
                    (GROUP, self._worker),
                    self._keys.frames,
                    after,
                    count,
                    block_ms,
                )
            except redis.ResponseError as error:
                if not is_stream_gone(error):
                    raise
                self.join()  # someone emptied the server, or overwrote the stream
                return []
        # an entry in this worker's name that was answered meanwhile comes without fields
        return [self._entry(raw) for raw in found if raw[1]]

    def answer(self, answers: list[Answer]) -> list[str]:
        """Publish verdicts: each frame's first answer counts, a later one is dropped.

        Returns: what was published for each, `LATE` where the deadline had passed, `` where the
            frame had been answered before.
        """
        arguments: list[Any] = [GROUP, self._results_kept]
        for said in answers:
            entry = said.entry
            word = PUBLISHED_AS.get(said.decision, said.decision)
            reason = "" if word is said.decision else said.decision.value
            arguments += [entry.entry_id, entry.charged, word.value]
            due = "" if entry.due_ms is None else entry.due_ms
            arguments += [entry.header, said.judgement, reason, due]
        number, *words = self._answer(self._keys.written_by_answers, arguments)
        if self.on_publish is not None:
            self.on_publish(int(number))
        return [word.decode() for word in words]

    def expire(self) -> int:
        """Answer LATE for every frame of the line past its deadline; returns how many."""
        return self._overdue.expire()

    def trim(self) -> int:
        """Drop a tenth of the verdicts, the oldest, if all take too many bytes; returns how many.

        Without it a line whose every verdict has a large mask fills the server, and then stands.
        """
        results = self._keys.results
        with translated():
            taken = self._client.memory_usage(results, samples=TRIM_SAMPLES) or 0
            kept = self._client.xlen(results)
            if taken <= self._results_bytes or kept <= LEAST_KEPT:
                return 0
            return int(self._client.xtrim(results, maxlen=kept - kept // 10, approximate=False))

    def dead_letter(self, entry: Entry, why: str) -> None:
        """Keep a copy of a frame that cannot be judged, for a person to look at."""
        fields: dict[Any, Any] = {"why": why, "e": entry.entry_id, "m": entry.header[:65536]}
        if entry.payload is not None:
            fields["d"] = entry.payload[:DEAD_PAYLOAD_BYTES]
        dead = self._keys.dead
        with translated():
            with_sound_key(
                self._client.execute_command,
                dead,
                "stream",
                lambda: self._client.xadd(dead, fields, maxlen=DEAD_LETTERS_KEPT, approximate=True),
            )

    def send_heartbeat(self, report: bytes, lasts_ms: int) -> None:
        """Send this worker's heartbeat for the next `lasts_ms`, also to a server that is full."""
        self._heartbeat([self._keys.worker(self._worker)], [report, lasts_ms])

    def other_beats(self) -> dict[str, bytes]:
        """Return the heartbeats of the line's other living workers, by name.

        A worker that has read nothing yet becomes known to the others by this call.
        """
        self.join()  # someone may have emptied the server
        with translated():
            self._client.xgroup_createconsumer(self._keys.frames, GROUP, self._worker)
        names = [name for name, _ in self._others()]
        with translated():
            beats = [self._client.get(self._beat_key(name)) for name in names]
        return {
            name.decode("utf-8", "replace"): beat
            for name, beat in zip(names, beats, strict=True)
            if beat is not None
        }

    def leave(self) -> None:
        """Leave the group; frames still in hand are taken over by the others."""
        with translated():
            self._client.delete(self._keys.worker(self._worker))
            self._remove_consumer([self._keys.frames], [GROUP, self._worker])

    def take_over(self, count: int) -> list[Entry]:
        """Claim up to `count` frames of workers without heartbeat, or stuck with them.

        A frame's `deliveries` says how often it was handed out, this time included.
        """
        limits = [CLAIM_IDLE_MS, STUCK_IDLE_MS, count]
        arguments = [GROUP, self._worker, self._keys.worker(""), *limits]
        claimed = self._take_over([self._keys.frames], arguments)
        return [
            self._entry((entry_id, dict(zip(fields[::2], fields[1::2], strict=True))), deliveries)
            for (entry_id, fields), deliveries in claimed
        ]

    def _others(self) -> list[tuple[bytes, int]]:
        """Return the group's other consumers, by whatever names, and their pending entries."""
        with translated():
            consumers = self._client.xinfo_consumers(self._keys.frames, GROUP)
        found = [(bytes(consumer["name"]), int(consumer["pending"])) for consumer in consumers]
        return [(name, pending) for name, pending in found if name != self._worker.encode()]

    def _beat_key(self, worker: bytes) -> bytes:
        return self._keys.worker("").encode() + worker

    def _entry(self, raw: tuple[bytes, dict[bytes, bytes]], deliveries: int = 1) -> Entry:
        entry_id, fields = raw
        due_ms, now_ms = _whole(fields.get(b"u")), self._overdue.clock.now_ms()
        left_ms = None if due_ms is None or now_ms is None else due_ms - now_ms
        return Entry(
            entry_id=entry_id.decode(),
            header=fields.get(b"m", b""),
            payload=fields.get(b"d"),
            charged=_whole(fields.get(b"n")) or 0,
            deliveries=deliveries,
            left_ns=None if left_ms is None else int(left_ms * 1e6),
            due_ms=due_ms,
        )

    def put_aside(self) -> list[str]:
        """Return the keys at which a script has put damaged books of the line aside."""
        keys = self._keys.put_aside()
        with translated():
            pipe = self._client.pipeline(transaction=False)
            for key in keys:
                pipe.exists(key)
            found = pipe.execute()
        return [key for key, exists in zip(keys, found, strict=True) if exists]

    def counts(self) -> dict[str, int]:
        """Verdicts published since the line began, by answer."""
        with translated():
            counts = self._client.hgetall(self._keys.counts)
        return {
            _text(answer): _number(count, self._keys.counts) for answer, count in counts.items()
        }

    def unanswered(self) -> tuple[int, int]:
        """Frames not yet answered, and the bytes they are charged."""
        with translated():
            frames = self._client.zcard(self._keys.open)
            charged = self._client.get(self._keys.bytes)
        return int(frames), _number(charged or b"0", self._keys.bytes)


def _text(raw: bytes | str) -> str:
    return raw.decode("utf-8", "replace") if isinstance(raw, bytes) else raw


def _number(raw: bytes, key: str) -> int:
    try:
        return int(raw)
    except ValueError as error:
        raise RedisUnfit(f"{key} holds {raw!r:.80}, which is no number: delete it") from error


def _whole(raw: bytes | None) -> int | None:
    return int(raw) if raw and raw.isdigit() and len(raw) < 16 else None  # noqa: PLR2004
