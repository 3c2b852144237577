"""Keys and neighbours that are not as they should be do not end a worker."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from rigs.worker import SIDE, Bench, ProbeEngine, until

from pipeline.codecs import Codec, encode_pixels
from pipeline.commands.proof import read_identity
from pipeline.commands.reconcile import reconcile
from pipeline.consumer import Consumer
from pipeline.frames import Decision, Reason
from pipeline.streams.connect import Access, Client
from pipeline.streams.connection import RedisConnection, open_connection
from pipeline.streams.keys import GROUP, Keys, LineLimits
from pipeline.streams.ledger import Ledger
from pipeline.streams.result_reader import Result
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


KINDS = ["string", "list", "hash", "set", "zset", "stream"]
BOOKS = ["frames", "open", "bytes", "results", "counts", "cameras", "programs", "labels"]
BOOKS += ["promotions", "swap", "dead", "camera", "runs", "rolled", "holder"]


def write_kind(client: Client, key: str, kind: str) -> None:
    """Write at once, as a worker may make the key anew in between."""
    with client.pipeline(transaction=True) as pipe:
        pipe.delete(key)
        match kind:
            case "string":
                pipe.set(key, "of another kind")
            case "list":
                pipe.rpush(key, "of another kind")
            case "hash":
                pipe.hset(key, "of another", "kind")
            case "set":
                pipe.sadd(key, "of another kind")
            case "zset":
                pipe.zadd(key, {"of another kind": 1})
            case "stream":
                pipe.xadd(key, {"of another": "kind"})
        pipe.execute()


@pytest.mark.parametrize("book", BOOKS)
def test_book_of_another_kind_stops_no_part(
    bench: Bench, url: str, book: str, caplog: pytest.LogCaptureFixture
) -> None:
    client, keys = bench.connection.client, Keys(bench.line)
    key = getattr(keys, book)
    key = key if isinstance(key, str) else key("cam")
    with bench.worker() as worker:
        bench.offer(1)
        bench.wait_for(1)
        for seq, kind in enumerate(KINDS, 2):
            write_kind(client, key, kind)
            bench.producer.join()
            assert bench.producer.has_room(0)
            bench.offer(seq)
            until(partial(is_answered, bench, seq))
        until(lambda: worker.not_ready() == "")
        assert worker.failure() == ""
        if client.exists(f"{key}:damaged"):
            until(lambda: f"{key}:damaged" in damaged(caplog))
            assert key in " ".join(Ledger(client, bench.line).snapshot().damaged)
        bench.offer(100)
        with Consumer(bench.line, "plc", redis_url=url, from_start=True) as verdicts:
            heard = iter(partial(verdicts.next, 10.0), None)
            assert 100 in (verdict.meta.seq for verdict in heard if verdict)


def is_answered(bench: Bench, seq: int) -> bool:
    return [result.answer for result in newest(bench, seq)] == ["OK"]


def newest(bench: Bench, seq: int) -> list[Result]:
    found = Ledger(bench.connection.client, bench.line).results("-", 1000)
    identities = [(result, read_identity(result.header)) for result in found]
    return [result for result, identity in identities if identity and identity.seq == seq]


def damaged(caplog: pytest.LogCaptureFixture) -> list[str]:
    records = [record for record in caplog.records if record.getMessage() == "books.damaged"]
    return [str(vars(record)["key"]) for record in records]


def test_frames_that_wait_are_answered_after_the_register_was_overwritten(bench: Bench) -> None:
    client, keys = bench.connection.client, Keys(bench.line)
    for seq in range(1, 201):
        bench.offer(seq)
    write_kind(client, keys.open, "string")
    with bench.worker():
        assert sorted(bench.wait_for(200)) == list(range(1, 201))
    assert client.get(keys.bytes) is None
    assert reconcile(Ledger(client, bench.line)).missing == ()


def test_numbers_go_on_after_the_counts_were_overwritten(bench: Bench) -> None:
    client, keys = bench.connection.client, Keys(bench.line)
    with bench.worker():
        for seq in (1, 2, 3):
            bench.offer(seq)
        bench.wait_for(3)
        write_kind(client, keys.counts, "zset")
        bench.offer(4)
        bench.wait_for(4)
    numbers = [result.number for result in Ledger(client, bench.line).results("-", 10)]
    assert numbers == [1, 2, 3, 4]


def test_number_in_the_counts_that_is_none_stops_no_part(bench: Bench) -> None:
    client, keys = bench.connection.client, Keys(bench.line)
    client.hset(keys.counts, "OK", "many")
    client.set(keys.bytes, "1.5")
    with bench.worker():
        bench.offer(1)
        assert bench.wait_for(1)[1].decision is Decision.OK


@pytest.mark.parametrize("key", ["control"])
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
