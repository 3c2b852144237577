"""TensorRT plans on an NVIDIA GPU, through pycuda.

**Never run on a GPU yet**: docs/tensorrt.md says what is proven where. Lanes share one plan; each
has a stream, buffers and an execution context of its own, so that the copies of one overlap the
inference of another.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from engines.contract import (
    DISTANCE,
    FRAMES,
    MAP,
    NEAREST,
    SCORE,
    Port,
    allocate_scores,
    check_contract,
    first_rows,
    outputs_by_name,
)
from engines.engine import Pixels, Scores, check_frames
from engines.errors import BackendError, ManifestError, ScoringError
from engines.manifest import Manifest, file_sha256
from engines.plan_device import PlanDevice
from engines.plans.backend import kernel_path
from engines.plans.plugin import forget_plugin, register_plugin
from engines.residual.launcher import ResidualKernel

LANES = 2  # the copies of one overlap the inference of the other


class Plan:
    """A plan in the memory of a GPU, which several engines run; the last one to close frees it."""

    def __init__(self, path: Path, manifest: Manifest, device: PlanDevice) -> None:
        """Load it.

        Raises:
            ManifestError: the plan's tensors do not fit the contract, or a file its hash.
            BackendError: TensorRT refuses it, or another one is loaded.
        """
        self.manifest = manifest
        self.backend = f"{device.version} {device.gpu.name}, {manifest.precision}"
        self.trt, self.cuda = device.trt, device.cuda
        self.free_bytes = 0  # beside the plan
        self._context = self.cuda.Device(device.index).retain_primary_context()
        self._users = 0
        self._creator: object | None = None
        self._runtime: Any = None
        self.engine: Any = None
        try:
            with self.current():
                self._load(path)
        except BaseException:
            self._free()
            raise

    def _load(self, path: Path) -> None:
        trt, manifest = self.trt, self.manifest
        self._creator = register_plugin(trt, load_kernel(path, manifest))
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        self.engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if self.engine is None:
            raise BackendError(f"{manifest.format} cannot load {path.name}: build it again here")
        self.scales = check_contract(*_ports(trt, self.engine), manifest)
        self.free_bytes, _ = self.cuda.mem_get_info()

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the GPU's context that of this thread."""
        self._context.push()
        try:
            yield
        finally:
            self._context.pop()

    def lend(self) -> None:
        """Count an engine that runs it."""
        self._users += 1

    def give_back(self) -> None:
        """Count one less, and free the plan after the last."""
        self._users -= 1
        if not self._users:
            self._free()

    def _free(self) -> None:
        try:
            with self.current():
                self.engine = self._runtime = None
                if self._creator is not None:
                    forget_plugin(self.trt, self._creator)
        finally:
            self._context.detach()


