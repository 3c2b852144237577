"""Keys and neighbours that are not as they should be do not end a worker."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rigs.worker import SIDE, Bench, ProbeEngine, until

from pipeline.codecs import Codec, encode_pixels
from pipeline.frames import Decision, Reason
from pipeline.streams.connect import Access
from pipeline.streams.connection import RedisConnection, open_connection
from pipeline.streams.keys import GROUP, Keys, LineLimits
from pipeline.worker.peers import MOST_MISFITS

WIDE = SIDE * 2
PIXELS = encode_pixels(np.zeros((WIDE, WIDE, 3), np.uint8), Codec.RAW)


class WideEngine(ProbeEngine):
    """Takes larger frames than the others."""

    input_size = (WIDE, WIDE)


@pytest.fixture
def connection(url: str, tmp_path: Path) -> Iterator[RedisConnection]:
    with open_connection(Access(url), tmp_path) as opened:
        yield opened


@pytest.fixture
def bench(connection: RedisConnection, line: str) -> Bench:
    return Bench(connection, line, LineLimits())


@pytest.mark.parametrize("key", ["control", "counts"])
def test_key_of_another_kind_ends_no_worker(
    bench: Bench, key: str, caplog: pytest.LogCaptureFixture
) -> None:
    client, name = bench.connection.client, getattr(Keys(bench.line), key)
    with bench.worker() as worker:
        until(lambda: worker.not_ready() == "")
        client.rename(name, f"{name}:aside") if client.exists(name) else None
        client.set(name, "of another kind")
        until(lambda: "WRONGTYPE" in worker.not_ready())
        assert worker.failure() == ""
        client.delete(name)
        until(lambda: worker.not_ready() == "")
        bench.offer(1)
        assert bench.wait_for(1)[1].decision is Decision.OK
    said = [record.getMessage() for record in caplog.records]
    assert said.count("task.refused") == said.count("task.resumed") == 1


def test_worker_starts_where_the_control_messages_cannot_be_read(bench: Bench) -> None:
    name = Keys(bench.line).control
    bench.connection.client.set(name, "of another kind")
    with bench.worker() as worker:
        bench.offer(1)
        assert bench.wait_for(1)[1].decision is Decision.OK
        assert "WRONGTYPE" in worker.not_ready()


def test_consumer_of_any_name_is_taken_over(bench: Bench) -> None:
    keys, client = Keys(bench.line), bench.connection.client
    bench.offer(1)
    with bench.worker("first"):
        bench.wait_for(1)
    bench.offer(2)
    client.xreadgroup(GROUP, b"\xff", {keys.frames: ">"}, count=1)
    with bench.worker() as worker:
        assert sorted(bench.wait_for(2)) == [1, 2]
        assert worker.failure() == ""


def test_worker_whose_engine_does_not_fit_the_line_stops_taking_frames(bench: Bench) -> None:
    with bench.worker("narrow") as narrow:
        for seq in range(1, MOST_MISFITS + 1):
            bench.offer_bytes(seq, Codec.RAW, PIXELS, side=WIDE)
        bench.wait_for(MOST_MISFITS)
        assert narrow.not_ready() == ""  # no other worker: an answer at once is better than LATE
        bench.lanes = [WideEngine()]
        with bench.worker("wide"):
            until(lambda: f"{WIDE}x{WIDE}" in narrow.not_ready())
            decisions = [offer_and_wait(bench, MOST_MISFITS + 1 + at) for at in range(60)]
    verdicts = bench.verdicts()
    assert all(verdicts[seq].reason is Reason.UNREADABLE for seq in range(1, MOST_MISFITS + 1))
    # what a reader was waiting for when it was told to stop still came to it
    assert decisions[-40:] == [Decision.OK] * 40


def offer_and_wait(bench: Bench, seq: int) -> Decision:
    bench.offer_bytes(seq, Codec.RAW, PIXELS, side=WIDE)
    return bench.wait_for(seq)[seq].decision
