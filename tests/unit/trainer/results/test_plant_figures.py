import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from trainer.near_duplicates import near_duplicates
from trainer.results.plant_figures import plant_figures, rate_figures, share, size_classes
from trainer.results.report import plant_lines


def parts(normals: int, defects: int) -> tuple[np.ndarray, np.ndarray]:
    """Normals score 0, 1, 2, ...; defects score halfway between, from the top down."""
    scores = np.concatenate([np.arange(normals), normals - 0.5 - np.arange(defects)])
    return scores.astype(np.float32), np.arange(normals + defects) >= normals


def test_wrong_verdicts_are_counted_at_the_threshold() -> None:
    scores, defective = parts(20, 6)
    figures = plant_figures(scores, defective, np.zeros(26, int), 16.0)
    assert (figures.false_rejects.count, figures.false_rejects.of) == (3, 20)
    assert (figures.escapes.count, figures.escapes.of) == (2, 6)
    assert figures.sizes == ()


def test_recall_at_a_rate_rejects_no_more_normals_than_it_allows() -> None:
    scores, defective = parts(2000, 5)
    figures = rate_figures(scores, defective, 0.001)
    assert (figures.rejected, figures.threshold, figures.resolved) == (2, 1997.0, True)
    assert figures.recall.count == 3


def test_few_normals_cannot_show_a_small_rate_and_it_says_so() -> None:
    scores, defective = parts(999, 3)
    figures = rate_figures(scores, defective, 0.001)
    assert (figures.resolved, figures.rejected, figures.threshold) == (False, 0, 998.0)


@given(
    st.lists(st.integers(0, 8), min_size=1, max_size=50),
    st.lists(st.integers(0, 8), max_size=20),
    st.sampled_from([0.001, 0.05, 0.3, 1.0]),
)
def test_no_lower_threshold_would_keep_the_rate(
    normals: list[int], defects: list[int], rate: float
) -> None:
    scores = np.array([*normals, *defects], np.float32)
    figures = rate_figures(scores, np.arange(len(scores)) >= len(normals), rate)
    assert figures.rejected <= rate * len(normals) + 1e-9
    lower = np.nextafter(figures.threshold, -np.inf)
    if np.isfinite(lower):
        assert (np.array(normals) > lower).sum() > rate * len(normals)


def test_upper_bound_is_the_share_that_chance_would_rarely_undercut() -> None:
    for count, of in ((0, 20), (3, 20), (19, 20)):
        assert binom.cdf(count, of, share(np.arange(of) < count).at_most) == pytest.approx(0.05)
    assert share(np.ones(4, bool)).at_most == 1.0
    assert share(np.zeros(0, bool)).at_most == 1.0


def test_defects_are_split_into_thirds_by_area() -> None:
    scores, defective = parts(10, 6)
    areas = np.concatenate([np.zeros(10, int), [600, 500, 40, 30, 2, 1]])
    small, middle, large = plant_figures(scores, defective, areas, 6.0).sizes
    assert [(s.smallest, s.largest) for s in (small, middle, large)] == [
        (1, 2),
        (30, 40),
        (500, 600),
    ]
    assert [s.escapes.count for s in (small, middle, large)] == [2, 0, 0]
    assert [s.missed_at_rate.count for s in (small, middle, large)] == [2, 2, 1]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40))
def test_equal_areas_share_a_class_and_larger_ones_are_never_in_a_smaller(
    areas: list[int],
) -> None:
    classes = size_classes(np.array(areas))
    pairs = sorted(zip(areas, classes.tolist(), strict=True))
    assert [number for _, number in pairs] == sorted(number for _, number in pairs)
    assert len(set(pairs)) == len(set(areas))
    assert set(classes.tolist()) <= {0, 1, 2}


def test_defect_is_a_near_duplicate_where_it_overlaps_a_seen_one() -> None:
    masks = np.zeros((4, 10, 10), bool)
    masks[0, :5] = True  # half the picture
    masks[1, :2] = True  # 20 of the 50 seen pixels
    masks[2, :1] = True  # 10 of them
    seen = np.stack([masks[0], np.zeros((10, 10), bool)])
    assert near_duplicates(masks, seen).tolist() == [True, True, False, False]
    assert not near_duplicates(masks, seen[:0]).any()


def test_overlap_agrees_with_the_definition(rng: np.random.Generator) -> None:
    masks, seen = rng.random((9, 6, 7)) < 0.5, rng.random((4, 6, 7)) < 0.5
    slow = [max((m & s).sum() / (m | s).sum() for s in seen) for m in masks]
    for overlap in (0.3, 0.35, 0.4, 0.5):
        assert near_duplicates(masks, seen, overlap).tolist() == [v >= overlap for v in slow]


def test_without_a_good_picture_no_recall_is_claimed() -> None:
    figures = plant_figures(
        np.array([0.5, 0.6]), np.array([True, True]), np.array([4, 9]), threshold=0.4
    )
    assert figures.false_rejects.of == figures.at_rate.recall.of == 0
    assert np.isnan(figures.at_rate.threshold)
    assert all(size.missed_at_rate.of == 0 for size in figures.sizes)
    said = list(plant_lines(figures))
    assert said[-1] == "recall at 0.1% false rejects: - (no good test picture to find it with)"
