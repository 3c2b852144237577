import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rigs.line import Plant

from pipeline.consumer import Consumer, Verdicts
from pipeline.errors import ConnectionLost, RedisUnfit, SettingsError
from pipeline.frames import Decision, Reason, Verdict
from pipeline.streams.connect import Access, Client, open_client
from pipeline.streams.embedded import embedded_url, find_server, revive, stop
from pipeline.streams.keys import Keys
from pipeline.streams.result_reader import ProgramName, ResultReader

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


def test_kept_verdicts_are_read_again_whatever_was_acknowledged(plant: Plant, url: str) -> None:
    plant.offer(*range(100))
    plant.judge(Decision.NG)
    with listening(plant, url) as verdicts:
        for verdict in take(verdicts, 100):
            verdicts.acknowledge(verdict)
        newest = verdicts.kept()
        older = verdicts.kept(newest[-1].result_id)
        assert verdicts.kept(older[-1].result_id) == []
        assert verdicts.next(0) is None
    assert seqs([*newest, *older]) == list(range(99, -1, -1))
    assert len(newest) == 64
    assert newest[0].decision is Decision.NG


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
def test_entry_that_names_no_frame_is_handed_out_and_not_acknowledged_unread(
    plant: Plant, url: str, caplog: pytest.LogCaptureFixture, fields: dict[str, bytes]
) -> None:
    plant.client.xadd(Keys(plant.name).results, fields)
    plant.offer(1)
    plant.judge()
    with listening(plant, url) as verdicts:
        foreign, verdict = take(verdicts, 2)
        verdicts.acknowledge(verdict)
    assert (foreign.meta.camera, foreign.meta.seq, verdict.meta.seq) == ("", -1, 1)
    assert foreign.decision is Decision.UNKNOWN
    assert foreign.answer == fields.get("k", b"").decode()
    assert "verdict.nameless" in caplog.messages
    assert plant.client.xpending(Keys(plant.name).results, "plc")["pending"] == 1
    assert verdicts.missed == 0


