"""Checks whether a Redis server is fit for a line: its settings, version and clock.

An unfit server is refused at the start. Its settings may also change while parts pass. The line
does not stop then, because parts would lose their verdicts at once instead of perhaps when the
server is full: it logs the problem loudly. Deadlines are decided on Redis's clock.
"""

import logging
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis
from redis.cluster import RedisCluster

from pipeline.errors import RedisUnfit
from pipeline.streams.connect import Client, ask_nodes, check_server, translated

EVERY_S = 30.0
_log = logging.getLogger(__name__)
WARNING_MS = 20.0
CLOCK_EVERY_S = 2.0  # one short command
_WHY_APART = (
    "capture times and latencies are off by as much, and with cameras of earlier releases the "
    "deadlines too: keep both clocks in step (NTP, PTP)"
)
_WHY_STEPPED = {
    "redis": "it was set while parts passed: deadlines of the frames in hand shift by as much",
    "this machine": "it was set while parts passed: capture times and latencies jump by as much",
}
_PINGS = 50
_FSYNC_ORDER = ("", "no", "everysec", "always")  # the weakest first


class Fitness:
    """Asks a server now and then; any thread may."""

    def __init__(self, client: Client, clock: Callable[[], float]) -> None:
        """Watch a server that was found fit a moment ago.

        Args:
            client: of the server.
            clock: monotonic seconds.
        """
        self._client = client
        self._clock = clock
        self._asked_s = clock()
        self._answered_s = self._asked_s
        self._why = ""
        self._asking = threading.Lock()

    def look(self) -> str:
        """Ask if `EVERY_S` have passed; say why the server is unfit, "" while it is fit.

        So it may be called as often as one likes: two short commands in half a minute.

        Raises:
            ConnectionLost, RedisFull: no answer.
        """
        return self.ask() if self._clock() - self._asked_s >= EVERY_S else self._why

    def ask(self) -> str:
        """Ask now, as after a lost connection: another server may answer than before.

        Raises:
            ConnectionLost, RedisFull: no answer.
        """
        failed_s = self._clock()
        with self._asking:
            if self._answered_s > failed_s:
                return self._why  # another thread asked while this one waited
            self._asked_s = self._clock()
            try:
                server = check_server(self._client)
            except RedisUnfit as error:
                self._why = str(error)
                _log.error("redis.unfit", extra={"why": self._why})
            else:
                if self._why:
                    _log.warning("redis.fit", extra={"server": server})
                self._why = ""
            self._answered_s = self._clock()
            return self._why


def server_ahead_ms(client: Client) -> float:
    """Return how far Redis's clock is ahead of ours, give or take half a round trip."""
    return read_clocks(client).ahead_ms


@dataclass(frozen=True, slots=True)
class ClockReading:
    """What three clocks showed at the same moment, give or take half a round trip."""

    redis_s: float  # since the epoch
    ours_s: float  # since the epoch
    monotonic_s: float
    error_ms: float  # half the round trip

    @property
    def ahead_ms(self) -> float:
        """Return how far Redis's clock is ahead of ours."""
        return (self.redis_s - self.ours_s) * 1e3


def read_clocks(client: Client) -> ClockReading:
    """Ask Redis for its time.

    Raises:
        ConnectionLost: no answer.
    """
    with translated():
        before_s, ours_s = time.monotonic(), time.time()
        answer: Any = client.time()
        after_s = time.monotonic()
    if isinstance(answer, dict):  # a cluster: one of its nodes
        answer = next(iter(answer.values()))
    redis_s = float(answer[0]) + float(answer[1]) / 1e6
    half_s = (after_s - before_s) / 2
    return ClockReading(redis_s, ours_s + half_s, before_s + half_s, half_s * 1e3)


