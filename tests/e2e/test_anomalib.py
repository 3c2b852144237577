"""Models by the exporter of anomalib, trained ones and untrained ones, on our engines."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes.places import PROGRAMS

from engines.admission.admit import admit
from engines.conversion.foreign.options import ImportOptions
from engines.conversion.onnx_import import import_model
from engines.errors import ManifestError
from engines.open import Backend, Runtime, open_engine

PROGRAM = PROGRAMS / "anomalib_export.py"
UNTRAINED = (
    "stfpm",
    "fastflow",
    "reverse_distillation",
    "cflow",
    "supersimplenet",
    "dfm",
    "fre",
    "glass",
)
FIXED_BATCH = {"dfm", "fre", "glass"}  # which this exporter fixes at two frames


@pytest.fixture(scope="module", params=["padim", "patchcore"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with model.onnx, its weights, and what anomalib says of some frames."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    subprocess.run([sys.executable, PROGRAM, request.param, folder], check=True, timeout=240)
    return folder


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_model_says_on_the_line_what_it_says_in_anomalib(exported: Path, backend: Backend) -> None:
    said = np.load(exported / "said.npz")
    frames = said["frames"]
    assert (exported / "model.onnx.data").is_file()  # the exporter keeps weights apart
    engine = exported / backend / "engine.onnx"
    import_model(exported / "model.onnx", engine, ImportOptions(size=frames.shape[1:3]))
    with open_engine(engine, backend) as opened:
        got = opened.engine.score(frames)
        assert np.ptp(said["scores"]) > 0.01  # it tells good parts from bad ones
        assert np.allclose(got.score, said["scores"], atol=1e-4)  # another order of sums
        assert np.allclose(got.maps, said["maps"], atol=1e-4)
    assert admit(engine, exported / "parts", Runtime(backend), repeats=1).admitted


def test_weights_that_were_not_copied_are_named(exported: Path, tmp_path: Path) -> None:
    alone = tmp_path / "model.onnx"
    alone.write_bytes((exported / "model.onnx").read_bytes())
    with pytest.raises(ManifestError, match=r"weights in model\.onnx\.data, which is not beside"):
        import_model(alone, tmp_path / "engine.onnx", ImportOptions(size=(80, 96)))


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a folder for each model."""
    folder: Path = tmp_path_factory.mktemp("anomalib_models")
    program = PROGRAMS / "anomalib_models.py"
    subprocess.run([sys.executable, program, folder], check=True, timeout=800)
    return folder


# all exports in one process of one test worker: loading anomalib takes longer than many an export
@pytest.mark.xdist_group("anomalib_models")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", UNTRAINED)
def test_untrained_model_judges_on_the_line_as_in_anomalib(untrained: Path, name: str) -> None:
    said = np.load(untrained / name / "said.npz")
    frames = said["frames"]
    engine = untrained / name / "engine.onnx"
    options = ImportOptions(size=frames.shape[1:3])
    manifest = import_model(untrained / name / "model.onnx", engine, options)
    assert manifest.max_batch == (1 if name in FIXED_BATCH else 32)
    size = (frames.shape[2], frames.shape[1])
    maps = [cv2.resize(each, size, interpolation=cv2.INTER_LINEAR) for each in said["maps"]]
    with open_engine(engine, "onnxruntime") as opened:
        for place, frame in enumerate(frames):
            got = opened.engine.score(frame[None])
            assert np.isclose(got.score[0], said["scores"][place], atol=1e-3)  # other sums
            assert np.allclose(got.maps[0], maps[place], atol=2e-3)
    assert np.ptp(said["maps"]) > 0.1  # there is something to compare
