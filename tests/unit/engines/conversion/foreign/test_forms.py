"""Models of other projects: served as they judge there, or refused in one sentence."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from inputs.foreign_models import BYTE, HALF, SIDE, branching_model, bright_model
from onnx import TensorProto

from engines.admission.admit import admit
from engines.conversion.foreign.options import ImportOptions
from engines.conversion.onnx_import import import_model
from engines.errors import ManifestError
from engines.manifest import Manifest
from engines.open import open_engine

BY_HAND = {"image_threshold": 0.5, "pixel_threshold": 0.5}


def frames(count: int = 3, most: int = 256) -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.integers(0, most, (count, SIDE, SIDE, 3), dtype=np.uint8)


def brightness(pixels: np.ndarray) -> np.ndarray:
    """What the models see: [N, H, W] in 0..1."""
    return pixels.mean(axis=3) / 255


def imported(source: Path, **options: object) -> tuple[Manifest, np.ndarray, np.ndarray]:
    """Import a model and return its manifest and what it says of `frames()`."""
    engine = source.with_name("engine.onnx")
    manifest = import_model(source, engine, ImportOptions(**options))
    with open_engine(engine, "onnxruntime") as opened:
        answer = opened.engine.score(frames())
        return manifest, answer.score.copy(), answer.maps.copy()


def good_pictures(folder: Path, most: int = 100) -> Path:
    folder.mkdir()
    for number, picture in enumerate(frames(20, most)):
        cv2.imwrite(str(folder / f"{number:02}.png"), picture)
    return folder


@pytest.mark.parametrize("map_layout", ["nchw", "nhwc", "nhw"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_layouts_are_read_from_the_shapes(tmp_path: Path, layout: str, map_layout: str) -> None:
    source = bright_model(tmp_path / "model.onnx", layout=layout, map_layout=map_layout)
    _, score, maps = imported(source)
    wanted = brightness(frames())
    assert np.allclose(maps, wanted, atol=1e-5)
    assert np.allclose(score, wanted.max(axis=(1, 2)) / 2, atol=1e-5)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_bytes_are_fed_as_they_come(tmp_path: Path, layout: str) -> None:
    source = bright_model(tmp_path / "model.onnx", element=BYTE, layout=layout, gain=1 / 255)
    manifest, _, maps = imported(source)
    assert np.allclose(maps, brightness(frames()), atol=1e-5)
    assert "uint8" in str(manifest.settings["input"])
    with pytest.raises(ManifestError, match=r"uint8 frames, which are 0..255 as they come"):
        imported(source, input_scale=1.0)


def test_half_precision_is_served_in_float32(tmp_path: Path) -> None:
    _, score, maps = imported(bright_model(tmp_path / "model.onnx", element=HALF))
    assert maps.dtype == score.dtype == np.float32
    assert np.allclose(maps, brightness(frames()), atol=2e-3)  # ten bits of half precision


@pytest.mark.parametrize("operator", ["If", "Loop"])
def test_inner_graphs_keep_what_they_read_of_the_outer_one(tmp_path: Path, operator: str) -> None:
    _, score, maps = imported(branching_model(tmp_path / "model.onnx", operator))
    wanted = brightness(frames()) / 2
    assert np.allclose(maps, wanted, atol=1e-5)
    assert np.allclose(score, wanted.max(axis=(1, 2)), atol=1e-5)


def test_only_output_with_one_value_a_frame_is_the_score_and_is_named(tmp_path: Path) -> None:
    source = bright_model(tmp_path / "model.onnx", names=("output", "565"))
    manifest, score, _ = imported(source, input_scale=1.0, **BY_HAND)
    assert np.allclose(score, brightness(frames()).max(axis=(1, 2)) / 2, atol=1e-5)
    assert str(manifest.settings["score"]).startswith("'565'")
    assert str(manifest.settings["map"]).startswith("'output' float32 [1, 16, 16]")
    _, peak, _ = imported(source, input_scale=1.0, score="peak", **BY_HAND)
    assert np.allclose(peak, 2 * score, atol=1e-5)


def test_fixed_batch_of_two_gets_every_frame_twice(tmp_path: Path) -> None:
    source = bright_model(tmp_path / "model.onnx", batch=2)
    engine = source.with_name("engine.onnx")
    manifest = import_model(source, engine, ImportOptions())
    assert manifest.max_batch == 1
    assert "each frame 2 times" in str(manifest.settings["input"])
    with open_engine(engine, "onnxruntime") as opened:
        for frame in frames():
            answer = opened.engine.score(frame[None])
            assert np.allclose(answer.maps, brightness(frame[None]), atol=1e-5)
            assert np.allclose(answer.score, brightness(frame[None]).max() / 2, atol=1e-5)


def test_model_without_a_map_is_refused(tmp_path: Path) -> None:
    source = bright_model(tmp_path / "model.onnx")
    model = onnx.load(source)
    del model.graph.output[0]
    onnx.save(model, source)
    with pytest.raises(ManifestError, match=r"has no anomaly map among .* cannot show where"):
        imported(source)


def test_unused_outputs_are_named(tmp_path: Path) -> None:
    source = bright_model(tmp_path / "model.onnx")
    manifest, _, _ = imported(source, score="peak")
    assert manifest.settings["unused"] == "'pred_score'"


def test_input_range_is_asked_for_and_changes_what_the_model_sees(tmp_path: Path) -> None:
    source = bright_model(tmp_path / "model.onnx", names=("output", "565"), gain=1 / 255)
    with pytest.raises(ManifestError, match=r"--input-scale 1 for 0..1, --input-scale 255"):
        imported(source)
    _, _, maps = imported(source, input_scale=255.0, **BY_HAND)
    assert np.allclose(maps, brightness(frames()), atol=1e-5)


def test_thresholds_are_asked_for(tmp_path: Path) -> None:
    source = bright_model(tmp_path / "model.onnx", names=("output", "565"))
    with pytest.raises(ManifestError, match=r"--image-threshold and --pixel-threshold$"):
        imported(source, input_scale=1.0)


def test_one_of_several_channels_is_asked_for(tmp_path: Path) -> None:
    source = bright_model(tmp_path / "model.onnx", channels=2, score=False)
    with pytest.raises(ManifestError, match=r"has 2 channels.*--map-channel 0 to 1$"):
        imported(source)
    with pytest.raises(ManifestError, match=r"--map-channel 0 to 1$"):
        imported(source, map_channel=2)
    _, score, maps = imported(source, map_channel=1)
    wanted = brightness(frames())
    assert np.allclose(maps, wanted, atol=1e-5)
    assert np.allclose(score, wanted.max(axis=(1, 2)), atol=1e-5)


def test_model_without_shapes_is_served_once_its_layout_is_said(tmp_path: Path) -> None:
    source = bright_model(tmp_path / "model.onnx", shapes=False)
    with pytest.raises(ManifestError, match="--input-layout nchw or nhwc"):
        imported(source, size=(SIDE, SIDE))
    _, _, maps = imported(source, size=(SIDE, SIDE), layout="nchw")
    assert np.allclose(maps, brightness(frames()), atol=1e-5)


@pytest.mark.parametrize(("gain", "offset"), [(40.0, 0.0), (255.0, 0.0), (1.0, -2.0)])
def test_raw_map_is_refused_until_its_range_is_given(
    tmp_path: Path, gain: float, offset: float
) -> None:
    source = bright_model(tmp_path / "model.onnx", gain=gain, offset=offset)
    with pytest.raises(ManifestError, match=r"--good-images, or set its range with --map-range"):
        imported(source)
    manifest, score, maps = imported(source, map_range=(offset, offset + gain), **BY_HAND)
    wanted = brightness(frames())
    assert np.allclose(maps, wanted, atol=1e-5)
    assert np.allclose(score, (gain * wanted.max(axis=(1, 2)) + offset) / 2, atol=1e-3)
    assert "becomes 0..1" in str(manifest.settings["map"])
    assert admit(source.with_name("engine.onnx"), None, repeats=1).admitted


@pytest.mark.parametrize(("gain", "offset"), [(40.0, 0.0), (1e-4, 0.0), (1.0, -2.0)])
def test_raw_map_is_calibrated_on_good_pictures(tmp_path: Path, gain: float, offset: float) -> None:
    source = bright_model(tmp_path / "model.onnx", gain=gain, offset=offset)
    good = good_pictures(tmp_path / "good")
    manifest, score, maps = imported(source, good_images=good, false_reject_rate=0.1)
    bright = brightness(frames())
    order = np.argsort(bright, axis=None)
    above = np.sort(bright, axis=None) > brightness(frames(20, 100)).min()
    assert (np.diff(maps.ravel()[order][above]) > -1e-5).all()  # ranks stay, but for rounding
    assert len(np.unique(maps)) > 0.9 * len(np.unique(bright[bright > 0.1]))
    thresholds = manifest.thresholds
    assert (thresholds.normals, thresholds.false_reject_rate) == (20, 0.1)
    assert (score > thresholds.image).all()  # far brighter than the good ones
    assert (maps.max(axis=(1, 2)) > thresholds.pixel).all()
    with open_engine(source.with_name("engine.onnx"), "onnxruntime") as opened:
        answer = opened.engine.score(frames(20, 100))
        assert (answer.score > thresholds.image).mean() <= 0.1
        assert np.isclose(np.median(answer.maps.max(axis=(1, 2))), thresholds.pixel, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "options", "words"),
    [
        ({"element": TensorProto.INT32}, {}, r"takes 'input', int32 \[\?, 3, 16, 16\], expected"),
        ({}, {"layout": "nhwc"}, "not nhwc"),
        ({}, {"score": "anomaly_map"}, "expected one float a frame"),
        ({}, {"map": "pred_score"}, "expected a map"),
        ({}, {"score": "565"}, "has no output '565'"),
        ({}, {"map_range": (1.0, 0.0)}, "the lower value first"),
        ({"gain": float("nan")}, {}, "returns no finite number"),
        ({"gain": 0.0, "offset": 0.3}, {}, "is 0.3 everywhere on every frame"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(
    tmp_path: Path, changes: dict[str, object], options: dict[str, object], words: str
) -> None:
    source = bright_model(tmp_path / "model.onnx", **changes)
    with pytest.raises(ManifestError, match=words) as raised:
        imported(source, **options)
    assert "\n" not in str(raised.value)
    assert "\x1b" not in str(raised.value)
    assert not source.with_name("engine.onnx").exists()


def test_model_that_does_not_run_says_so_in_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    source = bright_model(tmp_path / "model.onnx", element=HALF)
    content = source.read_bytes()
    source.write_bytes(content.replace(b"Flatten", b"Flotten"))
    with pytest.raises(ManifestError, match=r"model\.onnx") as raised:
        imported(source)
    assert "\n" not in str(raised.value)
    assert capfd.readouterr().err == ""


def cut_off_engine(tmp_path: Path, **changes: float) -> Path:
    """Import a model whose map the given range cuts off."""
    source = bright_model(tmp_path / "model.onnx", **changes)
    engine = tmp_path / "engine.onnx"
    import_model(source, engine, ImportOptions(map_range=(0.0, 1.0), **BY_HAND))
    return engine


@pytest.mark.parametrize(
    ("gain", "offset", "words"),
    [(40.0, 0.0, "are clipped at 1"), (1.0, -2.0, "is 0 everywhere on all 20 frames")],
)
def test_admission_refuses_a_map_that_shows_nothing(
    tmp_path: Path, gain: float, offset: float, words: str
) -> None:
    engine = cut_off_engine(tmp_path, gain=gain, offset=offset)
    report = admit(engine, good_pictures(tmp_path / "good", 256), repeats=1)
    assert not report.admitted
    assert any(words in reason for reason in report.reasons)


def test_admission_takes_a_map_that_is_cut_off_in_places(tmp_path: Path) -> None:
    engine = cut_off_engine(tmp_path, gain=2.5)
    assert admit(engine, good_pictures(tmp_path / "good", 200), repeats=1).admitted
