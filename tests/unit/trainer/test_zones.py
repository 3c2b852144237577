"""Zones in a training: whose pixels teach, calibrate and count."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engines.errors import ZoneError
from engines.zones.draw import draw_zones
from trainer.anomalies.synthesis import IGNORED, AnomalyKinds, Synthesis
from trainer.anomalies.textures import open_textures
from trainer.dataset import GOOD, Pictures, Sample
from trainer.errors import DatasetError
from trainer.export.calibrate import HeldOutDefects, calibrate
from trainer.results.evaluation import ScoredPictures, evaluate
from trainer.results.metrics import pixel_figures
from trainer.results.within_zones import within_zones
from trainer.seen import SeenPictures
from trainer.training.training_step import map_loss
from trainer.zones import PictureZones, open_zones

SIZE = (64, 64)
LEFT = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]


def write(folder: Path, **fields: object) -> Path:
    path = folder / "zones.json"
    zone: dict[str, Any] = {"name": "screw", "kind": "ignore", "points": LEFT, **fields}
    size = zone.pop("size", None)
    path.write_text(json.dumps({"size": size, "zones": [zone]}))
    return path


@pytest.fixture
def zones(tmp_path: Path) -> PictureZones:
    opened = open_zones(write(tmp_path), "", "", SIZE)
    assert opened is not None
    return opened


def scored(kinds: list[str], maps: np.ndarray, masks: np.ndarray) -> ScoredPictures:
    samples = tuple(Sample(f"{kind}/{n}.png", Path(), kind) for n, kind in enumerate(kinds))
    pixels = np.zeros((len(kinds), *SIZE, 3), np.uint8)
    pictures = Pictures(samples, pixels, (), ("",) * len(kinds), (SIZE,) * len(kinds))
    return ScoredPictures(pictures, maps.max(axis=(1, 2)), maps, tuple(masks))


def spots(*columns: int, value: float = 0.9) -> np.ndarray:
    maps = np.full((len(columns), *SIZE), 0.1, np.float32)
    for anomaly_map, column in zip(maps, columns, strict=True):
        anomaly_map[20:24, column : column + 4] = value
    return maps


def test_cameras_are_asked_for_where_zones_name_them(tmp_path: Path) -> None:
    path = write(tmp_path, cameras=["top", "side"])
    with pytest.raises(
        ZoneError, match="name the cameras side, top: choose the camera with --zones-camera"
    ):
        open_zones(path, "", "", SIZE)
    with pytest.raises(ZoneError, match="no zone names camera 'tpo': zones name side, top"):
        open_zones(path, "tpo", "", SIZE)
    assert open_zones(path, "top", "", SIZE) is not None
    with pytest.raises(ZoneError, match="need --zones: pass it too"):
        open_zones(None, "top", "", SIZE)
    assert open_zones(None, "", "", SIZE) is None


def test_zones_in_pixels_fit_pictures_of_their_size_only(tmp_path: Path) -> None:
    corners = [[0, 0], [50, 0], [50, 40], [0, 40]]
    opened = open_zones(write(tmp_path, points=corners, size=[80, 100]), "", "", SIZE)
    assert opened is not None
    opened.check_shape("a.png", (80, 100))
    with pytest.raises(DatasetError, match=r"pictures of 80x100 .*, a\.png has 100x80: draw them"):
        opened.check_shape("a.png", (100, 80))


def test_patches_count_where_most_of_them_is_inspected(zones: PictureZones) -> None:
    assert zones.patches(16).reshape(4, 4)[1].tolist() == [False, False, True, True]


def test_peak_threshold_is_the_rule_of_the_image_threshold_on_inspected_peaks(
    zones: PictureZones,
) -> None:
    maps = np.concatenate([spots(*[10] * 9), spots(50, value=0.3)])  # nine hot where ignored
    scores = np.linspace(0, 1, 10, dtype=np.float32)
    whole = calibrate(scores, maps, 0.2)
    inside = calibrate(scores, maps, 0.2, zones=zones.pixels)
    assert whole.peak == pytest.approx(0.9)
    assert inside.peak == pytest.approx(0.1)
    assert inside.pixel == pytest.approx(0.1)
    assert whole.image == inside.image
    assert inside.method.endswith(f"in the zones {zones.zones.sha256[:12]}")


def test_held_out_defects_in_ignored_pixels_do_not_calibrate(zones: PictureZones) -> None:
    normals = spots(*[50] * 10, value=0.2)
    made = spots(10, 50, value=0.8)
    defects = HeldOutDefects(made.max(axis=(1, 2)), made, made > 0.5)
    kept = HeldOutDefects(*(each[1:] for each in (defects.scores, defects.maps, defects.masks)))
    scores = normals.max(axis=(1, 2))
    both = calibrate(scores, normals, 0.01, defects, zones=zones.pixels)
    one = calibrate(scores, normals, 0.01, kept, zones=zones.pixels)
    assert both == one


def test_figures_leave_ignored_pixels_and_defects_out(zones: PictureZones) -> None:
    maps = spots(10, 10, 50, 10)
    masks = np.zeros(maps.shape, np.bool_)
    masks[1], masks[2] = maps[1] > 0.5, maps[2] > 0.5
    kinds = [GOOD, "scratch", "scratch", GOOD]
    judged = within_zones(scored(kinds, maps, masks), zones)
    figures = evaluate(judged, 0.5, 0.5)
    assert judged.ignored == figures.ignored == ("scratch/1.png",)
    assert judged.scores.tolist() == pytest.approx([0.1, 0.9, 0.1])
    assert figures.pictures == 3
    assert (figures.plant.escapes.count, figures.plant.false_rejects.count) == (0, 0)
    assert figures.overlap == 1.0


def test_ignored_pixels_are_no_easy_negatives() -> None:
    maps = np.random.default_rng(0).random((2, 8, 8), np.float32)
    masks = np.zeros(maps.shape, np.bool_)
    masks[1, 2, 4:] = True
    inspected = np.zeros((8, 8), np.bool_)
    inspected[:, 4:] = True
    within = pixel_figures(maps, masks, inspected=inspected)
    cut = pixel_figures(maps[:, :, 4:], masks[:, :, 4:])
    assert within == cut


def test_every_test_picture_ignored_is_refused(zones: PictureZones) -> None:
    maps = spots(10)
    with pytest.raises(DatasetError, match="every test picture is a defect in an ignored zone"):
        within_zones(scored(["dent"], maps, maps > 0.5), zones)


def test_loss_takes_nothing_of_ignored_pixels() -> None:
    rng = np.random.default_rng(1)
    logits = torch.from_numpy(rng.normal(size=(2, 8, 8)).astype(np.float32)).requires_grad_()
    masks = torch.zeros(2, 8, 8)
    masks[:, 2:4, 5:7] = 1
    zoned = masks.clone()
    zoned[:, :, :4] = float(IGNORED)
    loss = map_loss(logits, zoned).total
    assert loss.item() == pytest.approx(map_loss(logits[:, :, 4:], masks[:, :, 4:]).total.item())
    (gradient,) = torch.autograd.grad(loss, [logits])
    assert not gradient[:, :, :4].any()
    assert gradient[:, :, 4:].any()


def test_anomalies_are_made_where_it_is_inspected(zones: PictureZones) -> None:
    rng = np.random.default_rng(2)
    normals = rng.integers(90, 130, (6, *SIZE, 3)).astype(np.uint8)
    seen_masks = np.zeros((2, *SIZE), np.bool_)
    seen_masks[:, 20:40, 20:44] = True
    seen_pixels = np.where(seen_masks[..., None], np.uint8(230), normals[:2])
    seen = SeenPictures(seen_pixels, seen_masks)
    textures = open_textures(None, SIZE, 1)

    def made(inspected: np.ndarray | None) -> Synthesis:
        return Synthesis(normals, seen, textures, AnomalyKinds(), 16, 1, None, inspected)

    marked = 0
    for step in range(4):
        batch = made(zones.inspected).batch(step)
        plain = batch.normals >= 0
        assert (batch.masks[plain][:, ~zones.inspected] == IGNORED).all()
        for frame, normal in zip(batch.frames[plain], batch.normals[plain], strict=True):
            outside = ~zones.inspected
            assert np.array_equal(frame[outside], normals[normal][outside])
        marked += int((batch.masks > 0).any(axis=(1, 2)).sum())
    assert marked >= 4 * 6  # of 4 x 8 anomalies
    assert (made(None).batch(0).masks >= 0).all()


def test_drawn_zones_leave_the_rest_of_a_picture_as_it_is(zones: PictureZones) -> None:
    picture = np.full((*SIZE, 3), 100, np.uint8)
    draw_zones(picture, zones.zones, "")
    assert (picture[:, 40:] == 100).all()
    assert (picture[:, :30] != 100).any()
