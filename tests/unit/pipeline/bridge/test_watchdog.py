from dataclasses import replace

from fakes.bridge import WORKING, report_at
from hypothesis import given
from hypothesis import strategies as st

from pipeline.bridge.report import Code
from pipeline.bridge.stop_signal import StopRule, StopSignal
from pipeline.bridge.watchdog import ErrorCode, Watchdog
from pipeline.control import WorkerStatus


def test_heartbeat_rises_every_100_ms_while_all_works() -> None:
    watchdog = Watchdog()
    beats = [watchdog.beat(WORKING, at / 1e3).heartbeat for at in range(0, 1000, 10)]
    assert beats[0] == 1
    assert beats[-1] == 10


def test_heartbeat_stands_still_without_redis_and_without_workers() -> None:
    watchdog = Watchdog()
    watchdog.beat(WORKING, 0.0)
    silent = watchdog.beat(replace(WORKING, redis_silence_s=1.5), 1.0)
    alone = watchdog.beat(replace(WORKING, workers=()), 2.0)
    assert (silent.heartbeat, silent.error_code, silent.ready) == (1, ErrorCode.REDIS, False)
    assert (alone.heartbeat, alone.error_code, alone.ready) == (1, ErrorCode.WORKERS, False)
    assert watchdog.beat(WORKING, 3.0).heartbeat == 2


def test_paused_line_beats_and_is_not_ready() -> None:
    state = Watchdog().beat(replace(WORKING, paused=True), 0.0)
    assert (state.heartbeat, state.paused, state.ready) == (1, True, False)


def test_line_is_degraded_for_a_minute_after_a_worker_left() -> None:
    watchdog = Watchdog()
    two = replace(WORKING, workers=(*WORKING.workers, WorkerStatus("second")))
    assert not watchdog.beat(two, 0.0).degraded
    assert watchdog.beat(WORKING, 1.0).degraded
    assert not watchdog.beat(WORKING, 62.0).degraded


def test_missed_verdicts_and_misfit_workers_degrade_the_line() -> None:
    watchdog = Watchdog()
    assert watchdog.beat(replace(WORKING, missed=3), 0.0).degraded
    assert not watchdog.beat(replace(WORKING, missed=3), 61.0).degraded
    misfit = replace(WORKING, workers=(WorkerStatus("worker", misfit=True),))
    assert watchdog.beat(misfit, 62.0).degraded


def test_unknown_neither_ends_nor_lengthens_a_row_of_ng() -> None:
    signal = StopSignal(StopRule(after_ng=2))
    signal.note(report_at(1, code=Code.NG))
    signal.note(report_at(2, code=Code.UNKNOWN))
    assert signal.raised == ()
    assert signal.note(report_at(3, code=Code.NG)) == "2 NG in a row"
    assert signal.note(report_at(4, code=Code.NG)) == ""


def test_rate_counts_over_a_full_window_only() -> None:
    signal = StopSignal(StopRule(ng_rate=0.5, window=4))
    codes = [Code.NG, Code.NG, Code.OK]
    assert [signal.note(report_at(at, code=code)) for at, code in enumerate(codes)] == [""] * 3
    assert "2 NG among the last 4" in signal.note(report_at(9, code=Code.OK))


def test_cameras_are_watched_apart_and_cleared_signals_count_anew() -> None:
    signal = StopSignal(StopRule(after_ng=2))
    for at, camera in enumerate(("a", "b", "a")):
        signal.note(report_at(at, code=Code.NG, camera=camera))
    assert signal.raised == ("a",)
    assert signal.clear("a")
    assert not signal.clear("a")
    signal.note(report_at(9, code=Code.NG, camera="a"))
    assert signal.raised == ()


@given(st.lists(st.sampled_from([Code.OK, Code.NG, Code.UNKNOWN])), st.integers(1, 5))
def test_row_of_ng_is_found_wherever_it_stands(codes: list[Code], after: int) -> None:
    signal = StopSignal(StopRule(after_ng=after))
    for at, code in enumerate(codes):
        signal.note(report_at(at, code=code))
    judged = "".join("n" if code is Code.NG else "o" for code in codes if code is not Code.UNKNOWN)
    assert bool(signal.raised) == ("n" * after in judged)
