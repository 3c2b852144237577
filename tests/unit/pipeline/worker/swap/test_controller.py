"""What a swapper does about what the registry's pointer says; its attempts are short."""

import logging
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakes.swap import At, FlatEngine, Line, Shelf, Surroundings, serving
from fakes.tiny_engine import RUNTIME, write_tiny_engine

from engines.errors import EngineError
from pipeline.errors import ConnectionLost, SettingsError
from pipeline.frames import Decision
from pipeline.wire import RolloutRecord, RolloutState, decode_rollout_record
from pipeline.worker.active_engine import ActiveEngine
from pipeline.worker.swap.controller import FIRST_RETRY_S, SwapController
from pipeline.worker.swap.engine_source import COPIES_KEPT, EngineSource, PromotionRef
from pipeline.worker.swap.history import PROMOTIONS_KEPT, RolloutHistory
from pipeline.worker.swap.interfaces import RolloutSettings
from pipeline.worker.swap.loading import EngineOptions
from pipeline.worker.swap.start import load_promoted

WAY = EngineOptions(RUNTIME.backend, RUNTIME.device, RUNTIME.threads, 0, skip_admission=False)
WAIT_S = 10.0
SHORT = RolloutSettings(shadow_frames=0, watch_frames=1, watch_s=0.0)
REFUSED = RolloutRecord("new", "today", RolloutState.REFUSED, "other", "more parts are NG")


class Rig:
    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.shelf, self.line = Shelf("old"), Line()
        self.source = EngineSource(self.shelf, cache, "line-1")
        self.active = ActiveEngine(serving("old"))
        self.surroundings = Surroundings()
        self.controller = SwapController(
            self.active, self.source, self.line, WAY, self.surroundings.handle(), SHORT
        )

    def write(self, version: str, side: int = 2) -> None:
        write_tiny_engine(self.cache / version / "engine.onnx", side, max_batch=2)

    def start(self, worker: str = "starts") -> str:
        """What a worker starts with."""
        line = Line(worker)
        line.promotions = self.line.promotions
        return load_promoted(self.source, line, WAY).version

    @property
    def version(self) -> str:
        return self.active.current.version


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def test_promoted_version_is_brought_in_and_the_lease_given_back(rig: Rig) -> None:
    rig.write("new")
    rig.shelf.promote("new")
    rig.controller.step()
    assert (rig.version, rig.line.holder) == ("new", "")


def test_version_that_was_refused_is_not_even_fetched(rig: Rig) -> None:
    rig.line.put(REFUSED)
    rig.shelf.promote("new")
    rig.controller.step()
    assert (rig.version, rig.shelf.fetched) == ("old", [])
    assert "more parts are NG" in rig.controller.status()


def test_refusal_holds_for_one_promotion_only(rig: Rig) -> None:
    rig.write("new")
    rig.line.put(REFUSED)
    rig.shelf.promote("new", "tomorrow")
    rig.controller.step()
    assert rig.version == "new"


def test_worker_that_took_what_another_refuses_later_goes_back(rig: Rig) -> None:
    rig.write("new")
    rig.shelf.promote("new")
    rig.controller.step()
    rig.line.put(REFUSED)
    rig.controller.step()
    assert rig.version == "old"
    rig.controller.step()
    assert rig.version == "old"


def test_foreign_refusal_keeps_nobody_from_anything(rig: Rig) -> None:
    rig.write("new")
    rig.line.promotions["new today"] = b"\xc1 foreign"
    rig.shelf.promote("new")
    rig.controller.step()
    assert rig.version == "new"


def test_worker_waits_while_another_swaps(rig: Rig) -> None:
    rig.write("new")
    rig.line.holder = "another"
    rig.shelf.promote("new")
    rig.controller.step()
    assert (rig.version, rig.line.holder) == ("old", "another")
    assert "another worker of the line swaps" in rig.controller.status()


def test_what_cannot_be_served_here_is_not_tried_again_at_once_but_after_a_look(rig: Rig) -> None:
    rig.shelf.promote("new")
    for _ in range(3):
        rig.controller.step()
    assert rig.shelf.fetched == ["new"]
    assert rig.line.standing("new") == "", "the other workers may still serve it"
    assert "no engine file" in rig.controller.status()
    rig.write("new")
    rig.controller.look()
    rig.controller.step()
    assert rig.version == "new"


def test_worker_tells_the_line_what_it_refused_as_soon_as_redis_is_back(rig: Rig) -> None:
    rig.line.away = True
    with pytest.raises(ConnectionLost):
        rig.controller._refuse(PromotionRef("new", "today"), "too slow", "refused")
    rig.line.away = False
    rig.shelf.promote("new")
    rig.write("new")
    rig.controller.step()
    assert rig.version == "old"
    record = decode_rollout_record(rig.line.promotions["new today"])
    assert (record.state, record.why, record.worker) == (RolloutState.REFUSED, "too slow", "me")


