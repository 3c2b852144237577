"""Joins the verdicts of several views into one verdict per part: the Redis side.

All keys of a station share its hash tag, so that one script decides a part:

{station}:open       zset     passes not yet decided -> deadline, ms on Redis's clock. Who removes a
                              pass publishes its verdict: so a part gets exactly one
{station}:results    stream   part verdicts, with the fields of a frame's verdict and `w`: what each
                              view said, msgpack [[view, answer, reason, entry, camera, seq], ...]
{station}:counts     hash     answer -> part verdicts published since the station began
{station}:parts      hash     key (trigger number or part id) -> its latest passes, as number and
                              time of capture in ms
{station}:views      hash     PASS/ and PASS/VIEW: what is known of each open pass
{station}:closed     zset     passes that were opened, the last 100,000 -> time of capture, ms
{station}:books      hash     plan: how parts are joined; from:VIEW: result id after which joining
                              began; opened: passes; joined: verdicts of views;
                              after, repeated, nameless, forgotten: those that joined no open pass;
                              missed: those that were dropped before they were read
{station}:positions  hash     view -> id and number of the last verdict of it that was joined
{station}:after      stream   each verdict of a view that joined no open pass: what became of it,
                              view, entry id and pass. The last 100,000, about
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import redis

from pipeline.errors import RedisUnfit, SettingsError
from pipeline.streams.connect import Client, translated
from pipeline.streams.keys import Keys, check_name
from pipeline.streams.result_reader import Result, read_result
from pipeline.streams.scripts import Script
from pipeline.streams.thread_connection import ThreadConnection
from pipeline.wire.views import decode_waiting_entry

MOST_VIEWS = 8
_EXPIRED_AT_ONCE = 256
_FROM = "from:"


class JoinKey(StrEnum):
    """What tells which verdicts show the same part."""

    TRIGGER = "trigger"  # the cameras count the same triggers
    PART_ID = "part-id"


@dataclass(frozen=True, slots=True)
class StationPlan:
    """How the verdicts of several views become one verdict per part."""

    station: str
    views: tuple[str, ...]  # lines, one a view
    by: JoinKey = JoinKey.TRIGGER
    window_ms: int = 10_000  # captures of one pass lie within it
    deadline_ms: int | None = None  # after the first capture; None: the latest of its views'
    results_kept: int = 100_000

    def __post_init__(self) -> None:
        """Check names and numbers.

        Raises:
            SettingsError: no station can work by it.
        """
        for name in (self.station, *self.views):
            check_name(name)
        if not 1 <= len(self.views) <= MOST_VIEWS or len(set(self.views)) < len(self.views):
            raise SettingsError(f"a station joins 1 to {MOST_VIEWS} different views")
        if self.station in self.views:
            raise SettingsError(f"the station {self.station} cannot be one of its own views")

    @property
    def text(self) -> str:
        """The plan as the station's books keep it: equal texts, equal plans."""
        policy = "latest" if self.deadline_ms is None else "first"
        deadline = "-" if self.deadline_ms is None else str(self.deadline_ms)
        return f"{self.by} {self.window_ms} {policy} {deadline} {','.join(self.views)}"


@dataclass(frozen=True, slots=True)
class ViewResult:
    """A view's verdict, ready to be joined."""

    view: str
    result_id: str
    number: int | None
    key: str  # which part; empty where the frame is not known
    captured_ms: int  # UTC
    due_ms: int  # deadline that it asks for its part, on Redis's clock
    answer: str
    reason: str
    entry_id: str
    camera: str
    seq: int
    header: tuple[
        bytes, bytes
    ]  # of the part: up to its seq, its seq packed ('' for its own number)
    judgement: bytes


@dataclass(frozen=True, slots=True)
class Expiry:
    """What an expiry found."""

    now_ms: float  # Redis's clock
    next_due_ms: float | None  # of the open part that is due first
    expired: int


