import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rigs.line import Plant

from pipeline.consumer import Consumer, Verdicts
from pipeline.errors import ConnectionLost, RedisUnfit
from pipeline.frames import Decision, Reason, Verdict
from pipeline.streams.connect import Access, Client, open_client
from pipeline.streams.embedded import embedded_url, find_server, revive, stop
from pipeline.streams.keys import Keys

WAIT_S = 10.0


@pytest.fixture
def plant(client: Client, line: str) -> Plant:
    return Plant(client, line)


@contextmanager
def listening(plant: Plant, url: str, program: str = "plc") -> Iterator[Verdicts]:
    with Consumer(plant.name, program, redis_url=url, from_start=True) as verdicts:
        yield verdicts


def take(verdicts: Verdicts, count: int) -> list[Verdict]:
    found = [verdicts.next(WAIT_S) for _ in range(count)]
    return [verdict for verdict in found if verdict is not None]


def seqs(verdicts: list[Verdict]) -> list[int]:
    return [verdict.meta.seq for verdict in verdicts]


def test_verdicts_come_in_order_with_all_that_was_said(plant: Plant, url: str) -> None:
    plant.offer(1, 2)
    plant.judge(Decision.NG, count=1)
    plant.judge(Reason.ENGINE)
    with listening(plant, url) as verdicts:
        bad, unknown = take(verdicts, 2)
    assert (bad.decision, bad.reason, bad.meta.part_id) == (Decision.NG, None, "part-1")
    assert bad.judgement is not None
    assert bad.judgement.regions[0].area_px == 9
    assert (unknown.decision, unknown.reason) == (Decision.UNKNOWN, Reason.ENGINE)
    assert unknown.judgement is None


def test_unacknowledged_verdicts_come_again_before_new_ones(plant: Plant, url: str) -> None:
    plant.offer(1, 2, 3)
    plant.judge()
    with listening(plant, url) as verdicts:
        first, _, third = take(verdicts, 3)
        verdicts.acknowledge(first)
        verdicts.acknowledge(third)
    plant.offer(4)
    plant.judge()
    with listening(plant, url) as verdicts:
        assert seqs(take(verdicts, 2)) == [2, 4]


def test_more_unacknowledged_verdicts_than_a_page_all_come_again_once(
    plant: Plant, url: str
) -> None:
    plant.offer(*range(200))
    plant.judge()
    with listening(plant, url) as verdicts:
        take(verdicts, 200)
    with listening(plant, url) as verdicts:
        assert seqs(take(verdicts, 200)) == list(range(200))
        assert verdicts.next(0.2) is None


def test_new_program_hears_only_what_is_new_unless_asked(plant: Plant, url: str) -> None:
    plant.offer(1)
    plant.judge()
    with Consumer(plant.name, "late-comer", redis_url=url) as verdicts:
        plant.offer(2)
        plant.judge()
        assert seqs(take(verdicts, 1)) == [2]


def test_programs_do_not_take_verdicts_from_each_other(plant: Plant, url: str) -> None:
    plant.offer(1, 2)
    plant.judge()
    with listening(plant, url, "plc") as plc, listening(plant, url, "mes") as mes:
        assert seqs(take(plc, 2)) == seqs(take(mes, 2)) == [1, 2]


@pytest.mark.parametrize(
    "fields",
    [
        {"hello": b"world"},
        {"k": b"GREAT", "e": b"1-1", "m": b""},
        {"k": b"OK", "e": b"1-1", "m": b"\xc1"},
        {"k": b"LATE", "e": b"1-1", "m": b""},
        {"k": b"OK", "e": b"1-1", "m": b"\x80"},
    ],
)
def test_foreign_entry_is_skipped_and_acknowledged(
    plant: Plant, url: str, fields: dict[str, bytes]
) -> None:
    plant.client.xadd(Keys(plant.name).results, fields)
    plant.offer(1)
    plant.judge()
    with listening(plant, url) as verdicts:
        (verdict,) = take(verdicts, 1)
        verdicts.acknowledge(verdict)
    assert verdict.meta.seq == 1
    assert plant.client.xpending(Keys(plant.name).results, "plc")["pending"] == 0