def test_damaged_judgement_is_handed_out_as_unknown(
    plant: Plant, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    plant.offer(1, 2)
    plant.judge(count=1)
    ((_, fields),) = plant.client.xrange(Keys(plant.name).results)
    plant.client.xadd(Keys(plant.name).results, {**fields, b"j": fields[b"j"][:-9]})
    plant.client.xadd(Keys(plant.name).results, {**fields, b"k": b"NG"})
    plant.judge()
    with listening(plant, url) as verdicts:
        found = take(verdicts, 4)
    assert seqs(found) == [1, 1, 1, 2]
    assert [verdict.reason for verdict in found] == [None, Reason.FOREIGN, Reason.FOREIGN, None]
    assert "verdict.foreign" in caplog.messages


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
    assert verdicts.missed == 1
    assert missed_in(caplog) == [1]


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
    name = f"user-{plant.name}"
    plant.client.acl_setuser(name, enabled=True, nopass=True, keys=["*"], categories=["+@all"])
    consumer = Consumer(plant.name, "plc", redis_url=url, username=name, password="any")  # noqa: S106
    with consumer as verdicts:
        plant.client.acl_setuser(name, enabled=True, commands=["-xreadgroup"])
        with pytest.raises(RedisUnfit, match="lacks a right"):
            list(verdicts)


def test_program_reads_on_after_the_stream_was_overwritten(plant: Plant, url: str) -> None:
    with listening(plant, url) as verdicts:
        results = Keys(plant.name).results
        with plant.client.pipeline(transaction=True) as pipe:
            pipe.delete(results)
            pipe.set(results, "no stream")
            pipe.execute()
        plant.offer(7)
        plant.judge()
        assert seqs(take(verdicts, 1)) == [7]


def test_missing_server_is_named(tmp_path: Path) -> None:
    with (
        pytest.raises(ConnectionLost, match="does not answer"),
        Consumer("line", "plc", redis_url=f"unix://{tmp_path}/none.sock", redis_wait_s=0),
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
    assert missed_in(caplog) == [7]
    assert verdicts.missed == 7
    with listening(plant, url) as verdicts:
        assert seqs(take(verdicts, 3)) == [11, 12, 13]  # said once, not at every start
    assert missed_in(caplog) == [7]


def missed_in(caplog: pytest.LogCaptureFixture) -> list[int]:
    found = [record for record in caplog.records if record.message == "verdicts.missed"]
    assert all("pipeline-worker --results-kept" in record.__dict__["why"] for record in found)
    return [record.__dict__["verdicts"] for record in found]


def pass_parts(plant: Plant, first: int, count: int) -> None:
    for at in range(first, first + count, 100):
        plant.offer(*range(at, min(at + 100, first + count)))
        plant.judge()


@pytest.mark.parametrize("from_start", [True, False])
def test_program_that_never_read_is_told_what_it_missed(
    plant: Plant, url: str, caplog: pytest.LogCaptureFixture, *, from_start: bool
) -> None:
    pass_parts(plant, 0, 10)
    ResultReader(plant.client, plant.name).join("plc", from_start=from_start)
    pass_parts(plant, 10, 200)
    plant.client.xtrim(Keys(plant.name).results, maxlen=50, approximate=False)
    with listening(plant, url) as verdicts:
        heard = take(verdicts, 50)
    assert verdicts.missed == (160 if from_start else 150)
    assert missed_in(caplog) == [verdicts.missed]
    assert len(heard) == 50


def test_slow_program_is_told_what_it_missed_while_it_runs(
    plant: Plant, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with listening(plant, url) as verdicts:
        pass_parts(plant, 0, 2000)
        heard = take(verdicts, 1)
        plant.client.xtrim(Keys(plant.name).results, maxlen=10, approximate=False)
        heard += take(verdicts, 1)
        while heard[-1].meta.seq < 1999:
            heard += take(verdicts, 1)
    assert verdicts.missed == 2000 - len(heard) > 0
    assert sum(missed_in(caplog)) == verdicts.missed


def test_group_made_by_hand_and_trimmed_under_it_is_told_what_it_missed(
    plant: Plant, url: str
) -> None:
    pass_parts(plant, 0, 20)
    results = Keys(plant.name).results
    plant.client.xgroup_create(results, "plc", id="0")
    plant.client.xtrim(results, maxlen=5, approximate=False)
    with listening(plant, url) as verdicts:
        take(verdicts, 5)
    assert verdicts.missed == 15


def test_verdicts_without_a_number_are_no_loss(plant: Plant, url: str) -> None:
    """As those of workers of an earlier release, and those that a person adds."""
    results = Keys(plant.name).results
    pass_parts(plant, 0, 3)
    ((_, fields),) = plant.client.xrange(results, count=1)
    del fields[b"n"]
    plant.client.xadd(results, fields)
    plant.client.hincrby(Keys(plant.name).counts, "OK", 1)
    plant.client.xadd(results, fields)
    pass_parts(plant, 3, 3)
    with listening(plant, url) as verdicts:
        assert seqs(take(verdicts, 8)) == [0, 1, 2, 0, 0, 3, 4, 5]
    assert verdicts.missed == 0


def test_server_that_went_back_is_said(
    plant: Plant, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    pass_parts(plant, 0, 5)
    with listening(plant, url) as verdicts:
        take(verdicts, 5)
        plant.client.delete(Keys(plant.name).counts)
        pass_parts(plant, 5, 1)
        take(verdicts, 1)
    assert "verdicts.rolled_back" in caplog.messages


def test_second_process_under_one_program_name_is_refused_and_the_first_goes_on(
    plant: Plant, url: str
) -> None:
    with listening(plant, url) as verdicts:
        with pytest.raises(SettingsError, match="another process reads"), listening(plant, url):
            pass
        pass_parts(plant, 0, 3)
        assert seqs(take(verdicts, 3)) == [0, 1, 2]
    with listening(plant, url) as verdicts:  # free at once after an orderly end
        assert seqs(take(verdicts, 3)) == [0, 1, 2]


def test_program_name_of_a_killed_process_is_free_within_seconds(plant: Plant, url: str) -> None:
    killed = ProgramName(plant.client, plant.name, "plc")
    killed.take()
    with listening(plant, url) as verdicts:
        pass_parts(plant, 0, 1)
        assert seqs(take(verdicts, 1)) == [0]


def test_program_whose_name_was_taken_while_it_stood_still_ends_aloud(
    plant: Plant, url: str
) -> None:
    with listening(plant, url) as verdicts:
        plant.client.set(Keys(plant.name).reader("plc"), "another")
        with pytest.raises(SettingsError, match="another process reads"):
            list(verdicts)
