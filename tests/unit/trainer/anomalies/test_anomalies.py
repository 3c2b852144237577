"""The pieces that anomalies are made of."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.anomalies.augment import augment_source, bend, place, retone, shuffle_grid, to_grey
from trainer.anomalies.blend import changed_pixels, move_mask, paste, standing_out
from trainer.anomalies.foreground import find_foregrounds
from trainer.anomalies.noise import draw_noise_mask, make_noise_bank, perlin_noise
from trainer.anomalies.pose import find_likeness
from trainer.anomalies.regions import find_regions
from trainer.anomalies.shapes import draw_band, draw_blobs, draw_spots, draw_strokes
from trainer.anomalies.textures import KINDS, FolderTextures, ProceduralTextures
from trainer.errors import DatasetError
from trainer.results.sheets import draw_anomalies
from trainer.seen import SeenPictures

seeds = st.integers(0, 2**32)


def texture(side: int = 32, seed: int = 0) -> np.ndarray:
    return ProceduralTextures((side, side), seed, tiles=5).draw(np.random.default_rng(seed))


def discs(count: int, side: int = 48) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    disc = np.hypot(y - (side - 1) / 2, x - (side - 1) / 2) < side / 3
    clean = np.where(disc[..., None], 60, 220) + np.zeros(3)
    noise = np.random.default_rng(1).normal(0, 2, (count, side, side, 3))
    return np.clip(clean + noise, 0, 255).astype(np.uint8)


def striped(count: int, side: int = 48) -> np.ndarray:
    waves = 120 + 40 * np.sin(np.arange(side) * 1.3)[:, None, None]
    noise = np.random.default_rng(2).normal(0, 6, (count, side, side, 1))
    return np.clip(waves + noise + np.zeros(3), 0, 255).astype(np.uint8)


@given(seed=seeds, height=st.integers(2, 40), width=st.integers(2, 40), cells=st.integers(1, 8))
def test_perlin_noise_is_smooth_and_bounded(seed: int, height: int, width: int, cells: int) -> None:
    noise = perlin_noise(np.random.default_rng(seed), (height, width), (cells, 1))
    assert noise.shape == (height, width)
    assert noise.dtype == np.float32
    assert np.abs(noise).max() <= 1
    assert np.abs(np.diff(noise, axis=1)).max(initial=0) <= 5 / width + 1e-6  # slope of one cell


def test_perlin_noise_is_zero_at_grid_points_and_as_fine_as_asked() -> None:
    rng = np.random.default_rng(0)
    noise = perlin_noise(rng, (256, 256), (4, 32))
    assert np.abs(noise[::64]).mean() < np.abs(noise[32::64]).mean()
    crossings = [np.diff(np.sign(noise), axis=axis).astype(bool).mean() for axis in (0, 1)]
    assert crossings[1] > 3 * crossings[0]


@given(seed=seeds, height=st.integers(16, 50), width=st.integers(16, 50))
def test_shapes_have_the_size_of_the_picture(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    bank = make_noise_bank(rng, (height, width))
    masks = [draw_noise_mask(rng, bank), draw_blobs(rng, bank)]
    masks += [draw(rng, (height, width)) for draw in (draw_strokes, draw_spots, draw_band)]
    assert all(mask.shape == (height, width) and mask.dtype == np.bool_ for mask in masks)
    assert masks[2].mean() < 0.5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", [12, 45])
def test_texture_fields_are_finite_and_not_flat(kind: object, side: int) -> None:
    field = kind(np.random.default_rng(4), side)  # type: ignore[operator]
    assert field.shape == (side, side)
    assert np.isfinite(field).all()
    assert field.std() > 0


def test_procedural_textures_use_the_whole_range_and_repeat_by_seed() -> None:
    one, other = ProceduralTextures((32, 40), 3), ProceduralTextures((32, 40), 3)
    drawn = [one.draw(np.random.default_rng(seed)) for seed in range(40)]
    assert all(each.shape == (32, 40, 3) and each.dtype == np.uint8 for each in drawn)
    assert np.array_equal(drawn[7], other.draw(np.random.default_rng(7)))
    assert min(each.min() for each in drawn) < 30
    assert max(each.max() for each in drawn) > 225


def test_folder_textures_are_read_from_folders_within_and_bad_ones_left_out(
    tmp_path: Path,
) -> None:
    (tmp_path / "images" / "banded").mkdir(parents=True)
    picture = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "images" / "banded" / "one.png"), picture)
    (tmp_path / "images" / "broken.jpg").write_bytes(b"no picture")
    source = FolderTextures(tmp_path, (24, 32), 1)
    drawn = source.draw(np.random.default_rng(2))
    assert drawn.shape == (24, 32, 3)
    assert drawn.std() > 20
    with pytest.raises(DatasetError, match="no readable pictures of textures"):
        FolderTextures(tmp_path / "images" / "nothing", (24, 32), 1)


@given(beta=st.floats(0, 0.9), level=st.integers(0, 255))
def test_pasted_texture_changes_pixels_by_its_own_contrast(beta: float, level: int) -> None:
    """A source in 0..1 pasted into 0..255 would leave nothing of its contrast."""
    source = texture()
    base = np.full_like(source, level)
    mask = np.zeros((32, 32), np.bool_)
    mask[8:24, 8:24] = True
    pasted = paste(base, source, mask, beta, 0.0).astype(float)
    wanted = (1 - beta) * source.astype(float) + beta * level
    assert np.abs(pasted - wanted)[mask].max() <= 1
    assert np.array_equal(pasted[~mask], base[~mask])
    assert pasted[mask].std() == pytest.approx((1 - beta) * source[mask].std(), abs=0.5)


def test_changed_pixels_fill_gaps_within_the_mask_only() -> None:
    base = np.full((20, 20, 3), 100, np.uint8)
    frame = base.copy()
    frame[5:15, 5:15] = 180
    frame[9:11, 9:11] = 100
    mask = np.zeros((20, 20), np.bool_)
    mask[5:15, 5:15] = True
    assert np.array_equal(changed_pixels(base, frame, mask), mask)
    frame[5:15, 5:15] = 104
    assert not changed_pixels(base, frame, mask).any()


def test_another_piece_of_a_rough_surface_does_not_stand_out(rng: np.random.Generator) -> None:
    rough = np.clip(rng.normal(128, 60, (2, 64, 64, 1)) + np.zeros(3), 0, 255).astype(np.uint8)
    mask = np.zeros((64, 64), np.bool_)
    mask[16:48, 16:48] = True
    roughness = find_likeness(rough).roughness
    swapped = paste(rough[0], rough[1], mask, 0.0, 0.0)
    darker = paste(rough[0], retone(rng, rough[0], 40.0), mask, 0.0, 0.0)
    assert not standing_out(rough[0], swapped, mask, roughness).any()
    assert np.array_equal(standing_out(rough[0], darker, mask, roughness), mask)


def test_only_the_pieces_that_stand_out_are_kept() -> None:
    base = np.full((40, 40, 3), 100, np.uint8)
    frame, mask = base.copy(), np.zeros((40, 40), np.bool_)
    mask[4:12, 4:12] = mask[20:30, 20:30] = True
    frame[4:12, 4:12], frame[20:30, 20:30] = 160, 101
    kept = standing_out(base, frame, mask, 1.0)
    assert kept[4:12, 4:12].all()
    assert kept.sum() == 64


@given(seed=seeds)
def test_source_changes_keep_size_and_type(seed: int) -> None:
    rng = np.random.default_rng(seed)
    picture = texture(33, 1)
    before = picture.copy()
    for changed in (
        augment_source(rng, picture),
        shuffle_grid(rng, picture),
        bend(rng, picture, 3.0),
        to_grey(picture),
    ):
        assert changed.shape == picture.shape
        assert changed.dtype == np.uint8
    assert np.array_equal(picture, before)


def test_shuffling_a_grid_keeps_every_pixel(rng: np.random.Generator) -> None:
    picture = texture(32, 2)
    shuffled = shuffle_grid(rng, picture)
    assert not np.array_equal(shuffled, picture)
    assert np.array_equal(np.sort(shuffled.reshape(-1, 3), 0), np.sort(picture.reshape(-1, 3), 0))


@given(angle=st.floats(-180, 180), scale=st.floats(0.5, 2))
def test_placing_sends_the_centre_to_the_target_and_keeps_angles(
    angle: float, scale: float
) -> None:
    matrix = place((3.0, 5.0), (20.0, 11.0), angle, (scale, -scale))
    assert matrix @ (3.0, 5.0, 1.0) == pytest.approx((20.0, 11.0))
    assert matrix[:, :2] @ matrix[:, :2].T == pytest.approx(scale**2 * np.eye(2), abs=1e-9)


def test_moved_mask_does_not_come_in_at_the_other_side() -> None:
    mask = np.zeros((6, 6), np.bool_)
    mask[1, 4] = mask[4, 1] = True
    moved = move_mask(mask, 1, 2)
    assert list(zip(*np.nonzero(moved), strict=True)) == [(5, 3)]


def test_objects_have_a_foreground_and_textures_have_none() -> None:
    found = find_foregrounds(discs(5))
    assert found is not None
    assert found.mean() == pytest.approx(np.pi / 9, abs=0.03)
    assert found[:, 24, 24].all()
    assert not found[:, 0].any()
    assert find_foregrounds(striped(5)) is None
    noise = np.random.default_rng(0).integers(0, 256, (5, 48, 48, 3), np.uint8)
    assert find_foregrounds(noise) is None


def test_likeness_tells_grain_roughness_and_colour() -> None:
    round_parts, surface = find_likeness(discs(6)), find_likeness(striped(6))
    assert round_parts.turns
    assert not surface.turns
    assert round_parts.roughness < 2
    coloured = discs(3)
    coloured[..., 0] = 200
    assert surface.grey
    assert not find_likeness(coloured).grey


def test_regions_are_whole_anomalies_and_their_large_pieces() -> None:
    masks = np.zeros((3, 48, 48), np.bool_)
    masks[0, 20:26, 20:26] = masks[0, 28:32, 14:22] = True
    masks[0, 40, 40] = True  # a crumb
    masks[1, 22:27, 22:27] = True
    regions = find_regions(discs(3), masks, objects=False)
    assert [region.pixels for region in regions] == [69, 36, 32, 25]
    assert regions[3].centre == (24.5, 24.5)


def test_region_on_a_part_takes_no_background_along() -> None:
    masks = np.zeros((1, 48, 48), np.bool_)
    masks[0, 22:27, 30:41] = True  # over the outline of the disc
    masks[0, 22:27, 24:40] = True
    (region,) = find_regions(discs(1), masks, objects=True)
    assert region.on_part == (region.pixels < masks.sum())


@pytest.mark.parametrize("count", [0, 2])
def test_sheet_has_a_column_for_each_kind_there_is(count: int) -> None:
    seen = discs(count)
    masks = np.zeros(seen.shape[:3], np.bool_)
    masks[:, 20:28, 20:28] = True
    seen[masks] = 250
    textures = ProceduralTextures((48, 48), 1, tiles=4)
    sheet = draw_anomalies(discs(6), SeenPictures(seen, masks), textures, 3, 1)
    assert sheet.shape == (20 + 3 * 48, (5 + 2 * bool(count)) * 48, 3)
