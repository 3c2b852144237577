import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from trainer.results.metrics import PRO_LIMIT, auroc, counts_by_kind, pixel_figures


def slow_pro(maps: np.ndarray, masks: np.ndarray) -> float:
    """The definition, threshold by threshold: mean coverage of regions over FPR to the limit."""
    regions = []
    for index, mask in enumerate(masks):
        count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        regions += [(index, labels == label) for label in range(1, count)]
    rates, coverages = [0.0], [0.0]
    for threshold in np.unique(maps)[::-1]:
        flagged = maps >= threshold
        rates.append(flagged[~masks].mean())
        coverages.append(np.mean([flagged[index][region].mean() for index, region in regions]))
    fine = np.linspace(0, PRO_LIMIT, 200_001)
    return float(np.trapezoid(np.interp(fine, rates, coverages), fine) / PRO_LIMIT)


def marked(rng: np.random.Generator, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Maps with ties every `step`, and masks with regions that touch at corners only."""
    masks = np.zeros((4, 24, 20), bool)
    masks[0, 2:6, 3:9] = True
    masks[0, 6:8, 9:11] = True  # touches the first at a corner: one region of 8 neighbours
    masks[0, 15:16, :] = True
    masks[2, 20:24, 16:20] = True
    maps = rng.random(masks.shape) + 0.4 * masks
    return (np.round(maps / step) * step).astype(np.float32), masks


@pytest.mark.parametrize("step", [1e-6, 0.05, 0.5])
def test_pixel_figures_agree_with_scikit_learn_and_the_slow_definition(
    rng: np.random.Generator, step: float
) -> None:
    maps, masks = marked(rng, step)
    figures = pixel_figures(maps, masks)
    assert figures.auroc == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()), abs=1e-9)
    assert figures.ap == pytest.approx(
        average_precision_score(masks.ravel(), maps.ravel()), abs=1e-9
    )
    assert figures.pro == pytest.approx(slow_pro(maps, masks), abs=1e-4)


@pytest.mark.parametrize("step", [1e-6, 0.05])
def test_figures_do_not_depend_on_how_many_pictures_are_sorted_at_once(
    rng: np.random.Generator, step: float
) -> None:
    maps, masks = marked(rng, step)
    assert pixel_figures(maps, masks, block_pixels=1) == pixel_figures(maps, masks)


def test_figures_of_some_pictures_are_those_of_a_set_without_the_others(
    rng: np.random.Generator,
) -> None:
    maps, masks = marked(rng, 0.05)
    some = np.array([0, 3])
    assert pixel_figures(maps, masks, some) == pixel_figures(maps[some], masks[some])


def test_figures_do_not_exist_where_every_pixel_is_defective(rng: np.random.Generator) -> None:
    figures = pixel_figures(rng.random((2, 8, 8), np.float32), np.ones((2, 8, 8), bool))
    assert np.isnan([figures.auroc, figures.pro]).all()
    assert figures.ap == 1.0


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_image_auroc_agrees_with_scikit_learn(pairs: list[tuple[int, bool]]) -> None:
    scores = np.array([score for score, _ in pairs], np.float32)
    labels = np.array([label for _, label in pairs])
    if labels.all() or not labels.any():
        assert np.isnan(auroc(scores, labels))
    else:
        assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-9)


def test_perfect_map_has_perfect_figures(rng: np.random.Generator) -> None:
    _, masks = marked(rng, 0.1)
    figures = pixel_figures(masks.astype(np.float32), masks)
    assert (figures.auroc, figures.ap) == (1.0, 1.0)


def test_figures_without_defects_do_not_exist(rng: np.random.Generator) -> None:
    figures = pixel_figures(rng.random((2, 8, 8), np.float32), np.zeros((2, 8, 8), bool))
    assert np.isnan([figures.auroc, figures.pro, figures.ap]).all()


def test_a_score_at_the_threshold_is_not_rejected() -> None:
    counts = counts_by_kind(np.array([0.5, 0.6, 0.7]), ["good", "dent", "good"], 0.6)
    assert [(c.kind, c.pictures, c.rejected) for c in counts] == [("good", 2, 1), ("dent", 1, 0)]
