"""TensorRT plans on an NVIDIA GPU, through pycuda.

**Never run on a GPU yet**: docs/tensorrt.md says what is proven where. Lanes share one plan; each
has a stream, buffers and execution contexts of its own, so that the copies of one overlap the
inference of another.

A small batch takes the GPU less time than it takes the host to start its kernels one by one, so
they are started as one CUDA graph. TensorRT-RTX records graphs by itself. With TensorRT, each size
up to `MOST_GRAPHED` gets an execution context of its own, because a graph must not outlive a change
of its context's shape. The contexts of a lane share memory, because they never run at the same
time.

A plan summarises its maps (engines.engine). Only the requested maps leave the GPU, after the
summaries of all. A line requests the few that have a pixel above its threshold.
"""

import logging
from contextlib import suppress
from functools import partial
from traceback import clear_frames
from typing import Any

import numpy as np

from engines.backends.tensorrt.cuda_graph import CudaGraph, GraphError
from engines.backends.tensorrt.plan import Plan
from engines.contract import (
    FRAMES,
    MAP,
    allocate_scores,
    first_rows,
    outputs_by_name,
    scores_by_name,
)
from engines.engine import ALL_MAPS, Pixels, Scores, check_frames
from engines.errors import BackendError, ScoringError

LANES = 2  # the copies of one overlap the inference of the other
MOST_GRAPHED = 16  # frames: a larger batch keeps the GPU busy while the host starts kernels

# CU_STREAM_NON_BLOCKING: otherwise copies of another plan that is being loaded, on CUDA's default
# stream, would delay this one and break a recording.
_NON_BLOCKING = 1

_log = logging.getLogger(__name__)


