"""Compiling elsewhere: what comes out of it scores as what is compiled here."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from inputs.onnx_graphs import small_graph, write_graph

from engines.errors import BackendError
from engines.open import open_engine
from engines.precompile import prepare


def test_engine_that_was_compiled_elsewhere_scores_the_same(tmp_path: Path) -> None:
    path = tmp_path / "small.onnx"
    write_graph(path, small_graph(33, 31), 33, 31)
    prepared = prepare(path, "auto", "auto", 1)
    assert prepared is not None
    frames = np.random.default_rng(3).integers(0, 256, (3, 33, 31, 3), dtype=np.uint8)
    with (
        open_engine(path, threads=1) as here,
        open_engine(path, threads=1, prepared=prepared) as elsewhere,
    ):
        assert elsewhere.backend == here.backend
        own, other = here.engine.score(frames), elsewhere.engine.score(frames)
        np.testing.assert_array_equal(own.score, other.score)
        np.testing.assert_array_equal(own.maps, other.maps)
        assert own.nearest is not None
        assert other.nearest is not None
        np.testing.assert_array_equal(own.nearest, other.nearest)


def test_engine_that_cannot_be_compiled_is_left_to_whoever_asked(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "small.onnx"
    write_graph(path, small_graph(32, 32), 32, 32)
    path.write_bytes(b"spoilt")
    assert prepare(path, "auto", "auto", 1) is None
    assert [record.msg for record in caplog.records] == ["engine.not_prepared"]


def test_other_process_does_not_outlive_the_one_that_asked() -> None:
    code = "import time; from engines.precompile import end_with_parent as e; e(); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.close()
        try:
            assert process.wait(20) == 1
        finally:
            process.kill()


@pytest.mark.parametrize(("name", "backend"), [("a.fixed", "auto"), ("a.onnx", "onnxruntime")])
def test_what_is_not_compiled_for_this_cpu_needs_no_other_process(name: str, backend: str) -> None:
    assert prepare(Path(name), backend, "auto", 1) is None  # type: ignore[arg-type]


def test_what_is_no_compiled_engine_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "small.onnx"
    write_graph(path, small_graph(32, 32), 32, 32)
    with pytest.raises(BackendError, match="cannot take"):
        open_engine(path, prepared=b"no engine")
