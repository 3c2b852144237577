from typing import Any

from pipeline.streams.connect import Client
from pipeline.streams.keys import Keys
from pipeline.streams.swap_coordinator import Swaps


class Slow:
    """A client between whose commands another worker takes the lease over."""

    def __init__(self, client: Client, line: str) -> None:
        self._client, self._line = client, line

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        asked = getattr(self._client, name)

        def ask(*arguments: Any, **more: Any) -> Any:  # noqa: ANN401
            answer = asked(*arguments, **more)
            self._client.delete(Keys(self._line).swap)
            assert Swaps(self._client, self._line, "other").hold(10_000)
            return answer

        return ask


def test_lease_is_of_one_worker_until_it_lets_go(client: Client, line: str) -> None:
    mine, other = Swaps(client, line, "me"), Swaps(client, line, "other")
    assert mine.hold(10_000)
    assert mine.hold(10_000)
    assert not other.hold(10_000)
    other.let_go()
    assert client.get(Keys(line).swap) == b"me"
    assert 0 < client.pttl(Keys(line).swap) <= 10_000
    mine.let_go()
    assert other.hold(10_000)


def test_lease_that_runs_out_between_two_commands_is_not_taken_from_the_next(
    client: Client, line: str
) -> None:
    Swaps(client, line, "me").hold(10_000)
    Swaps(Slow(client, line), line, "me").let_go()  # type: ignore[arg-type]
    assert client.get(Keys(line).swap) == b"other"


def test_lease_is_renewed_in_one_command(client: Client, line: str) -> None:
    Swaps(client, line, "me").hold(10_000)
    slow = Swaps(Slow(client, line), line, "me")  # type: ignore[arg-type]
    held = slow.hold(10_000)
    assert held, "it was when it was asked"
    assert not slow.hold(10_000)
    assert client.get(Keys(line).swap) == b"other"


def test_note_is_changed_only_by_who_has_read_it(client: Client, line: str) -> None:
    swaps = Swaps(client, line, "me")
    assert swaps.noted("v1 today") == b""
    assert swaps.note("v1 today", b"", b"first")
    assert not swaps.note("v1 today", b"", b"second")
    assert swaps.notes() == {"v1 today": b"first"}
    assert swaps.note("v1 today", b"first", b"")
    assert swaps.noted("v1 today") == b""


def test_worker_lives_while_it_beats(client: Client, line: str) -> None:
    swaps = Swaps(client, line, "me")
    assert not swaps.lives("other")
    client.set(Keys(line).worker("other"), b"beat", px=10_000)
    assert swaps.lives("other")