@dataclass(frozen=True, slots=True)
class StationSnapshot:
    """The books of a station at one moment."""

    plan: str  # empty where nobody ever joined it
    positions: dict[str, str]  # view -> result id of the last verdict that was joined
    started: dict[str, str]  # view -> result id after which joining began
    books: dict[str, int]  # what was counted since the station began
    counts: dict[str, int]  # answer -> part verdicts
    open_parts: int
    added: int  # part verdicts ever put into the stream
    kept: int
    deleted: bool  # whether any was deleted by hand: the limit trims, it does not delete
    after: tuple[tuple[str, str], ...]  # (view, entry id) of the verdicts that joined no open part
    waiting: frozenset[tuple[str, str]]  # (view, entry id) of those whose part is open


def read_station(client: Client, station: str) -> StationSnapshot:
    """Read the books of a station in one transaction, so that they fit each other.

    Raises:
        ConnectionLost: no answer; call again.
    """
    keys = Keys(station)
    with translated():
        pipe = client.pipeline(transaction=True)
        pipe.hgetall(keys.books)
        pipe.hgetall(keys.positions)
        pipe.hgetall(keys.counts)
        pipe.zcard(keys.open)
        pipe.xinfo_stream(keys.results)
        pipe.xrange(keys.after)
        pipe.hgetall(keys.views)
        books, positions, counts, opened, stream, after, views = pipe.execute(raise_on_error=False)
    for answer in (books, positions, counts, opened, after, views):
        if isinstance(answer, Exception):
            raise answer
    # a cluster's transaction gives fields as Redis does, in one flat list
    books, positions, counts, views = map(_fields, (books, positions, counts, views))
    known = {} if isinstance(stream, redis.ResponseError) else _named(stream)
    texts = {name.decode(): value.decode() for name, value in books.items()}
    return StationSnapshot(
        plan=texts.get("plan", ""),
        positions={
            view.decode(): value.decode().partition(" ")[0] for view, value in positions.items()
        },
        started={
            name.removeprefix(_FROM): value
            for name, value in texts.items()
            if name.startswith(_FROM)
        },
        books={name: int(value) for name, value in texts.items() if value.isdecimal()},
        counts={answer.decode(): int(count) for answer, count in counts.items()},
        open_parts=int(opened),
        added=int(known.get(b"entries-added", 0)),
        kept=int(known.get(b"length", 0)),
        deleted=known.get(b"max-deleted-entry-id", b"0-0") != b"0-0",
        after=tuple(map(_view_frame, (fields for _, fields in _entries(after)))),
        waiting=frozenset(_waiting(views)),
    )


def _named(stream: Any) -> dict[bytes, Any]:  # noqa: ANN401
    fields = _fields(stream)
    return {name.encode() if isinstance(name, str) else name: fields[name] for name in fields}


def _view_frame(fields: dict[bytes, bytes]) -> tuple[str, str]:
    return fields[b"view"].decode(), fields[b"entry"].decode()


def _waiting(views: dict[bytes, bytes]) -> Iterator[tuple[str, str]]:
    for name, packed in views.items():
        view = name.decode(errors="replace").rpartition("/")[2]
        if view:
            yield view, decode_waiting_entry(packed)


