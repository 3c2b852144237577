"""One candidate's way in, without a line."""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
from fakes.swap import FlatEngine, Surroundings, serving

from engines.errors import AdmissionError, EngineError
from pipeline.errors import CannotServe, DoesNotHold
from pipeline.frames import Decision, Reason
from pipeline.worker.active_engine import ActiveEngine, LoadedEngine
from pipeline.worker.judge import DecisionThresholds, FrameScore
from pipeline.worker.swap.interfaces import RolloutSettings
from pipeline.worker.swap.rollout import Rollout, RolloutResult
from pipeline.worker.swap.shadow import ShadowRun

AT_ONCE = RolloutSettings(shadow_frames=0, watch_frames=20, watch_s=5.0)
WAIT_S = 10.0
HEADER = SimpleNamespace(meta=SimpleNamespace(camera="cam"))


class Way:
    """An attempt to bring "new" in beside "old"."""

    def __init__(
        self, settings: RolloutSettings = AT_ONCE, go_on: Callable[[], bool] = lambda: True
    ) -> None:
        self.old, self.new = FlatEngine(), FlatEngine()
        self.active = ActiveEngine(serving("old", self.old))
        self.surroundings = Surroundings()
        self.said: list[str] = []
        self.rollout = Rollout(
            "new", self.active, self.surroundings.handle(), settings, go_on, self.said.append
        )

    def load(self) -> LoadedEngine:
        return serving("new", self.new)

    def run(self) -> RolloutResult:
        return self.rollout.run(lambda: self.load)

    @property
    def version(self) -> str:
        return self.active.current.version

    def when_new(self, act: Callable[[LoadedEngine], object]) -> threading.Thread:
        """Do something as soon as the candidate judges."""

        def wait() -> None:
            until_s = time.monotonic() + WAIT_S
            while self.version != "new" and time.monotonic() < until_s:
                time.sleep(0.001)
            act(self.active.current)

        thread = threading.Thread(target=wait)
        thread.start()
        return thread


def answer(answers: list[str]) -> Callable[[LoadedEngine], None]:
    def act(candidate: LoadedEngine) -> None:
        for said in answers:
            candidate.recent.add_verdict(said)

    return act


def test_newcomer_judges_and_the_old_engine_stays_warm() -> None:
    way = Way()
    acting = way.when_new(answer([Decision.OK] * 20))
    assert way.run() is RolloutResult.HELD
    acting.join()
    assert way.version == "new"
    assert way.active.previous is not None
    assert not way.old.closed
    assert way.new.calls >= 2, "it was not warmed"


def test_engine_before_the_incumbent_is_closed_before_the_newcomer_is_opened_and_not_earlier() -> (
    None
):
    way = Way()
    oldest = FlatEngine()
    way.active.previous = serving("oldest", oldest)
    closed: list[bool] = []

    def prepare() -> Callable[[], LoadedEngine]:
        closed.append(oldest.closed)
        return opens

    def opens() -> LoadedEngine:
        closed.append(oldest.closed and way.surroundings.passed == 1)
        raise AdmissionError("has not proved itself")

    with pytest.raises(CannotServe, match="not proved"):
        way.rollout.run(prepare)
    assert closed == [False, True]
    assert way.version == "old"


def test_promotion_that_cannot_be_had_leaves_the_engine_before_warm() -> None:
    way = Way()
    oldest = FlatEngine()
    way.active.previous = serving("oldest", oldest)

    def prepare() -> Callable[[], LoadedEngine]:
        raise EngineError("the registry is away")

    with pytest.raises(CannotServe, match="away"):
        way.rollout.run(prepare)
    assert way.active.previous is not None
    assert not oldest.closed


def test_error_that_nobody_expected_is_not_taken_for_a_reason_to_keep() -> None:
    def prepare() -> Callable[[], LoadedEngine]:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        Way().rollout.run(prepare)


@pytest.mark.parametrize("flaw", ["failing", "no number", "size"])
def test_newcomer_that_does_not_even_warm_up_is_closed(flaw: str) -> None:
    way = Way()
    way.new.failing = flaw == "failing"
    way.new.says = float("nan") if flaw == "no number" else 0.0
    way.new.input_size = (4, 4) if flaw == "size" else (2, 2)
    with pytest.raises(CannotServe):
        way.run()
    assert (way.version, way.new.closed, way.old.closed) == ("old", True, False)


def test_promotion_that_is_taken_back_while_it_loads_is_not_served() -> None:
    way = Way(go_on=lambda: False)
    assert way.run() is RolloutResult.LEFT
    assert (way.version, way.new.closed) == ("old", True)