class ClockComparison:
    """Compares Redis's clock with ours now and then, and either with one that nobody can set."""

    def __init__(
        self, client: Client, read: Callable[[Client], ClockReading] = read_clocks
    ) -> None:
        self._client = client
        self._read = read
        self._last: ClockReading | None = None
        self._due_s = 0.0
        self._said_ms = 0.0  # the difference that was logged last; 0: none is to be known
        self.ahead_ms = 0.0

    def look(self) -> None:
        """Compare if `CLOCK_EVERY_S` have passed, so that it may be called as often as one likes.

        Raises:
            ConnectionLost: no answer.
        """
        if time.monotonic() < self._due_s:
            return
        self._due_s = time.monotonic() + CLOCK_EVERY_S
        self.compare(self._read(self._client))

    def compare(self, reading: ClockReading) -> None:
        """Log what changed since the last reading."""
        last, self._last = self._last, reading
        self.ahead_ms = reading.ahead_ms
        if last is not None:
            self._compare_steps(last, reading)
        self._compare_both(reading)

    def _compare_steps(self, last: ClockReading, reading: ClockReading) -> None:
        passed_s = reading.monotonic_s - last.monotonic_s
        bound_ms = WARNING_MS + last.error_ms + reading.error_ms
        for clock, shown_s in (
            ("redis", reading.redis_s - last.redis_s),
            ("this machine", reading.ours_s - last.ours_s),
        ):
            if abs(step_ms := (shown_s - passed_s) * 1e3) > bound_ms:
                fields = {"clock": clock, "by_ms": round(step_ms, 1), "why": _WHY_STEPPED[clock]}
                _log.warning("clock.stepped", extra=fields)

    def _compare_both(self, reading: ClockReading) -> None:
        ahead_ms = reading.ahead_ms
        if abs(ahead_ms) - reading.error_ms <= WARNING_MS:
            if self._said_ms and abs(ahead_ms) + reading.error_ms <= WARNING_MS:
                _log.warning("clock.together", extra={"redis_ahead_ms": round(ahead_ms, 1)})
                self._said_ms = 0.0
            return
        changed_ms = abs(ahead_ms - self._said_ms) - reading.error_ms
        if changed_ms > max(WARNING_MS, abs(self._said_ms) / 2):
            self._said_ms = ahead_ms
            fields = {"redis_ahead_ms": round(ahead_ms, 1), "why": _WHY_APART}
            _log.warning("clock.apart", extra=fields)


@dataclass(frozen=True, slots=True)
class ServerReport:
    """How a server is set up, and how far away it is."""

    append_only: bool  # whether an answer outlives a crash of the server
    # when it is on the disk: always, everysec or no; the weakest of a cluster's primaries; empty
    # where this user may not ask
    append_fsync: str
    unsaved: int  # changes since the last snapshot: without the append-only file a crash loses them
    max_memory_mb: float  # 0: no limit
    used_memory_mb: float
    ahead_ms: float  # its clock against ours, give or take half a round trip
    round_trip_ms: float  # median


def probe(client: Client) -> ServerReport:
    """Ask a server about itself; takes some fifty round trips.

    Raises:
        ConnectionLost, RedisUnfit: it does not answer, or refuses to.
    """
    with translated():
        persistence, memory = ask_nodes(client, "persistence"), ask_nodes(client, "memory")[0]
        append_fsync = _append_fsync(client)
        trips_s = [_round_trip_s(client) for _ in range(_PINGS)]
    return ServerReport(
        append_only=all(node.get("aof_enabled", 0) for node in persistence),
        append_fsync=append_fsync,
        unsaved=sum(int(node.get("rdb_changes_since_last_save", 0)) for node in persistence),
        max_memory_mb=int(memory.get("maxmemory", 0)) / (1 << 20),
        used_memory_mb=int(memory.get("used_memory", 0)) / (1 << 20),
        ahead_ms=server_ahead_ms(client),
        round_trip_ms=statistics.median(trips_s) * 1e3,
    )


def _append_fsync(client: Client) -> str:
    """Ask for the setting, which is in no section of INFO."""
    found: Any
    try:
        if isinstance(client, RedisCluster):
            found = client.config_get("appendfsync", target_nodes=RedisCluster.PRIMARIES)
            nodes = list(found.values())
            settings = nodes if all(isinstance(node, dict) for node in nodes) else [found]
        else:
            found = client.config_get("appendfsync")
            settings = [found]
    except redis.exceptions.NoPermissionError:
        return ""
    known = [str(node.get("appendfsync", "")) for node in settings]
    return min(known, key=_FSYNC_ORDER.index) if set(known) <= set(_FSYNC_ORDER) else ""


def _round_trip_s(client: Client) -> float:
    began = time.perf_counter()
    client.ping()
    return time.perf_counter() - began
