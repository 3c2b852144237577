"""The engine of TensorRT's plans on a GPU that is none (gpu_fakes): order, ownership, errors."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from fakes import gpu as gpu_fakes
from fakes.gpu import (
    CONTEXT_BYTES,
    SCALES,
    FakeBindings,
    FakeGpu,
    FakeStatus,
    FakeTensorRt,
    answers,
)

from engines.backends.tensorrt import plan as plan_module
from engines.backends.tensorrt.device import PlanDevice
from engines.backends.tensorrt.engine import LANES, MOST_GRAPHED, TensorRtEngine, open_lanes
from engines.backends.tensorrt.plan import Plan
from engines.backends.tensorrt.plugin import PlanPlugins
from engines.contract import CELLS, DISTANCE, MAP, NEAREST, PEAK, SCORE
from engines.engine import GRID, Scores
from engines.errors import BackendError, ManifestError, ScoringError, ShapeError
from engines.machine import Gpu
from engines.manifest import Manifest, Thresholds

SIZE = (4, 6)
MOST = 5
ALLOCATIONS = 15  # of a lane: seven page-locked, eight on the GPU
MAP_BYTES = 4 * 6 * 4
SAID_BYTES = (4, 4 * SCALES, 4 * SCALES, 4, 4 * GRID * GRID)  # of a frame, beside its map
LANE_BYTES = MOST * (4 * 6 * 3 + MAP_BYTES + sum(SAID_BYTES)) + CONTEXT_BYTES


def manifest(max_batch: int = MOST) -> Manifest:
    return Manifest(
        sha256="0" * 64,
        model="prn",
        version="1",
        created="2026-11-26",
        format="tensorrt",
        format_version="tensorrt 11.4",
        device="NVIDIA H100, sm_90",
        height=SIZE[0],
        width=SIZE[1],
        max_batch=max_batch,
        precision="fp16",
        thresholds=Thresholds(image=0.5, pixel=0.5, method="by hand", normals=0),
    )


def device(gpu: FakeGpu, trt: FakeTensorRt, bindings: FakeBindings | None = None) -> PlanDevice:
    return PlanDevice(1, Gpu("H100", (9, 0), 13000), trt, gpu, "tensorrt 11.4", bindings)


@pytest.fixture
def gpu() -> FakeGpu:
    return FakeGpu()


@pytest.fixture
def trt(gpu: FakeGpu) -> FakeTensorRt:
    return FakeTensorRt(gpu, SIZE)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "prn.plan").write_bytes(b"a plan")
    return tmp_path / "prn.plan"


@pytest.fixture
def plan(path: Path, gpu: FakeGpu, trt: FakeTensorRt) -> Plan:
    return Plan(path, manifest(), device(gpu, trt))


def batch(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.integers(0, 256, (count, *SIZE, 3), dtype=np.uint8)


def assert_right(scores: Scores, frames: np.ndarray) -> None:
    wanted = answers(frames)
    np.testing.assert_array_equal(scores.score, wanted[SCORE])
    np.testing.assert_array_equal(scores.maps, wanted[MAP])
    np.testing.assert_array_equal(scores.nearest, wanted[NEAREST])
    np.testing.assert_array_equal(scores.distance, wanted[DISTANCE])
    np.testing.assert_array_equal(scores.summary.peak, wanted[PEAK])
    np.testing.assert_array_equal(scores.summary.cells, wanted[CELLS])


def assert_all_given_back(gpu: FakeGpu, trt: FakeTensorRt) -> None:
    assert gpu.memory == {}
    assert gpu.depth == 0
    assert gpu.retained == 1  # for as long as the process lives
    assert [array() for array in gpu.pinned if array() is not None] == []
    assert trt.registry.creators == []
    assert [plan() for plan in trt.plans if plan() is not None] == []


@pytest.mark.parametrize("count", [1, 3, MOST])
def test_batches_of_every_size_are_judged(plan: Plan, rng: np.random.Generator, count: int) -> None:
    engine = TensorRtEngine(plan)
    for _ in range(2):  # the second has the buffers of the first
        frames = batch(rng, count)
        assert_right(engine.score(frames), frames)
    engine.close()


def test_plan_without_prototypes_gives_none(
    path: Path, gpu: FakeGpu, trt: FakeTensorRt, rng: np.random.Generator
) -> None:
    del trt.shapes[NEAREST], trt.shapes[DISTANCE]
    plan = Plan(path, manifest(), device(gpu, trt))
    engine = TensorRtEngine(plan)
    frames = batch(rng, 2)
    scores = engine.score(frames)
    np.testing.assert_array_equal(scores.maps, answers(frames)[MAP])
    assert scores.nearest is None
    assert scores.distance is None
    del scores  # page-locked memory of the engine
    engine.close()


def test_copies_surround_the_inference_and_only_the_end_waits(
    plan: Plan, gpu: FakeGpu, rng: np.random.Generator
) -> None:
    engine = TensorRtEngine(plan)
    engine.score(batch(rng, 3), maps_above=1.0)
    copied = [f"out {3 * size}" for size in SAID_BYTES]
    assert gpu.events == ["in 3", "infer 3", *copied, "synchronise"]
    engine.close()


def test_only_maps_with_a_value_above_the_threshold_leave_the_gpu(
    plan: Plan, gpu: FakeGpu, rng: np.random.Generator
) -> None:
    engine = TensorRtEngine(plan)
    frames = np.minimum(batch(rng, MOST), 127)
    frames[0, 1, 2, 1] = frames[2:4, 3, 5, 1] = 200
    frames[4, 0, 0, 1] = 128  # its map's peak is at the threshold
    engine.score(frames[::-1])
    before = engine._scores.maps.copy()
    gpu.events.clear()
    scores = engine.score(frames, maps_above=float(np.float32(128 / 255)))
    assert gpu.events[-4:] == [
        "synchronise",
        f"out {MAP_BYTES}",
        f"out {2 * MAP_BYTES}",
        "synchronise",
    ]
    np.testing.assert_array_equal(scores.maps[[0, 2, 3]], answers(frames)[MAP][[0, 2, 3]])
    np.testing.assert_array_equal(scores.maps[[1, 4]], before[[1, 4]])
    del scores  # page-locked memory of the engine
    engine.close()


def test_map_whose_peak_is_no_number_is_looked_at(
    plan: Plan, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = TensorRtEngine(plan)
    frames = batch(rng, 2)
    engine.score(frames[::-1])
    nan = {PEAK: np.full(2, np.nan, np.float32)}
    monkeypatch.setattr(gpu_fakes, "answers", lambda frames: answers(frames) | nan)
    np.testing.assert_array_equal(engine.score(frames, maps_above=1.0).maps, answers(frames)[MAP])
    engine.close()


def test_plan_that_does_not_sum_its_maps_up_is_to_be_built_again(
    path: Path, gpu: FakeGpu, trt: FakeTensorRt
) -> None:
    del trt.shapes[PEAK]
    with pytest.raises(ManifestError, match=r"no output 'peak' .*: build it again with engine-b"):
        Plan(path, manifest(), device(gpu, trt))
    assert_all_given_back(gpu, trt)


def test_lanes_disturb_each_other_in_nothing(plan: Plan, rng: np.random.Generator) -> None:
    one, other = open_lanes(plan)
    frames, others = batch(rng, 3), batch(rng, 4)
    scores = one.score(frames)
    assert_right(other.score(others), others)
    assert_right(scores, frames)
    assert len({lane._stream.handle for lane in (one, other)}) == LANES
    del scores  # page-locked memory of the engine
    one.close()
    assert_right(other.score(frames), frames)
    other.close()


@pytest.mark.parametrize("shape", [(6, *SIZE, 3), (0, *SIZE, 3), (1, 6, 4, 3)])
def test_frames_that_do_not_fit_never_reach_the_gpu(
    plan: Plan, gpu: FakeGpu, shape: tuple[int, ...]
) -> None:
    engine = TensorRtEngine(plan)
    with pytest.raises(ShapeError):
        engine.score(np.zeros(shape, np.uint8))
    assert gpu.events == []
    engine.close()


@pytest.mark.parametrize("failing", ["in 3", "infer 3", f"out {3 * MAP_BYTES}", "synchronise"])
def test_failure_of_the_gpu_is_of_these_frames_only(
    plan: Plan, gpu: FakeGpu, rng: np.random.Generator, failing: str
) -> None:
    engine = TensorRtEngine(plan)
    gpu.failing = failing
    with pytest.raises(ScoringError, match="on 3 frames: an illegal memory access"):
        engine.score(batch(rng, 3))
    assert gpu.depth == 0
    gpu.failing = ""
    frames = batch(rng, 2)
    assert_right(engine.score(frames), frames)
    engine.close()


@pytest.mark.parametrize("refusing", ["shape", "batch"])
def test_batch_that_tensorrt_refuses_is_said(
    plan: Plan, gpu: FakeGpu, rng: np.random.Generator, refusing: str
) -> None:
    engine = TensorRtEngine(plan)
    plan.engine.executions[0]().refusing = refusing
    with pytest.raises(ScoringError, match="refused a batch of 3"):
        engine.score(batch(rng, 3))
    assert gpu.depth == 0
    engine.close()


def test_last_lane_to_close_frees_the_plan_and_closing_again_does_nothing(
    plan: Plan, gpu: FakeGpu, trt: FakeTensorRt
) -> None:
    lanes = open_lanes(plan)
    del plan
    lanes[0].close()
    lanes[0].close()
    assert gpu.memory
    assert len(trt.registry.creators) == 1
    lanes[1].close()
    lanes[1].close()
    assert_all_given_back(gpu, trt)
    freed = ["synchronise", "execution freed"]
    assert gpu.events == [*freed, *freed, "plan freed"]


def test_closed_engine_says_so(plan: Plan, rng: np.random.Generator) -> None:
    engine = TensorRtEngine(plan)
    engine.close()
    with pytest.raises(ScoringError, match="closed"):
        engine.score(batch(rng, 1))


def test_plan_is_given_back_where_the_gpu_frees_nothing_any_more(
    path: Path, gpu: FakeGpu, trt: FakeTensorRt
) -> None:
    engine = TensorRtEngine(Plan(path, manifest(), device(gpu, trt)))
    gpu.memory.clear()  # so that `free` fails
    with pytest.raises(KeyError):
        engine.close()
    assert [each() for each in trt.plans if each() is not None] == []


@pytest.mark.parametrize("allocations", range(LANES * ALLOCATIONS))
def test_memory_that_ends_anywhere_leaves_nothing_behind(path: Path, allocations: int) -> None:
    gpu = FakeGpu(allocations)
    trt = FakeTensorRt(gpu, SIZE)
    with pytest.raises(BackendError, match="no memory for batches of 5 frames"):
        open_lanes(Plan(path, manifest(), device(gpu, trt)))
    assert_all_given_back(gpu, trt)


def test_memory_for_all_lanes_is_enough(path: Path) -> None:
    gpu = FakeGpu(LANES * ALLOCATIONS)
    for lane in open_lanes(Plan(path, manifest(), device(gpu, FakeTensorRt(gpu, SIZE)))):
        lane.close()
    assert gpu.room == 0


def test_second_execution_context_that_is_not_made_leaves_nothing_behind(
    path: Path, gpu: FakeGpu
) -> None:
    trt = FakeTensorRt(gpu, SIZE, contexts=1)
    with pytest.raises(BackendError, match="no memory"):
        open_lanes(Plan(path, manifest(), device(gpu, trt)))
    assert_all_given_back(gpu, trt)


@pytest.mark.parametrize(
    ("free_bytes", "advice"),
    [
        (LANES * LANE_BYTES * 3 // MOST, "build the plan with --max-batch 3, or"),
        (LANES * LANE_BYTES * 3 // MOST - 1, "build the plan with --max-batch 2, or"),
        (LANES * LANE_BYTES * 9, "build the plan with --max-batch 4, or"),  # said, yet not given
        (LANES * LANE_BYTES // MOST - 1, "MB: run less beside it on this GPU"),
    ],
)
def test_batch_that_would_fit_is_named(path: Path, free_bytes: int, advice: str) -> None:
    gpu = FakeGpu(3, free_bytes)
    with pytest.raises(BackendError) as caught:
        open_lanes(Plan(path, manifest(), device(gpu, FakeTensorRt(gpu, SIZE))))
    assert advice in str(caught.value)


def test_plan_that_tensorrt_cannot_read_is_refused(
    path: Path, gpu: FakeGpu, trt: FakeTensorRt
) -> None:
    path.write_bytes(b"of another version")
    with pytest.raises(BackendError, match=r"cannot load prn\.plan: build it again here"):
        Plan(path, manifest(), device(gpu, trt))
    assert_all_given_back(gpu, trt)


def test_plan_of_other_tensors_is_refused(path: Path, gpu: FakeGpu, trt: FakeTensorRt) -> None:
    trt.shapes[MAP] = (-1, 9, 9)
    with pytest.raises(ManifestError, match="map"):
        Plan(path, manifest(), device(gpu, trt))
    assert_all_given_back(gpu, trt)


def test_two_plans_of_a_process_judge_side_by_side_each_with_its_own_kernels(
    path: Path,
    gpu: FakeGpu,
    trt: FakeTensorRt,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    candidate = path.with_name("newcomer.plan")
    candidate.write_bytes(b"a plan")
    monkeypatch.setattr(plan_module, "load_kernel", lambda plan, _: plan.name)
    engine = TensorRtEngine(Plan(path, manifest(), device(gpu, trt)))
    other = TensorRtEngine(Plan(candidate, manifest(), device(gpu, trt)))
    assert [made.kernel for made in trt.plugins] == ["prn.plan", "newcomer.plan"]
    assert [made.attach_to_context(None).kernel for made in trt.plugins] == [
        "prn.plan",
        "newcomer.plan",
    ]
    engine.close()
    frames = batch(rng, 2)
    assert_right(other.score(frames), frames)
    other.close()
    assert_all_given_back(gpu, trt)


def test_operator_of_somebody_else_is_said(path: Path, gpu: FakeGpu, trt: FakeTensorRt) -> None:
    trt.registry.creators.append(object())
    with pytest.raises(BackendError, match="knows another operator prn::PrototypeResidual"):
        Plan(path, manifest(), device(gpu, trt))
    assert gpu.depth == 0


def graphed(
    path: Path, gpu: FakeGpu, trt: FakeTensorRt, max_batch: int = MOST
) -> tuple[TensorRtEngine, FakeBindings]:
    bindings = FakeBindings(gpu)
    engine = TensorRtEngine(Plan(path, manifest(max_batch), device(gpu, trt, bindings)))
    assert engine.record()
    return engine, bindings


def assert_does_without_graphs(
    engine: TensorRtEngine, bindings: FakeBindings, trt: FakeTensorRt, rng: np.random.Generator
) -> None:
    assert engine.backend.endswith(", no CUDA graphs")
    frames = batch(rng, 2)
    assert_right(engine.score(frames), frames)
    assert bindings.alive == []
    engine.close()
    assert_all_given_back(bindings.gpu, trt)


def test_small_batches_start_as_one_graph_each(
    path: Path, gpu: FakeGpu, trt: FakeTensorRt, rng: np.random.Generator
) -> None:
    engine, _ = graphed(path, gpu, trt)
    assert engine.backend.endswith(", CUDA graphs")
    for count in (3, 1, MOST, 3):
        frames = batch(rng, count)
        gpu.events.clear()
        engine.score(frames, maps_above=1.0)
        assert gpu.events == ["launch", "synchronise"]
        assert_right(engine.score(frames), frames)
    engine.close()
    assert_all_given_back(gpu, trt)


def test_larger_batches_start_one_by_one_amid_graphs(
    path: Path, gpu: FakeGpu, trt: FakeTensorRt, rng: np.random.Generator
) -> None:
    engine, _ = graphed(path, gpu, trt, MOST_GRAPHED + 2)
    for count in (MOST_GRAPHED, MOST_GRAPHED + 1, MOST_GRAPHED, MOST_GRAPHED + 2):
        frames = batch(rng, count)
        gpu.events.clear()
        assert_right(engine.score(frames), frames)
        assert ("launch" in gpu.events) == (count == MOST_GRAPHED)
    engine.close()
    assert_all_given_back(gpu, trt)


def test_graphs_take_no_memory_of_their_own_and_are_freed(
    path: Path, gpu: FakeGpu, trt: FakeTensorRt
) -> None:
    engine, bindings = graphed(path, gpu, trt)
    assert gpu.room == 100 - ALLOCATIONS
    assert len(bindings.alive) == MOST  # those that start; what they were made of is gone
    engine.close()
    engine.close()
    assert bindings.alive == []


@pytest.mark.parametrize(
    "failing", ["cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiate"]
)
def test_work_that_no_graph_takes_is_done_without_and_said(
    path: Path,
    gpu: FakeGpu,
    trt: FakeTensorRt,
    rng: np.random.Generator,
    failing: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    bindings = FakeBindings(gpu)
    bindings.failing = failing
    lanes = open_lanes(Plan(path, manifest(), device(gpu, trt, bindings)))
    assert "engine.no_cuda_graphs" in caplog.text
    for lane in lanes:
        assert lane.backend.endswith(", no CUDA graphs")
        frames = batch(rng, 3)
        assert_right(lane.score(frames), frames)
    assert bindings.alive == []
    for lane in lanes:
        lane.close()
    assert_all_given_back(gpu, trt)


def test_lanes_have_graphs_all_or_none(path: Path, gpu: FakeGpu, rng: np.random.Generator) -> None:
    trt, bindings = FakeTensorRt(gpu, SIZE, contexts=LANES + MOST + 1), FakeBindings(gpu)
    lanes = open_lanes(Plan(path, manifest(), device(gpu, trt, bindings)))
    assert gpu.events.count("recorded") == MOST + 1
    for lane in lanes:
        assert lane.backend.endswith(", no CUDA graphs")
        frames = batch(rng, 2)
        assert_right(lane.score(frames), frames)
        lane.close()
    assert bindings.alive == []
    assert_all_given_back(gpu, trt)


@pytest.mark.parametrize("failing", ["in 2", "infer 2"])
def test_failure_amid_recording_leaves_the_stream_usable(
    path: Path, gpu: FakeGpu, trt: FakeTensorRt, rng: np.random.Generator, failing: str
) -> None:
    bindings = FakeBindings(gpu)
    note = gpu.note

    def recording(event: str) -> None:
        note(event)
        if event == "record" and gpu.events.count("record") == 2:
            gpu.failing = failing

    gpu.note = recording  # type: ignore[method-assign]
    engine = TensorRtEngine(Plan(path, manifest(), device(gpu, trt, bindings)))
    assert not engine.record()
    gpu.failing = ""
    assert_does_without_graphs(engine, bindings, trt, rng)


def test_graph_that_does_not_start_fails_these_frames_only(
    path: Path, gpu: FakeGpu, trt: FakeTensorRt, rng: np.random.Generator
) -> None:
    engine, bindings = graphed(path, gpu, trt)
    bindings.failing, bindings.status = "cuGraphLaunch", FakeStatus.CUDA_ERROR_OUT_OF_MEMORY
    with pytest.raises(ScoringError, match="on 3 frames: cuGraphLaunch: CUDA_ERROR_OUT_OF_MEMORY"):
        engine.score(batch(rng, 3))
    assert gpu.depth == 0
    bindings.failing = ""
    frames = batch(rng, 3)
    assert_right(engine.score(frames), frames)
    engine.close()


@pytest.mark.parametrize("contexts", range(1, MOST + 1))
def test_graphs_that_find_no_memory_are_left_out(
    path: Path, gpu: FakeGpu, rng: np.random.Generator, contexts: int
) -> None:
    trt, bindings = FakeTensorRt(gpu, SIZE, contexts), FakeBindings(gpu)
    engine = TensorRtEngine(Plan(path, manifest(), device(gpu, trt, bindings)))
    assert not engine.record()
    assert_does_without_graphs(engine, bindings, trt, rng)


def test_engine_that_fails_half_way_waits_before_it_frees(
    path: Path, gpu: FakeGpu, trt: FakeTensorRt, rng: np.random.Generator
) -> None:
    engine = TensorRtEngine(Plan(path, manifest(), device(gpu, trt)))
    gpu.failing = f"out {3 * 4 * 6 * 4}"
    with pytest.raises(ScoringError):
        engine.score(batch(rng, 3))
    gpu.failing = ""
    gpu.events.clear()
    engine.close()
    assert gpu.events == ["synchronise", "execution freed", "plan freed"]
    assert_all_given_back(gpu, trt)


def test_plan_closes_on_another_thread_than_the_one_that_loaded_it(
    path: Path, gpu: FakeGpu, trt: FakeTensorRt
) -> None:
    lanes: list[TensorRtEngine] = []

    def load() -> None:
        lanes.extend(open_lanes(Plan(path, manifest(), device(gpu, trt, FakeBindings(gpu)))))

    loader = threading.Thread(target=load)
    loader.start()
    loader.join()
    while lanes:
        lanes.pop().close()
    assert_all_given_back(gpu, trt)


def test_plugins_that_two_threads_make_at_once_do_not_mix(trt: FakeTensorRt) -> None:
    entered, made = threading.Event(), []

    def read(kernel: str) -> None:
        plugins = PlanPlugins(trt, kernel)
        with plugins.making():
            entered.set()
            time.sleep(0.05)  # long enough for the other to come in, if it could
            made.append((kernel, trt.registry.creators[0].create_plugin("", [], "runtime").kernel))
        plugins.close()

    threads = [threading.Thread(target=read, args=(kernel,)) for kernel in ("one", "other")]
    for thread in threads:
        thread.start()
        entered.wait()
    for thread in threads:
        thread.join()
    assert sorted(made) == [("one", "one"), ("other", "other")]
    assert not trt.registry.creators


def test_tensorrt_rtx_records_graphs_itself(plan: Plan) -> None:
    engine = TensorRtEngine(plan)
    assert plan.engine.graphed
    assert engine.record()
    assert engine.backend.endswith(", CUDA graphs if TensorRT-RTX records them")
    engine.close()


def test_fake_driver_has_the_functions_of_the_real_one() -> None:
    real = pytest.importorskip("cuda.bindings.driver")
    fake = FakeBindings(FakeGpu())
    names = [name for name in dir(fake) if name.startswith("cu")]
    assert len(names) == 6
    for name in names:
        signature = getattr(real, name).__doc__.splitlines()[0]
        wanted = getattr(fake, name).__code__.co_argcount - 1
        assert len(signature.split(",")) == wanted, signature
    assert int(real.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL) == 1
    assert int(real.CUresult.CUDA_SUCCESS) == int(FakeStatus.CUDA_SUCCESS)
    status = FakeStatus.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED
    assert real.CUresult(int(status)).name == status.name


def test_tensorrt_rtx_has_what_execution_contexts_are_made_by() -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    assert trt.ExecutionContextAllocationStrategy.USER_MANAGED is not None
    assert trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE is not None
    assert hasattr(trt.IRuntimeConfig, "set_execution_context_allocation_strategy")
    assert hasattr(trt.IRuntimeConfig, "cuda_graph_strategy")
    assert hasattr(trt.IExecutionContext, "set_device_memory")
    assert hasattr(trt.ICudaEngine, "device_memory_size_v2")


def test_plan_with_cells_of_another_grid_is_refused(
    path: Path, gpu: FakeGpu, trt: FakeTensorRt
) -> None:
    trt.shapes[CELLS] = (-1, GRID, GRID + 1)
    with pytest.raises(ManifestError, match=r"'cells' is float32 \[\?, 4, 5\]"):
        Plan(path, manifest(), device(gpu, trt))


def test_map_of_a_black_frame_is_its_own(plan: Plan, rng: np.random.Generator) -> None:
    engine = TensorRtEngine(plan)
    engine.score(batch(rng, 2))
    black = np.zeros((2, *SIZE, 3), np.uint8)
    assert_right(engine.score(black), black)
    engine.close()