def test_worker_that_drains_does_not_wait_for_what_it_loads() -> None:
    way = Way()
    begun, go_on = threading.Event(), threading.Event()

    def load() -> LoadedEngine:
        begun.set()
        assert go_on.wait(WAIT_S)
        return way.load()

    results: list[RolloutResult] = []
    running = threading.Thread(target=lambda: results.append(way.rollout.run(lambda: load)))
    running.start()
    assert begun.wait(WAIT_S)
    way.surroundings.draining.set()
    running.join(WAIT_S)
    assert results == [RolloutResult.LEFT]
    go_on.set()
    until_s = time.monotonic() + WAIT_S
    while not way.new.closed and time.monotonic() < until_s:
        time.sleep(0.001)
    assert (way.version, way.new.closed) == ("old", True), "nobody else could free it"


def test_newcomer_that_leaves_the_band_is_closed_once_no_lane_uses_it() -> None:
    way = Way()
    for _ in range(100):
        way.active.current.recent.add_verdict(Decision.OK)
    acting = way.when_new(answer([Decision.NG] * 15))
    with pytest.raises(DoesNotHold, match="more parts are NG"):
        way.run()
    acting.join()
    assert (way.version, way.new.closed, way.surroundings.passed) == ("old", True, 1)
    assert way.active.previous is None


def test_threshold_set_by_hand_for_the_old_engine_says_nothing_of_the_newcomer() -> None:
    way = Way()
    way.surroundings.threshold_of_old = 0.1
    for _ in range(100):
        way.active.current.recent.add_verdict(Decision.OK)
    acting = way.when_new(answer([Decision.NG] * 20))
    assert way.run() is RolloutResult.HELD
    acting.join()
    assert way.version == "new"
    assert any("set by hand" in said for said in way.said)


def test_newcomer_may_pass_what_was_ng_by_a_threshold_set_by_hand() -> None:
    way = Way()
    assert way.rollout._use_own_thresholds(way.active.current, way.load())
    way.surroundings.threshold_of_old = 0.1
    assert not way.rollout._use_own_thresholds(way.active.current, way.load())


def test_lane_whose_engine_is_gone_goes_back_without_waiting_for_the_watch() -> None:
    way = Way()
    acting = way.when_new(lambda candidate: way.active.roll_back(candidate, "ten in a row"))
    with pytest.raises(DoesNotHold, match="ten in a row"):
        way.run()
    acting.join()
    assert (way.version, way.new.closed) == ("old", True)


def test_lane_that_goes_back_in_the_last_moment_is_not_taken_for_a_watch_that_held() -> None:
    way = Way()

    def last_tick() -> bool:
        if way.version == "old":
            return True
        way.active.roll_back(way.active.current, "ten in a row")
        return False

    way.rollout._should_continue = last_tick
    with pytest.raises(DoesNotHold, match="ten in a row"):
        way.run()
    assert (way.version, way.new.closed) == ("old", True)


def test_engine_that_has_held_does_not_go_back_by_itself() -> None:
    way = Way()
    way.when_new(answer([Decision.OK] * 20)).join(0)
    assert way.run() is RolloutResult.HELD
    assert not way.active.roll_back(way.active.current, "too late")
    assert way.version == "new"


def test_thresholds_set_by_hand_end_the_watch() -> None:
    way = Way()
    for _ in range(100):
        way.active.current.recent.add_verdict(Decision.OK)

    def act(candidate: LoadedEngine) -> None:
        way.surroundings.by_hand = 0.1
        answer([Decision.NG] * 15)(candidate)

    acting = way.when_new(act)
    assert way.run() is RolloutResult.HELD
    acting.join()
    assert way.version == "new"


def test_what_came_while_redis_was_away_is_not_held_against_the_newcomer() -> None:
    way = Way(replace(AT_ONCE, watch_s=1.0))
    for _ in range(100):
        way.active.current.recent.add_verdict(Decision.OK)

    def act(candidate: LoadedEngine) -> None:
        way.surroundings.redis_silence_s = 3.0
        time.sleep(0.2)
        answer([Reason.LATE] * 9)(candidate)
        time.sleep(0.2)
        answer([Reason.LATE] * 9)(candidate)
        time.sleep(0.2)
        way.surroundings.redis_silence_s = 0.0

    acting = way.when_new(act)
    assert way.run() is RolloutResult.HELD
    acting.join()
    assert way.version == "new"


def test_newcomer_with_more_lanes_than_the_worker_runs_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    way = Way(replace(AT_ONCE, watch_s=0.0))
    way.rollout.run(lambda: lambda: serving("new", way.new, FlatEngine()))
    assert "swap.lanes_rest" in [record.msg for record in caplog.records]


