from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import cv2
import numpy as np
import pytest

from trainer.networks.backbones import Backbone, load_backbone
from trainer.samples.quarantine import (
    Nearest,
    QuarantineLimits,
    deviations,
    dominating,
    flooding,
    oddness,
    rate_oddness,
)
from trainer.samples.records import LabelSource, SampleStatus
from trainer.samples.screening import hours_of_a_day, screen
from trainer.samples.sheet import draw_waiting
from trainer.samples.store import SampleStore

HOUR_NS = 3600 * 10**9


class Quiet:
    def step(self, name: str, total: int | None) -> AbstractContextManager:
        del name, total
        return nullcontext(lambda _: None)


def nearest(rows: list[list[tuple[float, int]]]) -> Nearest:
    """One odd place a picture: distance and owner of its nearest places."""
    distances = np.array([[[distance for distance, _ in row]] for row in rows], np.float32)
    owners = np.array([[[owner for _, owner in row]] for row in rows], np.int32)
    return Nearest(distances, owners)


def test_oddness_is_the_distance_to_the_third_that_vouches() -> None:
    found = nearest([[(0.1, 1), (0.2, 2), (0.3, 3), (0.4, 4)]] * 5)
    nobody = np.zeros(5, np.bool_)
    assert oddness(found, nobody)[0] == pytest.approx(0.3)
    left_out = np.array([False, True, False, False, False])
    assert oddness(found, left_out)[0] == pytest.approx(0.4)
    assert oddness(found, ~nobody)[0] == pytest.approx(0.4)  # nobody: as far as was looked


def test_defects_of_one_kind_cannot_vouch_for_each_other_for_long() -> None:
    rng = np.random.default_rng(0)
    count = 100
    rows = [[(0.1 + 0.01 * each, owner) for owner in range(4)] for each in rng.normal(0, 1, count)]
    rows[90] = [(0.9, owner) for owner in range(4)]  # odd at once
    rows[91] = [(0.1, 90), (0.1, 90), (0.1, 90), (0.9, 1)]  # only the odd one is like it
    everybody = np.ones(count, np.bool_)
    first = rate_oddness(nearest(rows), everybody, trusted=True, limit=2.5)
    assert first[90] > 2.5 > first[91]
    judged = rate_oddness(nearest(rows), everybody, trusted=False, limit=2.5)
    assert (judged[90:92] > 2.5).all()
    assert (judged > 2.5).sum() <= 5


def test_a_tenth_of_defects_hardly_moves_the_limit() -> None:
    values = np.random.default_rng(1).normal(1, 0.1, 100)
    among = np.ones(100, np.bool_)
    poisoned = values.copy()
    poisoned[:10] = 50
    clean, moved = deviations(values, among), deviations(poisoned, among)
    assert np.abs(clean[10:] - moved[10:]).max() < 0.8
    assert (moved[:10] > 100).all()


def test_pictures_that_are_all_the_same_are_not_odd() -> None:
    assert not deviations(np.full(30, 0.2), np.ones(30, np.bool_)).any()


def test_flood_lets_so_many_pass_as_the_store_lacks() -> None:
    new = [f"n{number}" for number in range(30)]
    likes = {sha: {*new, "old"} - {sha} for sha in new} | {"other": set()}
    assert len(flooding([*new, "other"], likes, [], 20)) == 10
    assert len(flooding([*new, "other"], likes, ["old"], 20)) == 11
    assert flooding(new[:20], likes, [], 20) == set()


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["a"] * 11 + ["b"] * 9, "a"),
        (["a"] * 10 + ["b"] * 10, ""),
        (["a"] * 11 + [""] * 9, "a"),
        ([""] * 20, ""),
        (["a"] * 19, ""),  # too few to say
    ],
)
def test_one_hour_dominates_beyond_half_of_enough(names: list[str], wanted: str) -> None:
    assert dominating(names, QuarantineLimits()) == wanted


