"""How long a process waits for a Redis that is away."""

import random
from typing import cast

from pipeline.errors import ConnectionLost
from pipeline.streams.connect import Client
from pipeline.streams.connection import BACK_OFF, RedisConnection
from pipeline.streams.server_checks import ClockComparison, Fitness

TRIES = 12


class NothingToAsk:
    def ask(self) -> None:
        """Redis is fit."""


def waits_of(seed: int) -> list[float]:
    """The waits of a process that reaches Redis at its thirteenth try."""
    connection = RedisConnection(
        cast("Client", None),
        "",
        "",
        cast("Fitness", NothingToAsk()),
        cast("ClockComparison", None),
        lambda: None,
        random.Random(seed),  # noqa: S311  # no secret
    )
    waits: list[float] = []

    def action() -> int:
        if len(waits) < TRIES:
            raise ConnectionLost("away")
        return len(waits)

    assert connection.retry(action, lambda: False, waits.append) == TRIES
    return waits


def test_processes_that_lost_redis_at_once_come_back_apart() -> None:
    waits = [waits_of(seed) for seed in range(20)]
    returns = sorted(sum(each) for each in waits)
    assert len(set(returns)) == len(waits)
    assert returns[-1] - returns[0] > BACK_OFF.cap_s


def test_waits_double_up_to_two_seconds_and_lose_half_of_it_at_most() -> None:
    whole_s = [min(2.0, 0.05 * 2**failures) for failures in range(TRIES)]
    for waited_s, most_s in zip(waits_of(0), whole_s, strict=True):
        assert most_s / 2 <= waited_s <= most_s
