"""Which zone judges a pixel, and what a map then says."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.errors import ZoneError
from engines.zones.pixels import zone_pixels
from engines.zones.schema import MaskRuns, Zone, ZoneSet

SIZE = (20, 20)


def box(name: str, kind: str, left: float, right: float, **fields: Any) -> Zone:  # noqa: ANN401
    corners = ((left, 0), (right, 0), (right, 1), (left, 1))
    return Zone.model_validate({"name": name, "kind": kind, "points": corners, **fields})


def whole(name: str = "rest", **fields: Any) -> Zone:  # noqa: ANN401
    return Zone.model_validate({"name": name, "kind": "inspect", **fields})


def zones(*each: Zone) -> ZoneSet:
    return ZoneSet(zones=each)


def spot(column: int, value: float = 0.8) -> np.ndarray:
    anomaly_map = np.full(SIZE, 0.1, np.float32)
    anomaly_map[10, column] = value
    return anomaly_map


def test_without_inspect_zones_all_but_the_ignored_is_inspected() -> None:
    drawn = zone_pixels(zones(box("screw", "ignore", 0, 0.5)), "", SIZE)
    assert drawn.inspected[:, :9].sum() == 0
    assert drawn.inspected[:, 11:].all()


def test_ignore_wins_over_inspect() -> None:
    both = zones(box("seal", "inspect", 0, 0.6), box("screw", "ignore", 0, 0.3))
    drawn = zone_pixels(both, "", SIZE)
    assert drawn.inspected[10].tolist() == [False] * 6 + [True] * 6 + [False] * 8


@pytest.mark.parametrize(("column", "score"), [(2, 0.1), (15, 0.8)])
def test_defect_counts_outside_ignored_pixels_only(column: int, score: float) -> None:
    drawn = zone_pixels(zones(box("screw", "ignore", 0, 0.5)), "", SIZE)
    found = drawn.score(spot(column), 0.5)
    assert found.score == pytest.approx(score)
    assert found.has_mask == (score > 0.5)
    assert found.zone == ""


def test_zone_with_a_factor_judges_its_pixels_in_place_of_the_rest() -> None:
    judged = zones(whole(), box("seal", "inspect", 0, 0.5, image_factor=0.5, pixel_factor=2))
    drawn = zone_pixels(judged, "", SIZE)
    strict, usual = drawn.score(spot(2), 0.5), drawn.score(spot(15), 0.5)
    assert (strict.score, strict.zone) == (pytest.approx(1.6), "seal")
    assert (usual.score, usual.zone) == (pytest.approx(0.8), "rest")
    assert (strict.has_mask, usual.has_mask) == (False, True)


def test_zone_may_be_laxer_than_the_rest() -> None:
    drawn = zone_pixels(zones(whole(), box("weld", "inspect", 0, 0.5, image_factor=4)), "", SIZE)
    assert drawn.score(spot(2), 0.5).score == pytest.approx(0.2)


@pytest.mark.parametrize("turned", [False, True])
def test_of_overlapping_factors_the_strictest_counts(turned: bool) -> None:  # noqa: FBT001
    overlapping = [
        box("a", "inspect", 0, 0.5, image_factor=0.5),
        box("b", "inspect", 0, 0.5, image_factor=0.25),
    ]
    drawn = zone_pixels(zones(*overlapping[:: -1 if turned else 1]), "", SIZE)
    found = drawn.score(spot(2), 0.5)
    assert (found.score, found.zone) == (pytest.approx(3.2), "b")


def test_zones_are_of_their_camera() -> None:
    of_one = zones(box("screw", "ignore", 0, 0.5, cameras=("one",)))
    assert zone_pixels(of_one, "one", SIZE).inspected.sum() < 400
    assert zone_pixels(of_one, "two", SIZE).inspected.all()


def test_points_are_pixels_where_a_size_is_given() -> None:
    corners = ((0, 0), (200, 0), (200, 100), (0, 100))
    pixels = ZoneSet(size=(200, 400), zones=(Zone(name="a", kind="ignore", points=corners),))
    inspected = zone_pixels(pixels, "", SIZE).inspected
    assert not inspected[:9, :9].any()
    assert inspected[11:].all()
    assert inspected[:, 11:].all()


def test_mask_is_brought_to_the_frame_by_area() -> None:
    mask = np.zeros((40, 80), np.bool_)
    mask[:, :40] = True
    half = ZoneSet(zones=(Zone(name="a", kind="ignore", mask=MaskRuns.of(mask)),))
    assert zone_pixels(half, "", SIZE).inspected[10].tolist() == [False] * 10 + [True] * 10


def test_ignoring_everything_is_refused() -> None:
    with pytest.raises(ZoneError, match="the zones leave nothing to inspect: every part would be"):
        zone_pixels(zones(Zone(name="all", kind="ignore")), "", SIZE)
    apart = zones(
        box("a", "inspect", 0, 0.3, cameras=("one",)),
        box("b", "ignore", 0, 0.5),
    )
    with pytest.raises(ZoneError, match="nothing of camera 'one' to inspect"):
        zone_pixels(apart, "one", SIZE)


def test_zone_smaller_than_a_pixel_is_refused() -> None:
    mask = np.zeros((400, 400), np.bool_)
    mask[7, 7] = True
    speck = ZoneSet(zones=(Zone(name="speck", kind="ignore", mask=MaskRuns.of(mask)),))
    with pytest.raises(ZoneError, match="zone 'speck' covers no pixel of a frame of 20x20"):
        zone_pixels(speck, "", SIZE)


@given(seed=st.integers(0, 2**32 - 1), left=st.floats(0, 0.4), right=st.floats(0.5, 0.9))
def test_ignoring_more_never_raises_a_score(seed: int, left: float, right: float) -> None:
    maps = np.random.default_rng(seed).random((3, *SIZE), np.float32)
    some = zone_pixels(zones(box("a", "ignore", 0, left + 0.05)), "", SIZE)
    more = zone_pixels(
        zones(box("a", "ignore", 0, left + 0.05), box("b", "ignore", left, right)), "", SIZE
    )
    assert (more.peaks(maps) <= some.peaks(maps)).all()
    assert (some.peaks(maps) <= maps.max(axis=(1, 2))).all()