class StationBooks:
    """The books of one station."""

    def __init__(self, client: Client, plan: StationPlan) -> None:
        """Borrow a client of the line's Redis."""
        self._client = client
        self._connection = ThreadConnection(client)
        self._plan = plan
        self._keys = Keys(plan.station)
        self._join = Script(self._connection, "join_views")
        self._expire = Script(self._connection, "expire_parts")
        self._heartbeat = Script(self._connection, "heartbeat")

    def open(self, *, from_start: bool, redefine: bool = False) -> dict[str, str]:
        """Return up to which result id each view was joined; new views begin here.

        Args:
            from_start: a view that was never joined begins with its oldest verdict kept, not with
                its next new one.
            redefine: the station is joined by this plan from now on; joiners with another end.

        Raises:
            SettingsError: the station is joined by another plan.
            ConnectionLost: no answer; call again.
        """
        keys, plan = self._keys, self._plan
        with translated():
            if redefine:
                self._client.hset(keys.books, "plan", plan.text)
            else:
                self._client.hsetnx(keys.books, "plan", plan.text)
            known = self._client.hget(keys.books, "plan").decode()
        if known != plan.text:
            raise SettingsError(_other_plan(plan, known))
        return {view: self._position(view, from_start=from_start) for view in plan.views}

    def _position(self, view: str, *, from_start: bool) -> str:
        with translated():
            last = "0-0" if from_start else self._last_id(view)
            self._client.hsetnx(self._keys.positions, view, f"{last} ")
            self._client.hsetnx(self._keys.books, f"{_FROM}{view}", last)
            position: bytes = self._client.hget(self._keys.positions, view)
        return position.decode().partition(" ")[0]

    def _last_id(self, view: str) -> str:
        try:
            found = self._client.xinfo_stream(Keys(view).results)
        except redis.ResponseError as error:
            if "no such key" in str(error):
                return "0-0"
            raise
        last: bytes = found["last-generated-id"]
        return last.decode()

    def read(self, view: str, after: str, count: int, block_ms: int) -> list[Result]:
        """Return the next verdicts of a view after a result id; wait for them up to `block_ms`.

        Raises:
            ConnectionLost: call again.
        """
        words = ["COUNT", count, "BLOCK", block_ms, "STREAMS", Keys(view).results, after]
        with translated():
            answer = self._connection("XREAD", *words)
        if not answer:
            return []
        streams = answer.values() if isinstance(answer, dict) else [entry[1] for entry in answer]
        return [read_result(raw) for entries in streams for raw in _entries(entries)]

    def join(self, results: Iterable[ViewResult]) -> list[str]:
        """Join verdicts of views; return what became of each, as `join_views` says.

        Raises:
            ConnectionLost: some may have been joined; call again with the same.
            SettingsError: the station is joined by another plan now.
        """
        words = [word for result in results for word in _words(result)]
        found = self._run(
            self._join, self._written, [self._plan.results_kept, self._plan.text, *words]
        )
        return [bytes(word).decode() for word in found]

    def expire(self) -> Expiry:
        """Answer every part whose deadline has passed.

        Raises:
            ConnectionLost: call again.
            SettingsError: the station is joined by another plan now.
        """
        words = [self._plan.results_kept, self._plan.text, _EXPIRED_AT_ONCE]
        now, due, *expired = self._run(self._expire, self._written, words)
        return Expiry(float(now), float(due) if due else None, len(expired))

    def send_heartbeat(self, joiner: str, report: bytes, lasts_ms: int) -> None:
        """Send a joiner's heartbeat, as workers do."""
        self._heartbeat([self._keys.worker(joiner)], [report, lasts_ms])

    @property
    def _written(self) -> list[str]:
        keys = self._keys
        books = [keys.open, keys.parts, keys.views, keys.closed, keys.books, keys.results]
        return [*books, keys.counts, keys.positions, keys.after]

    def _run(self, script: Script, keys: list[str], words: list[Any]) -> Any:  # noqa: ANN401
        try:
            return script(keys, words)
        except RedisUnfit as error:
            if "OTHERPLAN" not in str(error):
                raise
            raise SettingsError(_other_plan(self._plan, "one that was set since")) from error


def _entries(entries: Any) -> list[Any]:  # noqa: ANN401  # raw or parsed, as the client gives it
    return [(raw_id, _fields(fields)) for raw_id, fields in entries]


def _fields(fields: Any) -> dict[bytes, bytes]:  # noqa: ANN401
    if isinstance(fields, dict):
        return fields
    return dict(zip(fields[::2], fields[1::2], strict=True))


def _words(result: ViewResult) -> list[Any]:
    number = "" if result.number is None else result.number
    return [
        *(result.view, result.result_id, number, result.key, result.captured_ms, result.due_ms),
        *(result.answer, result.reason, result.entry_id, result.camera, result.seq),
        *(*result.header, result.judgement),
    ]


def _other_plan(plan: StationPlan, known: str) -> str:
    return (
        f"the station {plan.station} is joined by another plan ({known}), not by {plan.text}: give "
        "every joiner the same settings, or change the plan with --redefine"
    )
