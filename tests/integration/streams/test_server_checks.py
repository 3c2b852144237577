"""A server that someone makes unfit while a line runs is told, in the log, and the line goes on."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rigs.servers import find_server

from pipeline.errors import ConnectionLost
from pipeline.streams.connect import Access, Client, open_client
from pipeline.streams.connection import RedisConnection, open_connection
from pipeline.streams.embedded import embedded_url
from pipeline.streams.server_checks import EVERY_S, Fitness


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
        lost = RedisConnection(away, "", "", Fitness(away, lambda: 0.0), lambda: None)
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
