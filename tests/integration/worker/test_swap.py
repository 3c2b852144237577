import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rigs.swap import BRISK, GREEN, ONE_MS, WATCHED, SwapRig, spoil, until

from pipeline.announce import announce
from pipeline.frames import Decision
from pipeline.streams.connect import Access
from pipeline.streams.connection import open_connection
from pipeline.streams.keys import Keys
from pipeline.streams.swap_coordinator import RedisSwapCoordinator
from pipeline.wire import RolloutState, decode_rollout_record, encode_control
from pipeline.worker.swap.engine_source import PromotionRef
from pipeline.worker.swap.history import RolloutHistory


@pytest.fixture
def rig(url: str, line: str, tmp_path: Path) -> Iterator[SwapRig]:
    with open_connection(Access(url), tmp_path) as connection:
        yield SwapRig(connection, line, tmp_path)


def test_every_part_has_one_verdict_across_a_swap_and_engines_change_once(rig: SwapRig) -> None:
    second = rig.registry.add("two")
    with rig.worker("a") as member:
        with rig.camera():
            until(lambda: rig.offered > 100)
            rig.registry.promote("two")
            until(lambda: member.swaps("swapped") == 1)
        until(lambda: member.controller.status() == "serves two, as promoted")
        assert member.active.previous is not None
    assert rig.engines_in_turn("a") == [rig.first, second]
    rig.proof()


def test_workers_of_a_line_swap_one_after_the_other(rig: SwapRig) -> None:
    rig.registry.add("two")
    with rig.worker("a") as first, rig.worker("b") as second, rig.camera():
        until(lambda: all(rig.engines_in_turn(name) for name in "ab"))
        rig.registry.promote("two")
        until(lambda: "two" in {first.version, second.version})
        swapped, waiting = (first, second) if first.version == "two" else (second, first)
        assert waiting.version == "one"
        until(lambda: "another worker" in waiting.controller.status())
        until(lambda: waiting.version == "two")
        assert swapped.swaps("swapped") == 1, "the first was watched to the end before the second"
        until(lambda: all(rig.engines_in_turn(name)[1:] for name in "ab"))
    assert [len(rig.engines_in_turn(name)) for name in "ab"] == [2, 2]
    rig.proof()


def test_worker_whose_copy_is_broken_keeps_the_incumbent_and_the_others_swap(rig: SwapRig) -> None:
    rig.registry.add("two")
    with rig.worker("a") as broken, rig.worker("b") as sound, rig.camera():
        rig.registry.fetch("two", rig.folder / "a")
        spoil(rig.folder / "a", "two")
        rig.registry.promote("two")
        until(lambda: sound.version == "two" and broken.swaps("kept") >= 1)
        assert broken.version == "one"
        until(lambda: "copy both again" in broken.controller.status())
    assert rig.engines_in_turn("a") == [rig.first]
    rig.proof()


def test_copy_that_was_mended_is_taken_after_a_look(rig: SwapRig) -> None:
    rig.registry.add("two")
    with rig.worker("a") as member, rig.camera():
        rig.registry.fetch("two", rig.folder / "a")
        spoil(rig.folder / "a", "two")
        rig.registry.promote("two")
        until(lambda: member.swaps("kept") == 1)
        (rig.folder / "a" / "two" / "engine.onnx").write_bytes(
            (rig.registry.home / "two" / "engine.onnx").read_bytes()
        )
        rig.controls.send(encode_control("look"))
        until(lambda: member.version == "two")


def test_newcomer_that_calls_too_many_parts_ng_is_rolled_back_and_refused_for_all(
    rig: SwapRig, caplog: pytest.LogCaptureFixture
) -> None:
    second = rig.registry.add("two", image_threshold=0.1)
    with rig.worker("a") as member, rig.worker("b") as other, rig.camera():
        until(lambda: rig.offered > 200)
        rig.registry.promote("two")
        until(lambda: member.swaps("rolled_back") + other.swaps("rolled_back") == 1)
        refused, spared = (member, other) if member.swaps("rolled_back") else (other, member)
        until(lambda: "more parts are NG" in spared.controller.status())
        assert (refused.version, spared.version) == ("one", "one")
        assert (refused.swaps("refused"), spared.swaps("rolled_back")) == (0, 0)
        until(lambda: refused.active.previous is None)
        name, first = refused.context.name, rig.first
        until(lambda: rig.engines_in_turn(name)[-1:] == [first])
    packed = rig.connection.client.hget(Keys(rig.line).promotions, "two step 1")
    assert packed is not None
    record = decode_rollout_record(packed)
    assert (record.state, record.worker) == (RolloutState.REFUSED, refused.context.name)
    assert rig.registry.refused == [("two", f"{rig.line}, {refused.context.name}")]
    assert rig.engines_in_turn(name) == [first, second, first]
    assert rig.engines_in_turn(spared.context.name) == [first]
    verdicts = [verdict.decision for verdict in rig.verdicts()]
    assert 0 < verdicts.count(Decision.NG) < 100
    errors = [record.msg for record in caplog.records if record.levelno == logging.ERROR]
    assert errors == ["swap.refused"]
    rig.proof()


def test_version_that_was_refused_may_try_again_when_it_is_promoted_again(rig: SwapRig) -> None:
    rig.registry.add("two", image_threshold=0.1)
    with rig.worker("a") as member, rig.camera():
        until(lambda: rig.offered > 200)
        for times in (1, 2):
            rig.registry.promote("two")
            until(lambda times=times: member.swaps("rolled_back") == times)  # type: ignore[misc]
            rig.registry.promote("one")
            until(lambda: member.controller.status() == "serves one, as promoted")


