"""What an engine of 8 bits must outrun, and by which clock."""

import io
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inputs.onnx_graphs import small_graph, write_graph
from rich.console import Console

from engines.admission import admit as gate
from engines.admission import speed_baseline as rival_module
from engines.admission import timing
from engines.admission.admit import admit
from engines.admission.speed_baseline import LEAST_GAIN, LEAST_PLAN_GAIN, find_baseline
from engines.admission.timing import WARM_UP_CALLS, measure_gain
from engines.commands import admit as admit_command
from engines.commands.tables import admission_report
from engines.engine import ALL_MAPS, NO_MAPS, Engine, Scores, summarise_maps
from engines.errors import AdmissionError
from engines.files import file_sha256
from engines.manifest import Manifest, manifest_path, parse_manifest, read_manifest, write_manifest
from engines.open import Backend, OpenedEngine, Runtime, open_engine

SIZE = (31, 33)
ON_A_GPU = Runtime("tensorrt", "cuda:1", 3)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "small.onnx"
    write_graph(path, small_graph(*SIZE), *SIZE)
    return path


def write_plan(source: Path, name: str, precision: str, **changes: object) -> tuple[Path, Manifest]:
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


def test_rival_that_is_not_there_is_named(source: Path) -> None:
    plan, _ = write_plan(source, "eight.plan", "int8")
    with pytest.raises(AdmissionError, match=r"no plan .*gone\.plan: build one .* fp16"):
        admit(plan, None, baseline_path=source.with_name("gone.plan"))


def test_plan_of_eight_bits_is_not_admitted_without_a_rival(source: Path) -> None:
    plan, _ = write_plan(source, "eight.plan", "int8")
    before = manifest_path(plan).read_bytes()
    with pytest.raises(AdmissionError, match=r"eight\.plan is an 8-bit plan.* --rival"):
        admit(plan, None)
    assert manifest_path(plan).read_bytes() == before


@pytest.mark.parametrize(
    ("precision", "changes", "words"),
    [
        ("int8", {}, "is in int8, not in fp16"),
        ("fp32", {}, "is in fp32, not in fp16"),
        ("fp16", {"format": "tensorrt_rtx"}, "is tensorrt_rtx, not tensorrt"),
        ("fp16", {"built_from": "0" * 64}, "was built from another ONNX file"),
        ("fp16", {"device": "a card, sm_86"}, "is for a card, sm_86, not a card, sm_89"),
        ("fp16", {"format_version": "tensorrt 10"}, r"was built by tensorrt 10, not 1\S+"),
        ("fp16", {"max_batch": 1}, "takes up to 1 frames, not 8"),
    ],
)
def test_rival_that_does_not_fit_is_refused(
    source: Path, precision: str, changes: dict[str, Any], words: str
) -> None:
    plan, _ = write_plan(source, "eight.plan", "int8")
    other, _ = write_plan(source, "other.plan", precision, **changes)
    with pytest.raises(AdmissionError, match=rf"other\.plan {words}, .*engine-build"):
        admit(plan, None, baseline_path=other)


def test_plan_is_to_outrun_one_of_more_bits_on_the_same_gpu(source: Path) -> None:
    plan, manifest = write_plan(source, "eight.plan", "int8")
    half, _ = write_plan(source, "half.plan", "fp16")
    baseline = find_baseline(plan, manifest, half, source, ON_A_GPU)
    assert baseline is not None
    assert (baseline.path, baseline.runtime, baseline.clock) == (half, ON_A_GPU, "wall")
    assert baseline.least_gain == LEAST_PLAN_GAIN
    assert baseline.label == "half.plan in fp16, wall time"


def test_engine_for_a_cpu_is_to_outrun_float32_on_the_same_cores(source: Path) -> None:
    eight = source.with_name("eight.onnx")
    manifest = write_graph(eight, small_graph(*SIZE), *SIZE, precision="int8")
    baseline = find_baseline(eight, manifest, None, source, Runtime("onnxruntime", "cpu", 3))
    assert baseline is not None
    assert (baseline.path, baseline.clock, baseline.least_gain) == (source, "processor", LEAST_GAIN)
    assert baseline.runtime == Runtime("openvino", "cpu", 3)


def test_only_plans_of_eight_bits_have_a_rival_named(source: Path) -> None:
    half, of_half = write_plan(source, "half.plan", "fp16")
    assert find_baseline(half, of_half, None, source, ON_A_GPU) is None
    for path, manifest in ((half, of_half), (source, read_manifest(source))):
        with pytest.raises(AdmissionError, match="--rival is for 8-bit plans"):
            find_baseline(path, manifest, half, source, ON_A_GPU)


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