def test_damaged_judgement_is_skipped(plant: Plant, url: str) -> None:
    plant.offer(1, 2)
    plant.judge(count=1)
    ((_, fields),) = plant.client.xrange(Keys(plant.name).results)
    plant.client.xadd(Keys(plant.name).results, {**fields, b"j": fields[b"j"][:-9]})
    plant.client.xadd(Keys(plant.name).results, {**fields, b"k": b"NG"})
    plant.judge()
    with listening(plant, url) as verdicts:
        assert seqs(take(verdicts, 2)) == [1, 2]


def test_verdict_no_longer_kept_does_not_stop_a_program(
    plant: Plant, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    plant.offer(1, 2)
    plant.judge()
    with listening(plant, url) as verdicts:
        take(verdicts, 2)
    plant.client.xtrim(Keys(plant.name).results, maxlen=1, approximate=False)
    with listening(plant, url) as verdicts:
        assert seqs(take(verdicts, 1)) == [2]
    assert [record.levelname for record in caplog.records if record.msg == "verdict.gone"] == [
        "ERROR"
    ]


def test_waiting_ends_at_the_time_asked_for(plant: Plant, url: str) -> None:
    with listening(plant, url) as verdicts:
        began = time.monotonic()
        assert verdicts.next(0.2) is None
        assert 0.15 < time.monotonic() - began < 5.0


def test_iteration_ends_when_another_thread_stops_it(plant: Plant, url: str) -> None:
    plant.offer(1)
    plant.judge()
    with listening(plant, url) as verdicts:
        timer = threading.Timer(0.3, verdicts.stop)
        timer.start()
        assert [verdict.meta.seq for verdict in verdicts] == [1]
        timer.join()


def test_refused_program_raises_in_its_own_thread(plant: Plant, url: str) -> None:
    with listening(plant, url) as verdicts:
        plant.client.delete(Keys(plant.name).results)
        plant.client.set(Keys(plant.name).results, "no stream")
        with pytest.raises(RedisUnfit):
            list(verdicts)


def test_missing_server_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(ConnectionLost, match="does not answer"),
        Consumer("line", "plc", redis_url=f"unix://{tmp_path}/none.sock"),
    ):
        pass


def test_every_verdict_comes_though_redis_restarts(tmp_path: Path) -> None:
    server = find_server()
    with embedded_url(tmp_path, server=server) as url:
        client = open_client(Access(url))
        plant = Plant(client, "line")
        with listening(plant, url) as verdicts:
            plant.offer(*range(50))
            plant.judge()
            before = take(verdicts, 20)
            for verdict in before[:10]:
                verdicts.acknowledge(verdict)
            stop(tmp_path)
            began = time.monotonic()
            take_none = [verdicts.next(0.05) for _ in range(40)]
            assert time.monotonic() - began < 5.0
            revive(tmp_path, server=server)
            plant.offer(*range(50, 60))
            plant.judge()
            found = [verdict for verdict in take_none if verdict is not None]
            after = found + take(verdicts, 40 - len(found))
            assert seqs(before + after) == list(range(60))
            for verdict in after:
                verdicts.acknowledge(verdict)
        with listening(plant, url) as verdicts:
            assert seqs(take(verdicts, 10)) == list(range(10, 20))
            assert verdicts.next(0.2) is None
        client.close()


def test_verdicts_dropped_before_a_program_saw_them_are_counted(
    plant: Plant, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    results = Keys(plant.name).results
    plant.offer(1, 2, 3)
    plant.judge()
    plant.client.xtrim(results, maxlen=2, approximate=False)  # before it is known: not its loss
    with listening(plant, url) as verdicts:
        for verdict in take(verdicts, 2):
            verdicts.acknowledge(verdict)
    plant.offer(*range(4, 14))
    plant.judge()
    with listening(plant, url, "other"):
        pass
    assert "verdicts.missed" not in caplog.text
    plant.client.xtrim(results, maxlen=3, approximate=False)
    with listening(plant, url) as verdicts:
        assert seqs(take(verdicts, 3)) == [11, 12, 13]
    (missed,) = [record for record in caplog.records if record.message == "verdicts.missed"]
    assert missed.__dict__["verdicts"] == 7
