"""Connections kept for hot calls, with a pool of our own that remembers what is done to it."""

from collections.abc import Callable
from typing import Any

import pytest
import redis

from pipeline.streams import thread_connection
from pipeline.streams.thread_connection import ThreadConnection


class FakeConnection:
    def __init__(self) -> None:
        self.sent: list[tuple[object, ...]] = []
        self.disconnected = False
        self.holds_an_answer = False

    def send_command(self, *command: object) -> None:
        self.sent.append(command)

    def can_read(self) -> bool:
        return self.holds_an_answer

    def disconnect(self) -> None:
        self.disconnected = True


class FakePool:
    """Returns a new connection each time, as a client that asks Sentinel again would."""

    def __init__(self) -> None:
        self.given: list[FakeConnection] = []
        self.released: list[FakeConnection] = []

    def get_connection(self) -> FakeConnection:
        self.given.append(FakeConnection())
        return self.given[-1]

    def release(self, connection: FakeConnection) -> None:
        self.released.append(connection)


class FakeClient:
    def __init__(self) -> None:
        self.connection_pool = FakePool()
        self.answer: Callable[[], Any] = lambda: "fine"

    def parse_response(self, _connection: FakeConnection, _command: str) -> object:
        return self.answer()

    def fail_with(self, error: BaseException) -> None:
        def fail() -> object:
            raise error

        self.answer = fail


def test_calls_share_a_connection() -> None:
    client = FakeClient()
    call = ThreadConnection(client)
    assert [call("PING"), call("PING")] == ["fine", "fine"]
    assert len(client.connection_pool.given) == 1


@pytest.mark.parametrize(
    "error",
    [
        redis.TimeoutError("the answer may still come"),
        redis.ConnectionError("gone"),
        redis.ReadOnlyError("this was the primary"),
        KeyboardInterrupt(),
    ],
)
def test_connection_that_may_hold_an_old_answer_or_lead_elsewhere_is_never_used_again(
    error: BaseException,
) -> None:
    client = FakeClient()
    call = ThreadConnection(client)
    client.fail_with(error)
    with pytest.raises(type(error)):
        call("GET", "x")
    client.answer = lambda: "fine"
    assert call("PING") == "fine"
    first, second = client.connection_pool.given
    assert first.disconnected
    assert client.connection_pool.released == [first]
    assert second.sent == [("PING",)]


def test_refused_command_keeps_its_connection() -> None:
    client = FakeClient()
    call = ThreadConnection(client)
    client.fail_with(redis.ResponseError("WRONGTYPE"))
    with pytest.raises(redis.ResponseError):
        call("GET", "x")
    client.answer = lambda: "fine"
    call("PING")
    assert len(client.connection_pool.given) == 1


def test_idle_connection_with_something_to_read_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = FakeClient()
    call = ThreadConnection(client)
    call("PING")
    monkeypatch.setattr(
        thread_connection, "LOOK_AFTER_S", -1.0
    )  # every call comes after a long pause
    call("PING")
    assert len(client.connection_pool.given) == 1
    client.connection_pool.given[0].holds_an_answer = True
    call("PING")
    assert len(client.connection_pool.given) == 2