def test_error_that_nobody_expected_leaves_the_incumbent_judging(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Shelf):
        def fetch(self, name: str, folder: Path) -> Path:
            self.fetched.append(name)
            if len(self.fetched) > 1:
                rig.surroundings.draining.set()
            raise RuntimeError(f"a bug in {name} {folder.name}")

    shelf = Broken("new")
    source = EngineSource(shelf, rig.cache, "line-1")
    worker = rig.surroundings.handle()
    controller = SwapController(
        rig.active, source, rig.line, WAY, worker, RolloutSettings(look_s=0.01)
    )

    def told() -> bool:
        return any(record.msg == "swap.kept" for record in caplog.records)

    thread = threading.Thread(target=controller.run)
    thread.start()
    until_s = time.monotonic() + 10
    while not told() and time.monotonic() < until_s:
        time.sleep(0.01)
    time.sleep(0.1)
    rig.surroundings.draining.set()
    thread.join(10)
    assert shelf.fetched == ["new"], "it tries again only after a while"
    assert "RuntimeError" in controller.status()
    assert rig.line.standing("new", "first") == "", "others may try it"
    assert rig.version == "old"
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


def test_version_that_held_is_noted_for_every_worker_of_the_line(rig: Rig) -> None:
    rig.write("new")
    rig.shelf.promote("new")
    rig.controller.step()
    assert rig.line.standing("new") == "held"


def test_worker_that_drains_or_cannot_serve_leaves_no_trace_of_its_trial(rig: Rig) -> None:
    rig.shelf.promote("new")
    rig.controller.step()
    assert (rig.version, rig.line.standing("new")) == ("old", "")
    rig.line.put(RolloutRecord("new", "today", RolloutState.TRYING, "me"))
    rig.surroundings.draining.set()
    rig.controller.run()
    assert rig.line.standing("new") == ""


def test_worker_waits_while_one_that_lives_tries_the_version(rig: Rig) -> None:
    rig.write("new")
    rig.line.put(RolloutRecord("new", "today", RolloutState.TRYING, "other"))
    rig.line.living.add("other")
    rig.shelf.promote("new")
    rig.controller.step()
    assert (rig.version, rig.line.holder) == ("old", "")
    assert "other tries it" in rig.controller.status()


def test_version_is_tried_again_after_one_death_and_refused_after_two(rig: Rig) -> None:
    rig.write("new")
    rig.shelf.promote("new")
    tries: list[int] = []
    fetch = rig.shelf.fetch

    def note(name: str, folder: Path) -> Path:
        tries.append(decode_rollout_record(rig.line.promotions["new today"]).tries)
        return fetch(name, folder)

    rig.shelf.fetch = note  # type: ignore[method-assign]
    rig.line.put(RolloutRecord("new", "today", RolloutState.TRYING, "dead"))
    rig.controller.step()
    assert (rig.version, tries) == ("new", [2])
    again = Rig(rig.cache)
    again.shelf.promote("new")
    again.line.put(RolloutRecord("new", "today", RolloutState.TRYING, "dead", tries=2))
    again.controller.step()
    again.controller.step()
    assert (again.version, again.line.standing("new")) == ("old", "refused")
    assert "2 workers began to try it and died" in again.controller.status()


def test_start_does_not_take_what_another_worker_is_still_trying(rig: Rig) -> None:
    for version in ("old", "new"):
        rig.write(version)
    rig.shelf.promote("new")
    rig.line.put(RolloutRecord("new", "today", RolloutState.TRYING, "other"))
    assert rig.start() == "old"
    rig.line.put(RolloutRecord("new", "today", RolloutState.HELD, "other"))
    assert rig.start() == "new"


def test_start_does_not_take_what_nobody_tried_where_the_version_before_held(rig: Rig) -> None:
    for version in ("old", "new"):
        rig.write(version)
    rig.line.put(RolloutRecord("old", "first", RolloutState.HELD, "other"))
    rig.shelf.promote("new")
    assert rig.start() == "old"


def test_start_that_knows_nothing_tries_what_is_promoted_and_says_so_first(rig: Rig) -> None:
    for version in ("old", "new"):
        rig.write(version)
    rig.shelf.promote("new")
    assert rig.start() == "new"
    assert rig.line.standing("new") == "trying"
    active = ActiveEngine(serving("new"))
    controller = SwapController(
        active,
        rig.source,
        rig.line,
        WAY,
        rig.surroundings.handle(),
        RolloutSettings(watch_frames=3),
    )
    controller.step()
    assert "0 of 3 verdicts" in controller.status()
    for _ in range(3):
        active.current.recent.add_verdict(Decision.OK)
    controller.step()
    assert rig.line.standing("new") == "held"


