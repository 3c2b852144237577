from typing import Any

from pipeline.streams.connect import Client
from pipeline.streams.keys import Keys
from pipeline.streams.swap_coordinator import RedisSwapCoordinator


class Slow:
    """A client between whose commands another worker takes the lease over."""

    def __init__(self, client: Client, line: str) -> None:
        self._client, self._line = client, line

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        asked = getattr(self._client, name)

        def ask(*arguments: Any, **more: Any) -> Any:  # noqa: ANN401
            answer = asked(*arguments, **more)
            self._client.delete(Keys(self._line).swap)
            assert RedisSwapCoordinator(self._client, self._line, "other").acquire_lease(10_000)
            return answer

        return ask


def test_lease_is_of_one_worker_until_it_lets_go(client: Client, line: str) -> None:
    mine, other = (
        RedisSwapCoordinator(client, line, "me"),
        RedisSwapCoordinator(client, line, "other"),
    )
    assert mine.acquire_lease(10_000)
    assert mine.acquire_lease(10_000)
    assert not other.acquire_lease(10_000)
    other.release_lease()
    assert client.get(Keys(line).swap) == b"me"
    assert 0 < client.pttl(Keys(line).swap) <= 10_000
    mine.release_lease()
    assert other.acquire_lease(10_000)


def test_lease_that_runs_out_between_two_commands_is_not_taken_from_the_next(
    client: Client, line: str
) -> None:
    RedisSwapCoordinator(client, line, "me").acquire_lease(10_000)
    RedisSwapCoordinator(Slow(client, line), line, "me").release_lease()  # type: ignore[arg-type]
    assert client.get(Keys(line).swap) == b"other"


def test_lease_is_renewed_in_one_command(client: Client, line: str) -> None:
    RedisSwapCoordinator(client, line, "me").acquire_lease(10_000)
    slow = RedisSwapCoordinator(Slow(client, line), line, "me")  # type: ignore[arg-type]
    held = slow.acquire_lease(10_000)
    assert held, "it was when it was asked"
    assert not slow.acquire_lease(10_000)
    assert client.get(Keys(line).swap) == b"other"


def test_note_is_changed_only_by_who_has_read_it(client: Client, line: str) -> None:
    coordinator = RedisSwapCoordinator(client, line, "me")
    assert coordinator.read_record("v1 today") == b""
    assert coordinator.compare_and_set("v1 today", b"", b"first")
    assert not coordinator.compare_and_set("v1 today", b"", b"second")
    assert coordinator.read_records() == {"v1 today": b"first"}
    assert coordinator.compare_and_set("v1 today", b"first", b"")
    assert coordinator.read_record("v1 today") == b""


def test_worker_lives_while_it_beats(client: Client, line: str) -> None:
    coordinator = RedisSwapCoordinator(client, line, "me")
    assert not coordinator.is_alive("other")
    client.set(Keys(line).worker("other"), b"beat", px=10_000)
    assert coordinator.is_alive("other")
