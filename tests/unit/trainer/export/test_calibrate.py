import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.conversion.conformal import groups_needed
from trainer.errors import DatasetError
from trainer.export.calibrate import (
    Costs,
    HeldOutDefects,
    amid_gap,
    calibrate,
    conformal_threshold,
    cost_threshold,
    overlap_threshold,
)
from trainer.results.evaluation import overlaps

RARE = Costs(escape=100, false_reject=1, defect_share=0.01)


@given(st.integers(1, 300), st.sampled_from([0.001, 0.01, 0.02, 0.05, 0.1, 0.3]))
def test_conformal_threshold_keeps_its_promise(count: int, rate: float) -> None:
    """The next score is equally likely at every rank among count + 1: count what lies above."""
    scores = np.arange(count, dtype=np.float32)
    threshold, supported = conformal_threshold(scores, rate)
    above = count - int((scores <= threshold).sum()) + 1  # ranks that the next score may take
    assert above / (count + 1) <= supported + 1e-9
    assert supported == pytest.approx(max(rate, 1 / (count + 1)))


def test_as_many_normals_as_needed_support_the_rate() -> None:
    for rate in (0.01, 0.02, 0.05, 0.3):
        needed = groups_needed(rate)
        assert conformal_threshold(np.arange(needed), rate)[1] == rate
        assert conformal_threshold(np.arange(needed - 1), rate)[1] > rate


def test_method_says_when_there_are_too_few_normals(rng: np.random.Generator) -> None:
    maps = rng.random((10, 4, 4), np.float32)
    few = calibrate(maps.max(axis=(1, 2)), maps, 0.01)
    assert few.image == maps.max()
    assert few.pixel == pytest.approx(float(np.median(maps.max(axis=(1, 2)))))
    assert few.false_reject_rate == pytest.approx(1 / 11)
    assert "needs 99 held-out normals" in few.method


def cost_at(threshold: float, normals: np.ndarray, defects: np.ndarray, costs: Costs) -> float:
    escaped, rejected = (defects <= threshold).mean(), (normals > threshold).mean()
    share = costs.defect_share
    return float(share * costs.escape * escaped + (1 - share) * costs.false_reject * rejected)


SCORES = st.lists(st.floats(-5, 5, width=32), min_size=1, max_size=30)


@given(SCORES, SCORES, st.floats(0.1, 1000), st.floats(0.001, 0.9), st.floats(-6, 6))
def test_no_threshold_costs_less_than_the_one_chosen(
    normal: list[float], defective: list[float], escape: float, share: float, other: float
) -> None:
    normals, defects = np.array(normal, np.float32), np.array(defective, np.float32)
    costs = Costs(escape, 1.0, share)
    threshold, expected = cost_threshold(normals, defects, costs)
    assert expected == pytest.approx(cost_at(threshold, normals, defects, costs))
    assert expected <= cost_at(other, normals, defects, costs) + 1e-9


def test_separated_scores_are_split_in_the_middle_of_the_gap() -> None:
    threshold, expected = cost_threshold(np.array([0.1, 0.2]), np.array([0.6, 0.9]), RARE)
    assert (threshold, expected) == (pytest.approx(0.4), 0.0)


def test_dear_escapes_lower_the_threshold() -> None:
    normals, defects = np.array([0.1, 0.3, 0.5]), np.array([0.2, 0.4, 0.6])
    cheap = cost_threshold(normals, defects, Costs(1, 1, 0.01))[0]
    dear = cost_threshold(normals, defects, Costs(10_000, 1, 0.01))[0]
    assert dear < 0.2
    assert cheap >= 0.5


def defects_of(rng: np.random.Generator, count: int) -> HeldOutDefects:
    """Maps that are higher on the mask, with a halo around it."""
    masks = np.zeros((count, 16, 16), bool)
    masks[:, 4:9, 5:12] = True
    maps = 0.3 * rng.random(masks.shape) + 0.4 * masks
    maps[:, 3:10, 4:13] += 0.2
    return HeldOutDefects(maps.max(axis=(1, 2)).astype(np.float32), maps.astype(np.float32), masks)