class TensorRtEngine:
    """Scores batches of frames with a plan."""

    def __init__(self, plan: Plan) -> None:
        """Allocate all that scoring needs.

        Raises:
            BackendError: the GPU's memory is too small for the largest batch.
        """
        self._plan = plan
        self._size = (plan.manifest.height, plan.manifest.width)
        self._max_batch = plan.manifest.max_batch
        self._device: dict[str, Any] = {}
        self._scratch: Any = None  # shared by all execution contexts, on the GPU
        self._execution: Any = None  # for batches without a graph
        self._graphs: dict[int, tuple[Any, CudaGraph]] = {}  # by batch size, with its context
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
            self._give_up(error)
            raise BackendError(reason) from error
        except plan.cuda.Error as error:
            self._give_up(error)
            raise BackendError(f"the GPU failed at the start: {error}") from error
        except BaseException as error:
            self._give_up(error)
            raise

    @property
    def backend(self) -> str:
        """Library, GPU, precision, and whether small batches start as one graph."""
        if self._plan.graphs is None:
            return f"{self._plan.name}, CUDA graphs if TensorRT-RTX records them"
        return f"{self._plan.name}, {'' if self._graphs else 'no '}CUDA graphs"

    @property
    def max_batch(self) -> int:
        """The most frames that one call takes."""
        return self._max_batch

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) in pixels that every frame must have."""
        return self._size

    def score(self, frames: Pixels, maps_above: float = ALL_MAPS) -> Scores:
        """Score `frames`, uint8 [N, H, W, 3]; the arrays returned are reused by the next call.

        A map without a value above `maps_above` is not copied: its row keeps an earlier call's map.

        Raises:
            ShapeError: the frames do not fit the engine.
            ScoringError: CUDA or TensorRT failed.
        """
        check_frames(frames, self._size, self._max_batch)
        if self._scores is None:
            raise ScoringError("this engine is closed")
        count = len(frames)
        self._frames[:count] = frames
        try:
            with self._plan.current():
                if count in self._graphs:
                    self._graphs[count][1].launch()
                else:
                    self._shape(self._execution, count)
                    self._enqueue(self._execution, count)
                self._stream.synchronize()
                scores = first_rows(self._scores, count)
                self._fetch_maps(scores, maps_above)
        except (self._plan.cuda.Error, GraphError) as error:
            raise ScoringError(f"the GPU failed on {count} frames: {error}") from error
        return scores

    def close(self) -> None:
        """Free everything; the engine cannot be used afterwards."""
        if self._closed:
            return
        self._closed = True
        try:
            with self._plan.current():
                if self._stream is not None:
                    with suppress(self._plan.cuda.Error):
                        self._stream.synchronize()  # what failed half-way may still be running
                self._forget()
                self._execution = self._stream = None
                self._frames, self._scores = None, None
                scratch = [] if self._scratch is None else [self._scratch]
                for memory in (*self._device.values(), *scratch):
                    memory.free()
                self._device.clear()
                self._scratch = None
        finally:
            self._plan.give_back()

    def _allocate(self) -> None:
        """Allocate page-locked memory for both directions, GPU memory, and an execution context."""
        cuda = self._plan.cuda
        self._frames = cuda.pagelocked_empty((self._max_batch, *self._size, 3), np.uint8)
        pageable = allocate_scores(self._plan.manifest, self._plan.scales)
        locked = {
            name: cuda.pagelocked_empty_like(array)
            for name, array in outputs_by_name(pageable).items()
        }
        self._scores = scores_by_name(locked)
        self._stream = cuda.Stream(_NON_BLOCKING)
        for name, array in {FRAMES: self._frames, **locked}.items():
            self._device[name] = cuda.mem_alloc(array.nbytes)
        self._scratch = cuda.mem_alloc(max(1, self._plan.engine.device_memory_size_v2))
        self._execution = self._context()

    def _context(self) -> Any:  # noqa: ANN401
        """Make an execution context that works in this lane's memory."""
        context = self._plan.make_context()
        if context is None:
            raise self._plan.cuda.MemoryError("TensorRT made no execution context")
        context.set_device_memory(int(self._scratch), self._plan.engine.device_memory_size_v2)
        for name, memory in self._device.items():
            context.set_tensor_address(name, int(memory))
        return context

    def record(self) -> bool:
        """Record a graph for each small batch; return whether that succeeded.

        If a graph cannot be recorded, or memory runs out, no graph is used, and the log says why.
        """
        if self._plan.graphs is None:
            return True
        try:
            with self._plan.current():
                self._frames[...] = 0
                for count in range(1, min(self._max_batch, MOST_GRAPHED) + 1):
                    self._graphs[count] = self._recorded(count)
        except (self._plan.cuda.Error, GraphError, ScoringError) as error:
            clear_frames(error.__traceback__)
            _log.warning("engine.no_cuda_graphs", extra={"why": str(error)})
            self.forget_graphs()
            return False
        return True

    def forget_graphs(self) -> None:
        """Drop all graphs: from now on kernels are started one by one."""
        with self._plan.current():
            self._forget()

    def _recorded(self, count: int) -> tuple[Any, CudaGraph]:
        context, stream = self._context(), self._stream
        self._shape(context, count)
        # Run once for real: TensorRT then does the work that a new shape needs.
        self._enqueue(context, count)
        stream.synchronize()
        work = partial(self._enqueue, context, count)
        return context, CudaGraph(self._plan.graphs, stream.handle, work)

    def _forget(self) -> None:
        for _, graph in self._graphs.values():
            graph.close()
        self._graphs.clear()

    def _give_up(self, error: BaseException) -> None:
        """Close; otherwise the traceback of an error would keep the plan and its memory alive."""
        clear_frames(error.__traceback__)
        self.close()

    def _shape(self, context: Any, count: int) -> None:  # noqa: ANN401
        if not context.set_input_shape(FRAMES, (count, *self._size, 3)):
            raise ScoringError(f"TensorRT refused a batch of {count} frames")

    def _enqueue(self, context: Any, count: int) -> None:  # noqa: ANN401
        """Copy in, infer, copy out all but the maps, on one stream."""
        cuda, stream = self._plan.cuda, self._stream
        cuda.memcpy_htod_async(self._device[FRAMES], self._frames[:count], stream)
        if not context.execute_async_v3(stream.handle):
            raise ScoringError(f"TensorRT refused a batch of {count} frames")
        assert self._scores is not None  # noqa: S101  # not closed
        for name, array in outputs_by_name(first_rows(self._scores, count)).items():
            if name != MAP:
                cuda.memcpy_dtoh_async(array, self._device[name], stream)

    def _fetch_maps(self, scores: Scores, above: float) -> None:
        """Copy the maps of the frames that have a value above this, and wait for them."""
        assert scores.summary is not None  # noqa: S101  # of a plan
        not_needed = scores.summary.peak <= above  # never true for a NaN peak
        wanted = np.flatnonzero(~not_needed)
        if not wanted.size:
            return
        for run in np.split(wanted, np.flatnonzero(np.diff(wanted) > 1) + 1):
            maps = scores.maps[run[0] : run[-1] + 1]
            first = int(self._device[MAP]) + int(run[0]) * maps[0].nbytes
            self._plan.cuda.memcpy_dtoh_async(maps, first, self._stream)
        self._stream.synchronize()


def open_lanes(plan: Plan) -> list[TensorRtEngine]:
    """Make the engines that share `plan`: all or none, and all with graphs or all without.

    Raises:
        BackendError: the GPU's memory is too small, or CUDA failed.
    """
    lanes: list[TensorRtEngine] = []
    try:
        lanes.extend(TensorRtEngine(plan) for _ in range(LANES))
        if not all(lane.record() for lane in lanes):
            for lane in lanes:
                lane.forget_graphs()
    except BaseException:
        for lane in lanes:
            lane.close()
        raise
    return lanes


def no_memory(plan: Plan) -> str:
    """Build the error for lanes that do not fit into the GPU, with the batch size that would.

    A lane's memory is assumed to grow with the batch: its buffers do, and so does nearly all of
    TensorRT's memory.
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