def part(seed: int, scratch: bool = False) -> np.ndarray:  # noqa: FBT001, FBT002
    rng = np.random.default_rng(seed)
    picture = np.full((128, 128, 3), 40, np.uint8)
    centre = (64 + int(rng.integers(-6, 7)), 64 + int(rng.integers(-6, 7)))
    cv2.circle(picture, centre, 44, (120, 130, 150), cv2.FILLED)
    cv2.circle(picture, centre, 18, (70, 60, 60), cv2.FILLED)
    if scratch:
        start = (centre[0] - 30, centre[1] - int(rng.integers(6, 14)))
        cv2.line(picture, start, (centre[0] - 20, centre[1] + 16), (240, 240, 230), 4)
    return np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("efficientnet_lite0")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SampleStore]:
    with SampleStore.open(tmp_path / "samples") as opened:
        yield opened


def test_defects_among_a_first_import_wait_and_are_shown(
    store: SampleStore, backbone: Backbone
) -> None:
    for seed in range(27):
        store.add(part(seed), "good", None, LabelSource("o"))
    bad = {store.add(part(seed, True), "good", None, LabelSource("o")).sha for seed in (90, 91, 92)}  # noqa: FBT003
    screened = screen(store, backbone, Quiet())
    waiting = store.quarantined()
    assert bad <= {each.sha for each in waiting}
    assert len(waiting) <= 6
    assert all("odd by" in each.reasons[0] for each in waiting)
    assert (screened.held, screened.kept, screened.left) == (len(waiting), 30 - len(waiting), 0)
    sheet = draw_waiting(store, waiting)
    assert sheet.shape[1] == 328 * min(4, len(waiting))
    store.release(min(bad), "scratch", "anna")
    assert screen(store, backbone, Quiet()).held == 0  # what a person decided is not judged again


def test_new_pictures_of_one_hour_wait_when_they_are_most(
    store: SampleStore, backbone: Backbone
) -> None:
    for seed in range(20):
        store.keep(store.add(part(seed), "good", None, LabelSource("o")).sha)
    for seed in range(100, 120):
        hour = 5 if seed < 115 else seed
        source = LabelSource("o", captured_ns=hour * HOUR_NS + seed)
        store.add(part(seed), "good", None, source)
    screen(store, backbone, Quiet())
    why = [reason for each in store.quarantined() for reason in each.reasons]
    assert sum("hour 1970-01-01T05: more than 50% of a day's" in each for each in why) == 15


def test_hours_are_counted_over_a_day_of_labels_however_often_one_looks(
    store: SampleStore,
) -> None:
    def label(seed: int, at_hour: int) -> None:
        at_ns, captured_ns = at_hour * HOUR_NS, (at_hour - 1) * HOUR_NS + seed
        source = LabelSource("o", at_ns=at_ns, captured_ns=captured_ns)
        store.add(part(seed), "good", None, source)

    def crowded() -> str:
        hours = hours_of_a_day(store, store.pictures())
        for each in store.pictures(SampleStatus.INCOMING):
            store.keep(each.sha)
        return dominating(list(hours.values()), QuarantineLimits())

    found = []
    for look in range(3):
        for number in range(8):
            label(8 * look + number, 105 if number < 6 else 106 + number)
        found.append(crowded())
    assert found == ["", "", "1970-01-05T08"]  # the first two looks have too few to say
    label(100, 200)
    assert crowded() == ""  # another day


def test_few_normals_stay_incoming_until_there_are_enough_to_compare(
    store: SampleStore, backbone: Backbone
) -> None:
    for seed in range(19):
        store.add(part(seed), "good", None, LabelSource("o"))
    assert screen(store, backbone, Quiet()).left == 19
    assert len(store.pictures(SampleStatus.INCOMING)) == 19
    store.add(part(19), "good", None, LabelSource("o"))
    assert screen(store, backbone, Quiet()).left == 0
