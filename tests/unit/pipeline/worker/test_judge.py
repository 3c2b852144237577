import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.frames import Decision, EngineName, Timings
from pipeline.wire import MAX_REGIONS
from pipeline.worker.judge import DecisionThresholds, FrameScore, find_regions, judge, normalise

ENGINE = EngineName("protoad", "1", "0" * 64)
TIMINGS = Timings(1.0, 2.0, 3.0, 4)


def two_spots() -> np.ndarray:
    spots = np.zeros((20, 30), np.float32)
    spots[2:5, 3:8] = 0.6
    spots[10, 20] = 0.9
    return spots


def test_score_above_the_threshold_is_ng_and_at_it_ok() -> None:
    calm = np.zeros((4, 4), np.float32)
    thresholds = DecisionThresholds(0.5, 0.5)
    for score, decision in ((0.5, Decision.OK), (0.500001, Decision.NG)):
        judged = judge(FrameScore(score, calm), thresholds, None, ENGINE, TIMINGS, "w")
        assert judged.judged is decision


def test_regions_have_box_area_and_peak_by_falling_peak() -> None:
    spots = two_spots()
    small, large = find_regions(spots, spots > 0.5, None)
    assert (small.top, small.left, small.height, small.width, small.area_px) == (10, 20, 1, 1, 1)
    assert (large.top, large.left, large.height, large.width, large.area_px) == (2, 3, 3, 5, 15)
    assert (small.peak, large.peak) == (pytest.approx(0.9), pytest.approx(0.6))


def test_region_knows_millimetres_where_calibrated() -> None:
    spots = two_spots()
    _, large = find_regions(spots, spots > 0.5, (0.5, 0.25))
    assert (large.height_mm, large.width_mm, large.area_mm2) == (1.5, 1.25, 15 * 0.125)


def test_diagonal_pixels_are_one_region() -> None:
    assert len(find_regions(np.eye(5, dtype=np.float32), np.eye(5) > 0, None)) == 1


def test_noise_gives_no_more_regions_than_a_verdict_carries() -> None:
    dots = np.zeros((100, 100), np.float32)
    dots[::2, ::2] = 1
    assert len(find_regions(dots, dots > 0, None)) == MAX_REGIONS


def test_peak_of_a_region_is_its_own_though_boxes_overlap() -> None:
    ring = np.zeros((9, 9), np.float32)
    ring[0, :] = ring[-1, :] = ring[:, 0] = ring[:, -1] = 0.6
    ring[4, 4] = 0.9
    inner, outer = find_regions(ring, ring > 0.5, None)
    assert (inner.peak, outer.peak) == (pytest.approx(0.9), pytest.approx(0.6))


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_normalised_score_rises_and_is_half_at_the_threshold(
    score: float, threshold: float, step: float
) -> None:
    assert 0 <= normalise(score, threshold) <= 1
    assert normalise(threshold, threshold) == pytest.approx(0.5)
    if (score >= 0) == (score + step >= 0):
        assert normalise(score, threshold) <= normalise(score + step, threshold)


def test_mask_is_left_out_where_nothing_is_above_the_pixel_threshold() -> None:
    frame_score = FrameScore(0.9, np.full((4, 4), 0.2, np.float32))
    assert judge(frame_score, DecisionThresholds(0.5, 0.5), None, ENGINE, TIMINGS, "w").mask is None


def test_frame_whose_map_was_left_out_has_no_mask_and_keeps_its_cells() -> None:
    judged = judge(
        FrameScore(0.9, None, (0.1, 0.2)), DecisionThresholds(0.5, 0.5), None, ENGINE, TIMINGS, "w"
    )
    assert (judged.judged, judged.mask, judged.regions) == (Decision.NG, None, ())
    assert judged.cells == (0.1, 0.2)