def test_pixel_threshold_overlaps_best_of_all(rng: np.random.Generator) -> None:
    defects = defects_of(rng, 3)
    chosen = overlap_threshold(defects.maps, defects.masks)
    best = overlaps(defects.maps > chosen, defects.masks).mean()
    for level in np.linspace(0, 1, 201):
        assert overlaps(defects.maps > level, defects.masks).mean() <= best + 1e-9


def test_pixel_threshold_of_flat_maps_exists() -> None:
    masks = np.zeros((1, 8, 8), bool)
    masks[0, :2] = True
    assert overlap_threshold(np.zeros((1, 8, 8), np.float32), masks) == 0.0
    assert overlap_threshold(masks.astype(np.float32), masks) == pytest.approx(1.0)


def test_costs_and_defects_decide_both_thresholds_and_the_method_says_so(
    rng: np.random.Generator,
) -> None:
    maps = (0.3 * rng.random((10, 16, 16))).astype(np.float32)
    defects = defects_of(rng, 2)
    found = calibrate(maps.max(axis=(1, 2)), maps, 0.01, defects, RARE)
    assert found.pixel == overlap_threshold(defects.maps, defects.masks)
    assert maps.max() < found.image < defects.scores.min()
    assert found.false_reject_rate is None
    assert "least expected cost over 10 held-out normals and 2 held-out defects" in found.method
    assert "100 an escape, 1 a false reject, 1.00% of parts defective" in found.method
    assert "best mean overlap with the masks of 2 held-out or made defects" in found.method


def test_costs_without_defects_are_refused(rng: np.random.Generator) -> None:
    maps = rng.random((10, 4, 4), np.float32)
    none = HeldOutDefects(np.empty(0, np.float32), maps[:0], maps[:0] > 0)
    for defects in (None, none):
        with pytest.raises(DatasetError, match="need held-out defects"):
            calibrate(maps.max(axis=(1, 2)), maps, 0.01, defects, RARE)


@given(
    st.lists(st.floats(0, 1, width=32), max_size=30),
    st.floats(0, 1, width=32),
)
def test_threshold_amid_the_gap_lets_no_more_defects_escape(
    scores: list[float], threshold: float
) -> None:
    defects = np.array(scores, np.float32)
    found, moved = amid_gap(threshold, defects)
    assert found >= threshold
    below = np.count_nonzero(defects <= threshold)
    assert moved == (below < len(defects) and below <= len(defects) / 4)
    if moved:
        assert np.count_nonzero(defects <= found) <= np.count_nonzero(defects <= threshold) + (
            found == defects[defects > threshold].min()  # neighbours in binary have no middle
        )
    else:
        assert found == threshold


def test_threshold_stays_where_defects_lie_among_the_normals() -> None:
    assert amid_gap(0.4, np.array([0.1, 0.2, 0.6, 0.9])) == (0.4, False)
    found, moved = amid_gap(0.4, np.array([0.1, 0.5, 0.6, 0.9]))
    assert moved
    assert found == pytest.approx(0.45)


def test_few_normals_get_a_threshold_amid_the_gap_and_many_the_promised_one() -> None:
    maps = np.zeros((2000, 4, 4), np.float32)
    maps[:, 0, 0] = np.linspace(0.1, 0.2, 2000)
    marked = np.zeros((1, 4, 4), np.bool_)
    marked[:, 0] = True
    defects = HeldOutDefects(np.array([0.6], np.float32), marked.astype(np.float32), marked)
    scores = maps.max(axis=(1, 2))
    few = calibrate(scores[-20:], maps[-20:], 0.01, defects)
    assert few.image == pytest.approx(0.4)
    assert "middle of the gap" in few.method
    many = calibrate(scores, maps, 0.01, defects)
    assert many.image == pytest.approx(0.199, abs=1e-3)
    assert "middle" not in many.method