def test_start_that_dies_is_followed_by_one_with_the_version_before(rig: Rig) -> None:
    for version in ("old", "new"):
        rig.write(version)
    rig.shelf.promote("new")
    rig.start("first")
    assert rig.start("second") == "old"


def test_start_after_two_refused_nights_takes_what_held_before_them(rig: Rig) -> None:
    for version in ("old", "new", "newer"):
        rig.write(version)
    rig.shelf.promote("new")
    rig.shelf.promote("newer", "tomorrow")
    rig.line.put(REFUSED)
    rig.line.put(replace(REFUSED, version="newer", promoted_at="tomorrow"))
    assert rig.start() == "old"
    for version in ("old", "new"):
        rig.source.remember(version)
    rig.shelf.away = True
    assert rig.start() == "old", "the note of what served last says no time"


def test_start_where_all_was_refused_says_so(rig: Rig) -> None:
    rig.write("old")
    rig.line.put(RolloutRecord("old", "first", RolloutState.REFUSED, "other", "more parts are NG"))
    with pytest.raises(SettingsError, match="engine-registry promote"):
        rig.start()


def test_rollback_to_a_version_that_held_needs_no_new_trial_after_a_restart(rig: Rig) -> None:
    for version in ("old", "new"):
        rig.write(version)
    rig.line.put(RolloutRecord("old", "first", RolloutState.HELD, "other"))
    rig.shelf.promote("new")
    rig.shelf.promote("old", "tomorrow")
    assert [rig.start(name) for name in ("first", "second")] == ["old", "old"]


def test_worker_without_a_warm_engine_loads_the_version_before_a_refused_one(rig: Rig) -> None:
    for version in ("old", "new"):
        rig.write(version)
    rig.shelf.promote("new")
    active = ActiveEngine(serving("new"))
    worker = rig.surroundings.handle()
    controller = SwapController(active, rig.source, rig.line, WAY, worker, SHORT)
    controller.step()
    rig.line.put(REFUSED)
    controller.step()
    assert active.current.version == "old"
    controller.step()
    assert "keeps old: new was refused" in controller.status()


def test_version_that_was_refused_and_promoted_again_is_watched_again(rig: Rig) -> None:
    rig.write("new")
    rig.shelf.promote("new")
    rig.controller.step()
    rig.line.put(REFUSED)
    rig.controller.step()
    rig.shelf.promote("new", "tomorrow")
    rig.line.holder = "another"
    rig.controller.step()
    assert rig.version == "old"
    assert "another worker of the line swaps" in rig.controller.status()


