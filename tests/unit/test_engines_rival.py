"""What an engine of 8 bits must outrun, and by which clock."""

import io
import json
import time
from pathlib import Path

import numpy as np
import pytest
from onnx_graphs import small_graph, write_graph
from rich.console import Console

from engines.admit import admit
from engines.cost import measure_gain
from engines.engine import Scores
from engines.errors import AdmissionError
from engines.manifest import (
    Manifest,
    file_sha256,
    manifest_path,
    parse_manifest,
    read_manifest,
    write_manifest,
)
from engines.open import Runtime
from engines.rival import LEAST_GAIN, LEAST_PLAN_GAIN, find_rival
from engines.tables import admission_report

SIZE = (31, 33)
ON_A_GPU = Runtime("tensorrt", "cuda:1", 3)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "small.onnx"
    write_graph(path, small_graph(*SIZE), *SIZE)
    return path


def write_plan(source: Path, name: str, precision: str, **changes: str) -> tuple[Path, Manifest]:
    """A file that no TensorRT reads, with the manifest of a plan."""
    path = source.with_name(name)
    path.write_bytes(name.encode())
    of_source = read_manifest(source)
    fields = {
        "sha256": file_sha256(path),
        "format": "tensorrt",
        "device": "a card, sm_89",
        "precision": precision,
        "built_from": of_source.sha256,
    }
    manifest = of_source.model_copy(update=fields | changes)
    write_manifest(path, manifest)
    return path, manifest


def test_plan_of_eight_bits_is_not_admitted_without_a_rival(source: Path) -> None:
    plan, _ = write_plan(source, "eight.plan", "int8")
    before = manifest_path(plan).read_bytes()
    with pytest.raises(AdmissionError, match=r"eight\.plan is a plan of 8 bits.* --rival"):
        admit(plan, None)
    assert manifest_path(plan).read_bytes() == before


@pytest.mark.parametrize(
    ("precision", "changes", "words"),
    [
        ("int8", {}, "is of 8 bits itself"),
        ("fp16", {"format": "tensorrt_rtx"}, "is tensorrt_rtx, not tensorrt"),
        ("fp16", {"built_from": "0" * 64}, "was built from another ONNX file"),
    ],
)
def test_rival_that_does_not_fit_is_refused(
    source: Path, precision: str, changes: dict[str, str], words: str
) -> None:
    plan, _ = write_plan(source, "eight.plan", "int8")
    other, _ = write_plan(source, "other.plan", precision, **changes)
    with pytest.raises(AdmissionError, match=rf"other\.plan {words}, .*engine-build"):
        admit(plan, None, rival=other)


def test_plan_is_to_outrun_one_of_more_bits_on_the_same_gpu(source: Path) -> None:
    plan, manifest = write_plan(source, "eight.plan", "int8")
    half, _ = write_plan(source, "half.plan", "fp16")
    rival = find_rival(plan, manifest, half, source, ON_A_GPU)
    assert rival is not None
    assert (rival.path, rival.runtime, rival.clock) == (half, ON_A_GPU, "wall")
    assert rival.least_gain == LEAST_PLAN_GAIN
    assert rival.name == "half.plan in fp16, wall time"


def test_engine_for_a_cpu_is_to_outrun_float32_on_the_same_cores(source: Path) -> None:
    eight = source.with_name("eight.onnx")
    manifest = write_graph(eight, small_graph(*SIZE), *SIZE, precision="int8")
    rival = find_rival(eight, manifest, None, source, Runtime("onnxruntime", "cpu", 3))
    assert rival is not None
    assert (rival.path, rival.clock, rival.least_gain) == (source, "processor", LEAST_GAIN)
    assert rival.runtime == Runtime("openvino", "cpu", 3)


def test_only_plans_of_eight_bits_have_a_rival_named(source: Path) -> None:
    half, of_half = write_plan(source, "half.plan", "fp16")
    assert find_rival(half, of_half, None, source, ON_A_GPU) is None
    for path, manifest in ((half, of_half), (source, read_manifest(source))):
        with pytest.raises(AdmissionError, match="--rival is for plans of 8 bits"):
            find_rival(path, manifest, half, source, ON_A_GPU)


def test_report_says_what_was_outrun(source: Path) -> None:
    eight = source.with_name("eight.onnx")
    built_from = read_manifest(source).sha256
    write_graph(eight, small_graph(*SIZE), *SIZE, precision="int8", built_from=built_from)
    admission = admit(eight, None, repeats=1, reference=source, least_gain=1e6)
    assert admission.gain_over == "the float32 engine, processor time"
    assert admission.least_gain == 1e6
    assert "as fast as the float32 engine, processor time" in admission.reasons[0]
    shown = io.StringIO()
    Console(width=120, file=shown).print(admission_report(read_manifest(eight), admission))
    assert "times as fast as the float32 engine, processor time" in shown.getvalue()


def test_manifest_of_before_is_still_read(source: Path) -> None:
    admission = admit(source, None, repeats=1)
    fields = json.loads(manifest_path(source).read_text("utf-8"))
    del fields["admission"]["gain_over"]
    assert parse_manifest(json.dumps(fields).encode(), "old").admission == admission


class WaitingEngine:
    """Takes time of the clock, as a GPU does, and hardly any of a processor."""

    max_batch = 8
    input_size = SIZE

    def __init__(self, took_s: float) -> None:
        self.took_s = took_s
        self.frames: list[int] = []

    def score(self, frames: np.ndarray, maps_above: float | None = None) -> Scores:
        del maps_above
        self.frames.append(len(frames))
        time.sleep(self.took_s)
        return Scores(np.zeros(len(frames), np.float32), np.zeros((len(frames), *SIZE), np.float32))

    def close(self) -> None: ...


def test_gain_on_a_gpu_is_one_of_the_clock() -> None:
    fast, slow = WaitingEngine(0.01), WaitingEngine(0.04)
    assert measure_gain(fast, slow, 5, "wall") == pytest.approx(4, rel=0.5)
    assert fast.frames == slow.frames == [8] * 8  # calls in turn, of the same batch, after some
