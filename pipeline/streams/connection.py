"""A link to the line's Redis that outlives its restarts."""

import itertools
import logging
import math
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from pipeline.errors import ConnectionLost, RedisFull, RedisUnfit
from pipeline.streams.connect import Access, Client, check_server, is_lasting, open_client
from pipeline.streams.server_checks import ClockComparison, Fitness

SAY_EVERY_S = 30.0  # that the start still waits
Reply = TypeVar("Reply")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BackOff:
    """Waiting times that double up to a cap, each shortened by chance so that processes spread."""

    first_s: float = 0.5
    cap_s: float = 30.0
    jitter: float = 0.5  # the largest share of a waiting time that chance takes off

    def wait_s(self, failures: int, rng: random.Random) -> float:
        """Return how long to wait after a number of failures in a row, 1 or more."""
        whole_s = min(self.cap_s, self.first_s * 2.0 ** min(failures - 1, 62))
        return whole_s * (1 - self.jitter * rng.random())

    def waits_s(self, rng: random.Random) -> Iterator[float]:
        """Yield the waiting times of failures in a row, without end."""
        return (self.wait_s(failures, rng) for failures in itertools.count(1))


# a restart of Redis is seen by all processes of all lines at once
BACK_OFF = BackOff(first_s=0.05, cap_s=2.0)


@dataclass(frozen=True)
class RedisConnection:
    """A client, and how to get its server back."""

    client: Client
    shown: str  # where the server is, without secrets
    server: str  # its name and version, as it was at the start
    fitness: Fitness
    clocks: ClockComparison
    _revive: Callable[[], None]
    _rng: random.Random = field(default_factory=random.Random)  # of the waits

    def retry(
        self,
        action: Callable[[], Reply],
        stopping: Callable[[], bool],
        pause: Callable[[float], object] = time.sleep,
    ) -> Reply:
        """Repeat `action` until Redis answers; it must be safe to repeat.

        `pause` waits between two tries, given seconds; it may return early.

        Raises:
            ConnectionLost, RedisFull: still no answer when `stopping` said true.
        """
        waits_s, lost = BACK_OFF.waits_s(self._rng), False
        while True:
            try:
                answer = action()
                break
            except (ConnectionLost, RedisFull) as error:
                if stopping():
                    raise
                lost = lost or isinstance(error, ConnectionLost)
                wait_s = next(waits_s)
                _log.warning("redis.waiting", extra={"why": str(error), "wait_s": round(wait_s, 3)})
            pause(wait_s)
            try:
                self._revive()
            except (RedisUnfit, OSError, subprocess.TimeoutExpired) as error:
                _log.error("redis.not_revived", extra={"why": str(error)})  # no bug
        if lost:
            with suppress(ConnectionLost, RedisFull):  # gone again: who asks next says so
                self.fitness.ask()
        return answer


@contextmanager
def open_connection(access: Access, state: Path, wait_s: float = 0.0) -> Iterator[RedisConnection]:
    """Open a link to the given server, or where no URL is given to the embedded one.

    Args:
        access: where the server is.
        state: folder of the embedded one.
        wait_s: how long to wait for a server that does not answer yet; infinity: until it does.

    Raises:
        ConnectionLost: nothing answers there in time.
        RedisUnfit: the server would lose frames, or none can be started.
    """
    if access.url:
        with _opened(access, lambda: None, wait_s) as connection:
            yield connection
        return
    if sys.platform == "win32":
        raise RedisUnfit("no embedded Redis on Windows: give --redis-url or set PRN_REDIS_URL")
    from pipeline.streams.embedded import embedded_url, revive  # noqa: PLC0415  # only without URL

    with embedded_url(state) as url:
        _log.debug("redis.embedded", extra={"state": str(state)})
        with _opened(Access(url), lambda: revive(state), wait_s) as connection:
            yield connection


@contextmanager
def _opened(
    access: Access, revive_server: Callable[[], None], wait_s: float
) -> Iterator[RedisConnection]:
    client, server = _await_server(access, wait_s)
    try:
        fitness, clocks = Fitness(client, time.monotonic), ClockComparison(client)
        yield RedisConnection(client, access.shown, server, fitness, clocks, revive_server)
    finally:
        client.close()


def _await_server(access: Access, wait_s: float) -> tuple[Client, str]:
    """Return a client and its server's name and version, once the server answers."""
    began_s, said_s = time.monotonic(), -math.inf
    waits_s = BACK_OFF.waits_s(random.Random())  # noqa: S311  # no secret
    while True:
        try:
            return _first_contact(access)
        except ConnectionLost as error:
            now_s = time.monotonic()
            if now_s - began_s >= wait_s or is_lasting(error):
                raise
            if now_s - said_s >= SAY_EVERY_S:
                said_s = now_s
                fields = {"redis": access.shown, "why": str(error)}
                _log.warning("redis.awaited", extra={**fields, "waited_s": round(now_s - began_s)})
        time.sleep(next(waits_s))


def _first_contact(access: Access) -> tuple[Client, str]:
    client = open_client(access)
    try:
        return client, check_server(client)
    except BaseException:
        client.close()
        raise
