"""A link to the line's Redis that outlives its restarts."""

import logging
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pipeline.errors import ConnectionLost, RedisFull, RedisUnfit
from pipeline.streams.connect import Access, Client, check_server, open_client
from pipeline.streams.server_checks import Fitness

FIRST_WAIT_S = 0.05
LONGEST_WAIT_S = 2.0
Reply = TypeVar("Reply")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RedisConnection:
    """A client, and how to get its server back."""

    client: Client
    shown: str  # where the server is, without secrets
    server: str  # its name and version, as it was at the start
    fitness: Fitness
    _revive: Callable[[], None]

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
        wait_s, lost = FIRST_WAIT_S, False
        while True:
            try:
                answer = action()
                break
            except (ConnectionLost, RedisFull) as error:
                if stopping():
                    raise
                lost = lost or isinstance(error, ConnectionLost)
                _log.warning("redis.waiting", extra={"why": str(error), "wait_s": wait_s})
            pause(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
            try:
                self._revive()
            except (RedisUnfit, OSError, subprocess.TimeoutExpired) as error:
                _log.error("redis.not_revived", extra={"why": str(error)})  # no bug
        if lost:
            with suppress(ConnectionLost, RedisFull):  # gone again: who asks next says so
                self.fitness.ask()
        return answer


@contextmanager
def open_connection(access: Access, state: Path) -> Iterator[RedisConnection]:
    """Open a link to the given server, or where no URL is given to the embedded one.

    Raises:
        ConnectionLost: nothing answers there.
        RedisUnfit: the server would lose frames, or none can be started.
    """
    if access.url:
        with _opened(access, lambda: None) as connection:
            yield connection
        return
    from pipeline.streams.embedded import embedded_url, revive  # noqa: PLC0415  # only without URL

    with embedded_url(state) as url:
        _log.debug("redis.embedded", extra={"state": str(state)})
        with _opened(Access(url), lambda: revive(state)) as connection:
            yield connection


@contextmanager
def _opened(access: Access, revive_server: Callable[[], None]) -> Iterator[RedisConnection]:
    client = open_client(access)
    try:
        server = check_server(client)
        fitness = Fitness(client, time.monotonic)
        yield RedisConnection(client, access.shown, server, fitness, revive_server)
    finally:
        client.close()