def test_refusal_reaches_the_registry_where_it_can_be_written(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.controller._refuse(PromotionRef("new", "today"), "too slow", "refused")
    assert rig.shelf.marked == [("new", "today", "too slow", "line-1, me")]
    rig.shelf.away = True
    rig.controller._refuse(PromotionRef("newer", "today"), "too slow", "refused")
    assert caplog.records[-1].msg == "registry.refusal_not_noted"
    assert rig.line.standing("newer") == "refused"


def test_worker_that_lost_its_lease_does_not_begin_to_judge(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.worker.swap.controller.RENEW_EVERY_S", 0.0)
    rig.write("new")
    rig.shelf.promote("new")

    def lose(name: str, folder: Path) -> Path:
        rig.line.holder = "another"  # it ran out, and another worker began
        return folder / name / "engine.onnx"

    rig.shelf.fetch = lose  # type: ignore[method-assign]
    rig.controller.step()
    assert (rig.version, rig.line.holder, rig.line.standing("new")) == ("old", "another", "")


def test_worker_that_judges_with_the_newcomer_watches_on_without_its_lease(rig: Rig) -> None:
    rig.shelf.promote("new")
    rig.controller._look_at_pointer()
    rig.controller._asked_s = time.monotonic()
    rig.controller._lost_lease = True
    assert not rig.controller._should_continue(PromotionRef("new", "today"))
    rig.active.activate(serving("new"), on_probation=True)
    assert rig.controller._should_continue(PromotionRef("new", "today"))


def test_lease_that_redis_could_not_renew_in_time_is_lost(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RENEW_EVERY_S", "LEASE_MS"):
        monkeypatch.setattr(f"pipeline.worker.swap.controller.{name}", 0.0001)
    assert not rig.controller._lost_lease
    rig.line.away = True
    assert not rig.controller._renew_lease(time.monotonic())


def test_watch_goes_back_while_the_registry_does_not_answer(rig: Rig) -> None:
    rig.write("new")
    for _ in range(100):
        rig.active.current.recent.add_verdict(Decision.OK)
    settings = RolloutSettings(look_s=0.0, shadow_frames=0, watch_frames=100, watch_s=60.0)
    worker = rig.surroundings.handle()
    controller = SwapController(rig.active, rig.source, rig.line, WAY, worker, settings)
    rig.shelf.promote("new")
    answers, asked = threading.Event(), threading.Event()
    pointer = rig.shelf.pointer

    def hang() -> At | None:
        if rig.version == "new":
            asked.set()
            assert answers.wait(WAIT_S)
        return pointer()

    rig.shelf.pointer = hang  # type: ignore[method-assign]
    stepping = threading.Thread(target=controller.step)
    stepping.start()
    assert asked.wait(WAIT_S)
    for _ in range(20):
        rig.active.current.recent.add_verdict(Decision.NG)
    stepping.join(WAIT_S)
    answers.set()
    assert (rig.version, rig.line.standing("new")) == ("old", "refused")


def test_wait_after_a_failure_belongs_to_one_promotion(rig: Rig) -> None:
    rig.shelf.promote("bad")
    for _ in range(8):
        rig.controller._retry_at_s = 0.0
        rig.controller.step()
    assert rig.controller._retry_s > 2 * FIRST_RETRY_S
    rig.shelf.promote("other", "tomorrow")
    rig.controller.step()
    assert rig.controller._retry_s == FIRST_RETRY_S


def test_only_so_many_promotions_are_remembered(rig: Rig) -> None:
    history = RolloutHistory(rig.line)
    for number in range(PROMOTIONS_KEPT + 3):
        record = RolloutRecord(f"v{number}", "today", RolloutState.HELD, "other", noted_ms=number)
        rig.line.put(record)
    history.mark_held(PromotionRef("latest", "today"))
    assert len(rig.line.promotions) == PROMOTIONS_KEPT
    assert rig.line.standing("latest") == "held"
    assert rig.line.standing("v3") == ""


def test_refusal_outlives_whoever_says_that_it_held_or_tries_it(rig: Rig) -> None:
    history = RolloutHistory(rig.line)
    rig.line.put(REFUSED)
    history.mark_held(PromotionRef("new", "today"))
    history.begin(PromotionRef("new", "today"))
    history.end(PromotionRef("new", "today"))
    assert rig.line.standing("new") == "refused"


def test_start_while_the_registry_is_away_takes_what_served_last(rig: Rig) -> None:
    for version in ("first", "second", "first"):
        rig.source.remember(version)
    rig.shelf.away = True
    assert rig.source.start_candidates() == [PromotionRef("first"), PromotionRef("second")]


def test_first_start_while_the_registry_is_away_says_so(rig: Rig) -> None:
    rig.shelf.away = True
    with pytest.raises(EngineError, match="nothing answers"):
        rig.source.start_candidates()


def test_registry_without_a_promoted_version_is_said(rig: Rig) -> None:
    rig.shelf.promotions.clear()
    rig.controller.step()
    assert rig.version == "old"
    with pytest.raises(SettingsError, match="engine-registry promote"):
        rig.source.start_candidates()


def test_copies_that_no_line_served_lately_are_removed(rig: Rig) -> None:
    other = EngineSource(rig.shelf, rig.cache, "line-2")
    versions = [f"v{number}" for number in range(COPIES_KEPT + 2)]
    (rig.cache / "somebody's").mkdir()
    for version in versions:
        rig.write(version)
        rig.source.remember(version)
        if version == "v1":
            other.remember(version)
    left = {path.name for path in rig.cache.iterdir() if path.is_dir()}
    assert left == {"somebody's", "v1", *versions[-COPIES_KEPT:]}


@pytest.mark.parametrize("note", [b"../../etc\n", b"\xff\xfe", b"a/b\n\n"])
def test_foreign_note_names_no_version(rig: Rig, note: bytes) -> None:
    (rig.cache / "line-1.serves").write_bytes(note)
    rig.shelf.away = True
    with pytest.raises(EngineError):
        rig.source.start_candidates()


def test_lanes_that_an_engine_lacks_rest() -> None:
    from pipeline.worker.scorer import Scorer  # noqa: PLC0415

    post: Any = SimpleNamespace(in_flight=None, outbox=None, shutdown=None)
    active = ActiveEngine(serving("old", FlatEngine(), FlatEngine()))
    writer: Any = SimpleNamespace(publish_ms=lambda: 1.0)
    lane = Scorer(post, active, 1, 0.0, writer, lambda one: one.thresholds)  # type: ignore[arg-type,return-value]
    active.activate(serving("new", FlatEngine()), on_probation=False)
    assert lane._take_turn([], 0).batch == ()
    lane.wait_for_batch()  # the turn was given back
