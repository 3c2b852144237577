"""A server that someone makes unfit while a line runs is told, in the log, and the line goes on."""

import logging
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from rigs.servers import find_server
from rigs.topology import wait_until

from pipeline.errors import ConnectionLost
from pipeline.streams.connect import Access, Client, open_client
from pipeline.streams.connection import RedisConnection, open_connection
from pipeline.streams.embedded import embedded_url, socket_path
from pipeline.streams.server_checks import EVERY_S, ClockComparison, Fitness


@pytest.fixture
def link(tmp_path: Path) -> Iterator[RedisConnection]:
    """A link to a server of its own: its settings are changed."""
    with (
        embedded_url(tmp_path, server=find_server("valkey")) as url,
        open_connection(Access(url), tmp_path) as opened,
    ):
        yield opened


def make_evict(client: Client, policy: str) -> None:
    client.config_set("maxmemory-policy", policy)


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.message.startswith("redis.")]


def test_server_that_evicts_since_a_while_is_found_by_looking_now_and_then(
    link: RedisConnection, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    fitness = Fitness(link.client, lambda: now[0])
    make_evict(link.client, "allkeys-lru")
    now[0] += EVERY_S - 1
    assert fitness.look() == ""
    now[0] += 1
    assert "set maxmemory-policy noeviction" in fitness.look()
    assert "allkeys-lru" in caplog.records[-1].__dict__["why"]
    make_evict(link.client, "noeviction")
    assert fitness.look() != ""
    now[0] += EVERY_S
    assert fitness.look() == ""
    assert events(caplog) == ["redis.unfit", "redis.fit"]


def test_server_is_asked_again_after_a_lost_connection(
    link: RedisConnection, caplog: pytest.LogCaptureFixture
) -> None:
    make_evict(link.client, "volatile-ttl")
    failures: list[Any] = [ConnectionLost("gone")]

    def answer() -> str:
        if failures:
            raise failures.pop()
        return "done"

    assert link.retry(answer, lambda: False, lambda _: None) == "done"
    assert events(caplog) == ["redis.waiting", "redis.unfit"]
    assert link.fitness.look() != ""
    caplog.clear()
    assert link.retry(answer, lambda: False) == "done"
    assert events(caplog) == []


def test_answer_is_kept_when_the_server_is_gone_again_before_it_is_asked(
    url: str, tmp_path: Path
) -> None:
    away = open_client(Access("redis://127.0.0.1:1"))
    with open_connection(Access(url), tmp_path) as connection:
        fitness, clocks = Fitness(away, lambda: 0.0), ClockComparison(away)
        lost = RedisConnection(away, "", "", fitness, clocks, lambda: None)
        tries = iter([ConnectionLost("gone"), None])

        def answer() -> bool:
            if (error := next(tries)) is not None:
                raise error
            return bool(connection.client.ping())

        assert lost.retry(answer, lambda: False, lambda _: None)
    with pytest.raises(ConnectionLost):
        lost.fitness.ask()
    away.close()


def test_a_log_line_says_it_is_an_error(
    link: RedisConnection, caplog: pytest.LogCaptureFixture
) -> None:
    make_evict(link.client, "allkeys-random")
    link.fitness.ask()
    assert caplog.records[-1].levelno == logging.ERROR


def test_start_waits_for_a_server_that_is_not_there_yet(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"unix://{socket_path(tmp_path)}"
    with ExitStack() as servers, ThreadPoolExecutor(1) as starting:

        def start_once_it_is_awaited() -> None:
            wait_until(lambda: "redis.awaited" in events(caplog))
            servers.enter_context(embedded_url(tmp_path, server=find_server("valkey")))

        started = starting.submit(start_once_it_is_awaited)
        with open_connection(Access(url), tmp_path, math.inf) as connection:
            started.result()
            assert connection.client.ping()
    assert events(caplog) == ["redis.awaited"]


def test_start_gives_up_in_the_end_where_it_is_told_to(tmp_path: Path) -> None:
    with (
        pytest.raises(ConnectionLost),
        open_connection(Access("redis://127.0.0.1:1"), tmp_path, 0.1),
    ):
        pass
