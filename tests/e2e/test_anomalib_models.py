"""Untrained models of anomalib by its own exporter, on our engines: each judges as it did there."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes.places import PROGRAMS

from engines.conversion.foreign.options import ImportOptions
from engines.conversion.onnx_import import import_model
from engines.open import open_engine

NAMES = (
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

# all exports in one process of one test worker: loading anomalib takes longer than many an export
pytestmark = [pytest.mark.xdist_group("anomalib_models"), pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a folder for each model."""
    folder: Path = tmp_path_factory.mktemp("anomalib_models")
    program = PROGRAMS / "anomalib_models.py"
    subprocess.run([sys.executable, program, folder], check=True, timeout=800)
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_model_judges_on_the_line_as_in_anomalib(exported: Path, name: str) -> None:
    said = np.load(exported / name / "said.npz")
    frames = said["frames"]
    engine = exported / name / "engine.onnx"
    options = ImportOptions(size=frames.shape[1:3])
    manifest = import_model(exported / name / "model.onnx", engine, options)
    assert manifest.max_batch == (1 if name in FIXED_BATCH else 32)
    size = (frames.shape[2], frames.shape[1])
    maps = [cv2.resize(each, size, interpolation=cv2.INTER_LINEAR) for each in said["maps"]]
    with open_engine(engine, "onnxruntime") as opened:
        for place, frame in enumerate(frames):
            got = opened.engine.score(frame[None])
            assert np.isclose(got.score[0], said["scores"][place], atol=1e-3)  # other sums
            assert np.allclose(got.maps[0], maps[place], atol=2e-3)
    assert np.ptp(said["maps"]) > 0.1  # there is something to compare