class TensorRtEngine:
    """Scores batches of frames with a plan."""

    def __init__(self, plan: Plan) -> None:
        """Allocate all that scoring needs.

        Raises:
            BackendError: the GPU's memory does not suffice for the largest batch.
        """
        self._plan = plan
        self._size = (plan.manifest.height, plan.manifest.width)
        self._max_batch = plan.manifest.max_batch
        self._device: dict[str, Any] = {}
        self._execution: Any = None
        self._stream: Any = None
        self._frames: Any = None  # page-locked
        self._scores: Scores | None = None  # page-locked
        self._closed = False
        plan.lend()
        try:
            with plan.current():
                self._allocate()
        except plan.cuda.MemoryError as error:
            reason = no_memory(plan)
            self.close()
            raise BackendError(reason) from error
        except BaseException:
            self.close()
            raise

    def _allocate(self) -> None:
        """Take page-locked memory for both ways, the GPU's memory, and an execution context."""
        cuda = self._plan.cuda
        self._frames = cuda.pagelocked_empty((self._max_batch, *self._size, 3), np.uint8)
        pageable = allocate_scores(self._plan.manifest, self._plan.scales)
        locked = {
            name: cuda.pagelocked_empty_like(array)
            for name, array in outputs_by_name(pageable).items()
        }
        self._scores = Scores(locked[SCORE], locked[MAP], locked.get(NEAREST), locked.get(DISTANCE))
        self._stream = cuda.Stream()
        for name, array in {FRAMES: self._frames, **locked}.items():
            self._device[name] = cuda.mem_alloc(array.nbytes)
        self._execution = self._plan.engine.create_execution_context()
        if self._execution is None:
            raise cuda.MemoryError("TensorRT made no execution context")
        for name, memory in self._device.items():
            self._execution.set_tensor_address(name, int(memory))

    @property
    def max_batch(self) -> int:
        """The most frames that one call takes."""
        return self._max_batch

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) in pixels that every frame must have."""
        return self._size

    def score(self, frames: Pixels) -> Scores:
        """Score `frames`, uint8 [N, H, W, 3]; the arrays returned are reused by the next call.

        Raises:
            ShapeError: the frames do not fit the engine.
            ScoringError: CUDA or TensorRT failed.
        """
        check_frames(frames, self._size, self._max_batch)
        if self._scores is None:
            raise ScoringError("this engine is closed")
        scores, cuda = first_rows(self._scores, len(frames)), self._plan.cuda
        self._frames[: len(frames)] = frames
        try:
            with self._plan.current():
                self._run(len(frames), scores)
        except cuda.Error as error:
            raise ScoringError(f"the GPU failed on {len(frames)} frames: {error}") from error
        return scores

    def close(self) -> None:
        """Free everything; the engine is of no use afterwards."""
        if self._closed:
            return
        self._closed = True
        try:
            with self._plan.current():
                self._execution = self._stream = None
                self._frames, self._scores = None, None
                for memory in self._device.values():
                    memory.free()
                self._device.clear()
        finally:
            self._plan.give_back()

    def _run(self, count: int, scores: Scores) -> None:
        """Copy in, infer, copy out, all on one stream, and wait for it."""
        cuda, stream = self._plan.cuda, self._stream
        cuda.memcpy_htod_async(self._device[FRAMES], self._frames[:count], stream)
        shaped = self._execution.set_input_shape(FRAMES, (count, *self._size, 3))
        if not (shaped and self._execution.execute_async_v3(stream.handle)):
            raise ScoringError(f"TensorRT refused a batch of {count} frames")
        for name, array in outputs_by_name(scores).items():
            cuda.memcpy_dtoh_async(array, self._device[name], stream)
        stream.synchronize()


def open_lanes(plan: Plan) -> list[TensorRtEngine]:
    """Make the engines that share `plan`, all or none.

    Raises:
        BackendError: the GPU's memory does not suffice.
    """
    lanes: list[TensorRtEngine] = []
    try:
        lanes.extend(TensorRtEngine(plan) for _ in range(LANES))
    except BaseException:
        for lane in lanes:
            lane.close()
        raise
    return lanes


def no_memory(plan: Plan) -> str:
    """Say that the lanes of a plan do not fit into its GPU, and which batch would.

    What a lane takes is taken to grow with the batch: buffers do, and nearly all of TensorRT's.
    """
    most = plan.manifest.max_batch
    buffers = allocate_scores(plan.manifest, plan.scales)
    frames = most * plan.manifest.height * plan.manifest.width * 3
    outputs = sum(array.nbytes for array in outputs_by_name(buffers).values())
    needed = LANES * (frames + outputs + plan.engine.device_memory_size_v2)
    fitting = min(most - 1, most * plan.free_bytes // needed)
    advice = f"build the plan with --max-batch {fitting}, or " if fitting else ""
    return (
        f"this GPU has no memory for batches of {most} frames: {LANES} lanes take "
        f"{needed / 1e6:,.0f} MB, free beside the plan are {plan.free_bytes / 1e6:,.0f} MB: "
        f"{advice}run less beside it on this GPU"
    )


def load_kernel(path: Path, manifest: Manifest) -> ResidualKernel | None:
    """Load the library of kernels beside the plan; None where the plan needs none.

    Raises:
        ManifestError: it is missing, or not the one that the plan was built with.
        BackendError: it does not load.
    """
    if not manifest.kernel_sha256:
        return None
    library = kernel_path(path)
    if not library.is_file():
        raise ManifestError(f"{path.name} needs its kernels, {library}: copy the file beside it")
    if file_sha256(library) != manifest.kernel_sha256:
        raise ManifestError(
            f"{library} is not the library that {path.name} was built with: copy both again"
        )
    return ResidualKernel(library)


def _ports(trt: Any, engine: Any) -> tuple[list[Port], list[Port]]:  # noqa: ANN401
    inputs: list[Port] = []
    outputs: list[Port] = []
    for place in range(engine.num_io_tensors):
        name = engine.get_tensor_name(place)
        dims = tuple(None if size < 0 else size for size in engine.get_tensor_shape(name))
        port = Port(name, np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name, dims)
        inputs_or_outputs = (
            inputs if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else outputs
        )
        inputs_or_outputs.append(port)
    return inputs, outputs
