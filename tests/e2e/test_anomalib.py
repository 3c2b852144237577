"""Models that anomalib itself has learned and exported, on our engines."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fakes.places import PROGRAMS

from engines.admission.admit import admit
from engines.conversion.foreign.options import ImportOptions
from engines.conversion.onnx_import import import_model
from engines.errors import ManifestError
from engines.open import Backend, Runtime, open_engine

PROGRAM = PROGRAMS / "anomalib_export.py"


@pytest.fixture(scope="module", params=["padim", "patchcore"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with model.onnx, its weights, and what anomalib says of some frames."""
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