def test_newcomer_that_fails_on_a_live_frame_never_judges(rig: SwapRig) -> None:
    rig.registry.add("two", fails_at=GREEN)
    with rig.worker("a") as member, rig.camera():
        rig.registry.promote("two")
        until(lambda: member.swaps("refused") == 1)
        assert (member.version, member.swaps("rolled_back")) == ("one", 0)
    assert rig.engines_in_turn("a") == [rig.first]
    rig.proof()


def test_newcomer_that_is_too_slow_is_rolled_back(rig: SwapRig) -> None:
    rig.registry.add("two", rounds=6 * ONE_MS)
    with rig.worker("a", WATCHED) as member, rig.camera(rate=60):
        until(lambda: rig.offered > 60)
        rig.registry.promote("two")
        until(lambda: member.swaps("rolled_back") == 1)
        until(lambda: "times as long as before" in member.controller.status())
        assert member.version == "one"


def test_newcomer_of_another_size_is_not_taken(rig: SwapRig) -> None:
    rig.registry.add("two", side=8)
    with rig.worker("a") as member:
        rig.registry.promote("two")
        until(lambda: "frames of 8x8" in member.controller.status())
        assert member.version == "one"


def test_rollback_by_the_pointer_takes_the_warm_engine_without_loading(rig: SwapRig) -> None:
    rig.registry.add("two")
    with rig.worker("a") as member, rig.camera():
        until(lambda: rig.offered > 50)
        lanes = member.active.current.lanes
        rig.registry.promote("two")
        until(lambda: member.controller.status() == "serves two, as promoted")
        rig.registry.promote("one")
        until(lambda: member.version == "one")
        assert member.active.current.lanes == lanes
        rig.registry.promote("two")
        until(lambda: member.version == "two")
        until(lambda: member.swaps("swapped") == 3)
    rig.proof()


def test_third_engine_closes_the_oldest(rig: SwapRig) -> None:
    rig.registry.add("two")
    rig.registry.add("three")
    with rig.worker("a") as member, rig.camera():
        for version in ("two", "three"):
            rig.registry.promote(version)
            until(lambda version=version: member.version == version)  # type: ignore[misc]
        assert member.active.previous is not None
        assert member.active.previous.version == "two"
    rig.proof()


def test_registry_that_is_away_changes_nothing_and_a_restart_serves_what_served_last(
    rig: SwapRig,
) -> None:
    with rig.worker("a") as member, rig.camera():
        rig.registry.away = True
        until(lambda: "the registry is away" in member.controller.status())
        assert member.version == "one"
    with rig.worker("a") as later, rig.camera():
        assert later.version == "one"
    rig.proof()


def test_worker_starts_with_the_version_before_where_the_promoted_one_was_refused(
    rig: SwapRig,
) -> None:
    rig.registry.add("two", image_threshold=0.1)
    with rig.worker("a") as member, rig.camera():
        until(lambda: rig.offered > 200)
        rig.registry.promote("two")
        until(lambda: member.swaps("rolled_back") == 1)
    with rig.worker("b") as later:
        assert later.version == "one"
        until(lambda: "two was refused" in later.controller.status())


def test_worker_that_starts_while_another_watches_takes_its_turn_and_never_a_refused_engine(
    rig: SwapRig,
) -> None:
    rig.registry.add("two", image_threshold=0.1)
    with rig.worker("a", replace(BRISK, shadow_frames=100)) as member, rig.camera(rate=100):
        until(lambda: rig.offered > 150)
        rig.registry.promote("two")
        until(lambda: "shadows with two" in member.controller.status())
        with rig.worker("b") as later:
            assert later.version == "one"
            until(lambda: member.swaps("rolled_back") == 1)
            until(lambda: "two was refused" in later.controller.status())
            assert later.version == "one"
    assert rig.engines_in_turn("b") == [rig.first]
    rig.proof()


def test_worker_that_serves_what_is_refused_later_loads_the_one_before(rig: SwapRig) -> None:
    second = rig.registry.add("two")
    rig.registry.promote("two")
    with rig.worker("a") as member, rig.camera():
        until(lambda: member.controller.status() == "serves two, as promoted")
        assert member.active.previous is None
        RolloutHistory(RedisSwapCoordinator(rig.connection.client, rig.line, "other")).mark_refused(
            PromotionRef("two", "step 1"), "bad"
        )
        until(lambda: member.version == "one")
        until(lambda: rig.engines_in_turn("a") == [second, rig.first])
    rig.proof()


def test_newcomer_that_killed_two_workers_is_refused(rig: SwapRig) -> None:
    rig.registry.add("two")
    rig.registry.promote("two")
    for name in ("dead", "dead too"):
        RolloutHistory(RedisSwapCoordinator(rig.connection.client, rig.line, name)).begin(
            PromotionRef("two", "step 1")
        )
    with rig.worker("a") as member, rig.camera():
        assert member.version == "one"
        until(lambda: "two was refused: 2 workers" in member.controller.status())
    rig.proof()


def test_lease_of_a_dead_worker_runs_out(rig: SwapRig) -> None:
    rig.registry.add("two")
    rig.connection.client.set(Keys(rig.line).swap, "dead", px=700)
    with rig.worker("a", BRISK) as member:
        rig.registry.promote("two")
        until(lambda: "another worker" in member.controller.status())
        until(lambda: member.version == "two")


def test_announced_promotion_is_looked_at_at_once(rig: SwapRig, url: str) -> None:
    rig.registry.add("two")
    with rig.worker("a", replace(BRISK, look_s=600.0)) as member:
        until(lambda: bool(rig.controls.workers()))
        rig.registry.promote("two")
        assert announce(rig.line, redis_url=url, state_dir=rig.folder) == 1
        until(lambda: member.version == "two")
