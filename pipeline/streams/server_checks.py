"""Whether a Redis server is fit for a line: its settings, version and clock.

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

from pipeline.errors import RedisUnfit
from pipeline.streams.connect import Client, ask_nodes, check_server, translated

EVERY_S = 30.0
_log = logging.getLogger(__name__)
WARNING_MS = 20.0
_PINGS = 50


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
    """How far Redis's clock is ahead of ours, give or take half a round trip."""
    with translated():
        before = time.time()
        answer: Any = client.time()
        after = time.time()
    if isinstance(answer, dict):  # a cluster: one of its nodes
        answer = next(iter(answer.values()))
    seconds, micros = answer
    return (float(seconds) + float(micros) / 1e6 - (before + after) / 2) * 1e3


def warn_if_apart(client: Client) -> None:
    """Log a warning where the clocks differ so much that deadlines shift."""
    ahead_ms = server_ahead_ms(client)
    if abs(ahead_ms) > WARNING_MS:
        why = "deadlines shift by as much: keep both clocks in step (NTP, PTP)"
        _log.warning("clock.apart", extra={"redis_ahead_ms": round(ahead_ms, 1), "why": why})


@dataclass(frozen=True, slots=True)
class ServerReport:
    """How a server is set up, and how far away it is."""

    append_only: bool  # whether an answer outlives a crash of the server
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
        persistence, memory = ask_nodes(client, "persistence")[0], ask_nodes(client, "memory")[0]
        trips_s = [_round_trip_s(client) for _ in range(_PINGS)]
    return ServerReport(
        append_only=bool(persistence.get("aof_enabled", 0)),
        max_memory_mb=int(memory.get("maxmemory", 0)) / (1 << 20),
        used_memory_mb=int(memory.get("used_memory", 0)) / (1 << 20),
        ahead_ms=server_ahead_ms(client),
        round_trip_ms=statistics.median(trips_s) * 1e3,
    )


def _round_trip_s(client: Client) -> float:
    began = time.perf_counter()
    client.ping()
    return time.perf_counter() - began