def test_shadow_counts_decisions_and_normalised_scores_that_differ() -> None:
    run = ShadowRun(serving("new", FlatEngine(score=0.75)), share=1.0)
    thresholds = DecisionThresholds(0.5, 0.5)
    held = SimpleNamespace(pixels=np.zeros((2, 2, 3), np.uint8), header=HEADER)
    for score in (0.25, 0.75):
        run.offer([held], [FrameScore(score, np.zeros((2, 2), np.float32))], thresholds)  # type: ignore[list-item]
        run.score_one(thresholds)
    assert (run.seen.frames, run.seen.decisions) == (2, 1)
    assert run.seen.largest == pytest.approx(0.6 - 1 / 3)
    assert run.seen.mean == pytest.approx((0.6 - 1 / 3) / 2)
    run.score_one(thresholds)  # nothing is left
    assert run.seen.frames == 2


def offered(run: ShadowRun, scores: list[float]) -> None:
    held = SimpleNamespace(pixels=np.zeros((2, 2, 3), np.uint8), header=HEADER)
    frame_scores = [FrameScore(score, np.zeros((2, 2), np.float32)) for score in scores]
    run.offer([held] * len(frame_scores), frame_scores, DecisionThresholds(0.5, 0.5))  # type: ignore[list-item]


def test_shadow_takes_every_ng_frame_and_scores_it_first() -> None:
    run = ShadowRun(serving("new", FlatEngine()), share=0.25)
    offered(run, [0.9, 0.1, 0.1, 0.1, 0.1, 0.9])
    run.score_one(DecisionThresholds(0.5, 0.5))
    run.score_one(DecisionThresholds(0.5, 0.5))
    assert (run.seen.frames, run.seen.ng, run.seen.passed) == (2, 2, 2)
    for _ in range(3):
        run.score_one(DecisionThresholds(0.5, 0.5))
    assert (run.seen.frames, run.seen.ng) == (3, 2)


@pytest.mark.parametrize(("says", "ending"), [(0.0, "passes all 14"), (0.9, "")])
def test_newcomer_that_passes_every_ng_of_the_incumbent_never_judges(
    says: float, ending: str
) -> None:
    way = Way(replace(AT_ONCE, shadow_frames=1, shadow_share=1.0, watch_s=0.0))
    way.new.says = says
    left = iter([0.9] * 14 + [0.1])

    def go_on() -> bool:
        shadow = way.active.shadow
        if isinstance(shadow, ShadowRun):
            offered(shadow, list(islice(left, 1)))
        return True

    way.rollout._should_continue = go_on
    if not ending:
        assert way.run() is RolloutResult.HELD
        return
    with pytest.raises(DoesNotHold, match=ending):
        way.run()
    assert (way.version, way.new.closed, way.rollout.was_active) == ("old", True, False)


@pytest.mark.parametrize("verdicts", [3, 100])
def test_watch_that_has_little_to_compare_with_says_so(
    verdicts: int, caplog: pytest.LogCaptureFixture
) -> None:
    way = Way(replace(AT_ONCE, watch_s=0.0))
    for _ in range(verdicts):
        way.active.current.recent.add_verdict(Decision.OK)
    assert way.run() is RolloutResult.HELD
    said = "only 3 verdicts" in way.said[-1]
    warned = "swap.little_to_compare_with" in [record.msg for record in caplog.records]
    assert said == warned == (verdicts == 3)


@pytest.mark.parametrize(("share", "taken"), [(1.0, 3), (0.5, 1), (0.25, 0)])
def test_shadow_takes_its_share(share: float, taken: int) -> None:
    candidate = FlatEngine()
    run = ShadowRun(serving("new", candidate), share)
    held = SimpleNamespace(pixels=np.zeros((2, 2, 3), np.uint8), header=HEADER)
    frame_score = FrameScore(0.0, np.zeros((2, 2), np.float32))
    run.offer([held] * 3, [frame_score] * 3, DecisionThresholds(0.5, 0.5))  # type: ignore[list-item]
    for _ in range(3):
        run.score_one(DecisionThresholds(0.5, 0.5))
    assert run.seen.frames == candidate.calls == taken


def test_shadow_needs_no_map_and_refuses_what_is_no_number() -> None:
    candidate = FlatEngine()
    run = ShadowRun(serving("new", candidate), share=1.0)
    offered(run, [0.1])
    run.score_one(DecisionThresholds(0.5, 0.5))
    assert candidate.asked == [math.inf]
    candidate.says = math.nan
    offered(run, [0.1])
    with pytest.raises(EngineError, match="no number"):
        run.score_one(DecisionThresholds(0.5, 0.5))