@dataclass
class Clock:
    """What timing reads time from; stands still but for what engines take, in seconds."""

    wall: float = 0.0
    processor: float = 0.0

    def perf_counter(self) -> float:
        return self.wall

    def process_time(self) -> float:
        return self.processor


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    stopped = Clock()
    monkeypatch.setattr(timing, "time", stopped)
    return stopped


class PlanEngine:
    """Returns another engine's answers, as a plan does, and takes a known time of the clock."""

    def __init__(self, inner: Engine, clock: Clock, took_s: float) -> None:
        self.inner, self.clock, self.took_s = inner, clock, took_s
        self.max_batch, self.input_size = inner.max_batch, inner.input_size
        self.frames: list[int] = []
        self.asked: list[float] = []  # for maps above this
        self.slow: dict[int, float] = {}  # what a call takes, by its number

    def score(self, frames: np.ndarray, maps_above: float = ALL_MAPS) -> Scores:
        self.asked.append(maps_above)
        self.clock.wall += self.slow.get(len(self.frames), self.took_s)
        self.frames.append(len(frames))
        self.clock.processor += 0.001
        scores = self.inner.score(frames)
        return replace(scores, summary=summarise_maps(scores.maps))

    def close(self) -> None:
        self.inner.close()


def opened(source: Path, clock: Clock, took_s: float) -> OpenedEngine:
    inner = open_engine(source, "onnxruntime", "cpu", 1)
    return replace(inner, engine=PlanEngine(inner.engine, clock, took_s), backend="a card")


def test_gain_on_a_gpu_is_one_of_the_clock(source: Path, clock: Clock) -> None:
    with opened(source, clock, 0.5) as fast, opened(source, clock, 2.0) as slow:
        fast.engine.slow = {WARM_UP_CALLS: 50.0, WARM_UP_CALLS + 1: 50.0}  # two of five
        slow.engine.slow = {WARM_UP_CALLS + 4: 1000.0}
        assert measure_gain(fast.engine, slow.engine, 5, "wall") == pytest.approx(4)
        assert measure_gain(fast.engine, slow.engine, 5) == pytest.approx(1)
        for engine in (fast.engine, slow.engine):  # calls of the same batch, some not timed
            assert engine.frames == [8] * 2 * (WARM_UP_CALLS + 5)
            assert set(engine.asked) == {NO_MAPS}  # which a line hardly asks for


@pytest.mark.parametrize(("gain", "admitted"), [(1.25, True), (1.125, False)])
def test_plan_of_eight_bits_is_admitted_where_it_outruns_its_rival(
    source: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, gain: float, *, admitted: bool
) -> None:
    plan, _ = write_plan(source, "eight.plan", "int8")
    half, _ = write_plan(source, "half.plan", "fp16")
    takes_s = {plan: 1.0, half: gain}

    def open_any(path: Path, backend: Backend, device: str, threads: int) -> OpenedEngine:
        if path in takes_s:
            assert (backend, device, threads) == ("tensorrt", "cuda:1", 3)
            return opened(source, clock, takes_s[path])
        return open_engine(path, backend, device, threads)

    for module in (gate, rival_module):
        monkeypatch.setattr(module, "open_engine", open_any)
    admission = gate.admit(plan, None, ON_A_GPU, repeats=3, baseline_path=half)
    assert admission.admitted is admitted
    assert admission.gain == pytest.approx(gain)
    assert read_manifest(plan).admission == admission
    if not admitted:
        why = (
            "it is 1.12 times as fast as half.plan in fp16, wall time, for the risk of fewer bits "
            "it must be 1.2 times as fast (--least-gain)"
        )
        assert admission.reasons == [why]


def test_command_passes_the_rival_on(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan, _ = write_plan(source, "eight.plan", "int8")
    half, _ = write_plan(source, "half.plan", "fp16")
    admission = admit(source, None, repeats=1)
    asked: list[object] = []

    def admitted(*given: object) -> object:
        asked.extend(given)
        return admission

    monkeypatch.setattr(admit_command, "admit_engine", admitted)
    settings = admit_command.AdmitSettings(engine=plan, rival=half, least_gain=1.5)
    assert admit_command.run_admit(settings) == 0
    assert asked[-2:] == [1.5, half]
    assert "admitted" in capsys.readouterr().out
