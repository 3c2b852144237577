import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from engines.zones.schema import Zone, ZoneSet
from pipeline.commands.overlay import BAR_HEIGHT, OverlayFiles, blank, draw_overlay, overlay_name
from pipeline.frames import (
    Decision,
    EngineName,
    FrameMeta,
    Judgement,
    Reason,
    Region,
    Timings,
    Verdict,
)
from pipeline.masks import run_lengths

META = FrameMeta("cam", 7, "part-7", 1, 2)


def judged(mask: np.ndarray, *regions: Region) -> Verdict:
    judgement = Judgement(
        judged=Decision.NG,
        score=0.8,
        normalised=0.7,
        threshold=0.5,
        pixel_threshold=0.5,
        regions=regions,
        mask=mask,
        engine=EngineName("protoad", "1", "0" * 64),
        timings=Timings(1.0, 1.0, 1.0, 1),
        worker="worker",
    )
    return Verdict("line", META, Decision.NG, None, judgement, "1-1")


def test_mask_is_marked_where_it_lies_and_the_rest_stays() -> None:
    mask = np.zeros((256, 256), np.bool_)
    mask[100:150, 60:90] = True
    pixels = blank(256, 256)
    drawn = draw_overlay(pixels, judged(mask))
    assert drawn.shape == (512 + BAR_HEIGHT, 512, 3)
    red = drawn[250, 150].astype(int)
    assert red[0] > red[1] + 20
    assert (drawn[400, 400] == pixels[0, 0]).all()
    assert (pixels == blank(256, 256)).all()


def test_map_is_cut_at_the_threshold_of_the_verdict() -> None:
    heat = np.zeros((64, 64), np.float32)
    heat[10:20, 10:20] = 0.6
    heat[40:50, 40:50] = 0.4
    empty = np.zeros((64, 64), np.bool_)
    from_map = draw_overlay(blank(64, 64), judged(empty), heat)
    from_mask = draw_overlay(blank(64, 64), judged(empty), heat > 0.5)
    assert (from_map == from_mask).all()
    assert (from_map != draw_overlay(blank(64, 64), judged(empty))).any()


@pytest.mark.parametrize("reason", Reason)
def test_unknown_part_is_drawn_without_judgement(reason: Reason) -> None:
    verdict = Verdict("line", META, Decision.UNKNOWN, reason, None, "1-1")
    assert draw_overlay(blank(256, 300), verdict).shape[2] == 3


@settings(max_examples=40)
@given(
    st.tuples(st.integers(1, 90), st.integers(1, 90)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.lists(st.tuples(*[st.integers(0, 500)] * 4), max_size=12),
)
def test_any_picture_mask_and_region_can_be_drawn(
    size: tuple[int, int], cells: tuple[int, int], boxes: list[tuple[int, int, int, int]]
) -> None:
    mask = np.ones(cells, np.bool_)
    regions = [Region(*box, area_px=1, peak=0.5) for box in boxes]
    drawn = draw_overlay(blank(*size), judged(mask, *regions))
    assert drawn.shape[0] > BAR_HEIGHT
    assert drawn.dtype == np.uint8


@given(npst.arrays(np.bool_, npst.array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_run_lengths_hold_the_whole_mask(mask: np.ndarray) -> None:
    runs = run_lengths(mask)
    flat = [bool(at % 2) for at, length in enumerate(runs["counts"]) for _ in range(length)]
    assert np.array_equal(np.array(flat).reshape(runs["size"]), mask)


@given(st.text("a/\\.\0ü ", max_size=200), st.text("b/..", max_size=200))
def test_overlay_names_stay_in_their_folder(camera: str, part: str) -> None:
    meta = dataclasses.replace(META, camera=camera, part_id=part)
    name = overlay_name(Verdict("line", meta, Decision.NG, None, None, "1-1"))
    assert "/" not in name
    assert "\0" not in name
    assert len(name) < 255
    assert name.endswith(".jpg")


def zoned(sha256: str) -> Verdict:
    plain = judged(np.zeros((64, 64), np.bool_))
    assert plain.judgement is not None
    return dataclasses.replace(
        plain, judgement=dataclasses.replace(plain.judgement, zones=sha256, zone="seal")
    )


ZONES = ZoneSet(zones=(Zone(name="seal", kind="inspect", points=((0, 0), (0.5, 0), (0.5, 1))),))


def test_zones_are_outlined_over_the_part() -> None:
    plain = draw_overlay(blank(64, 64), zoned(ZONES.sha256))
    drawn = draw_overlay(blank(64, 64), zoned(ZONES.sha256), zones=ZONES)
    assert (plain[:512, :256] != drawn[:512, :256]).any()
    assert (plain[:, 300:] == drawn[:, 300:]).all()


def test_zones_that_did_not_judge_a_part_are_not_drawn(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    written = []
    for name, sha256 in (("by", ZONES.sha256), ("other", "0" * 64), ("none", "")):
        overlays = OverlayFiles(tmp_path / name, None, ZONES)
        overlays.write(zoned(sha256))
        overlays.write(zoned(sha256))
        (file,) = (tmp_path / name).iterdir()
        written.append(file.read_bytes())
    assert written[0] != written[1] == written[2]
    assert [record.getMessage() for record in caplog.records] == ["overlay.other_zones"] * 2
