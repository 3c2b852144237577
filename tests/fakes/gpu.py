"""A GPU that is none: what our engine calls of pycuda, cuda.bindings and TensorRT, in numpy.

Work on a stream waits until the stream is synchronised, as on a GPU, and then runs in its order.
Whatever needs the GPU's context complains without it.
"""

import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from engines.backends.fixed import fixed_scores
from engines.contract import CELLS, DISTANCE, FRAMES, MAP, NEAREST, PEAK, SCORE
from engines.engine import GRID, summarise_maps

SCALES = 3
CONTEXT_BYTES = 1000  # that TensorRT takes for an execution context
_FAR = 1 << 30  # from one piece of memory to the next


class FakeCudaError(Exception):
    """pycuda.driver.Error."""


class FakeMemoryError(FakeCudaError):
    """pycuda.driver.MemoryError."""


@dataclass
class FakeMemory:
    """A piece of the GPU's memory."""

    gpu: "FakeGpu"
    address: int
    content: bytearray

    def __int__(self) -> int:
        return self.address

    def free(self) -> None:
        self.gpu.check_current("free")
        del self.gpu.memory[self.address]


@dataclass
class FakeStream:
    gpu: "FakeGpu"
    handle: int
    waiting: list[Callable[[], None]] = field(default_factory=list)
    recorded: list[Callable[[], None]] | None = None  # while a graph is recorded
    needs: list[weakref.ref[Any]] = field(default_factory=list)  # execution contexts of it

    def enqueue(self, work: Callable[[], None]) -> None:
        (self.waiting if self.recorded is None else self.recorded).append(work)

    def synchronize(self) -> None:
        self.gpu.check_current("synchronise")
        assert self.recorded is None, "waiting while a graph is recorded"
        self.gpu.note("synchronise")
        while self.waiting:
            self.waiting.pop(0)()


@dataclass
class FakeContext:
    gpu: "FakeGpu"

    def push(self) -> None:
        self.gpu.depth += 1

    def pop(self) -> None:
        self.gpu.depth -= 1


class FakeGpu:
    """The module pycuda.driver, and what there is on the GPU behind it."""

    Error = FakeCudaError
    MemoryError = FakeMemoryError

    def __init__(self, allocations: int = 100, free_bytes: int = 10**6) -> None:
        """Have room for so many allocations, whatever is said to be free."""
        self.room = allocations
        self.free_bytes = free_bytes
        self.memory: dict[int, FakeMemory] = {}
        self.streams: dict[int, FakeStream] = {}
        self.events: list[str] = []
        self.failing = ""  # the event that fails
        self._stack = threading.local()
        self.retained = 0  # times that the context was taken
        self.recording = False
        self.pinned: list[weakref.ref[np.ndarray]] = []  # page-locked arrays
        self.addresses = 0  # the latest that was given

    def check_current(self, what: str) -> None:
        assert self.depth == 1, f"{what} without the GPU's context"

    def note(self, event: str) -> None:
        self.events.append(event)
        if event == self.failing:
            raise FakeCudaError("an illegal memory access was encountered")

    def Device(self, index: int) -> SimpleNamespace:  # noqa: N802  # pycuda's name
        assert index == 1
        return SimpleNamespace(retain_primary_context=self._retain)

    @property
    def depth(self) -> int:
        """How often the context lies on this thread's stack."""
        return getattr(self._stack, "depth", 0)

    @depth.setter
    def depth(self, depth: int) -> None:
        self._stack.depth = depth

    def mem_get_info(self) -> tuple[int, int]:
        self.check_current("asking for memory")
        return self.free_bytes, 2 * self.free_bytes

    def pagelocked_empty(self, shape: tuple[int, ...], dtype: type) -> np.ndarray:
        self._take()
        array = np.empty(shape, dtype)
        self.pinned.append(weakref.ref(array))
        weakref.finalize(array, self.check_current, "freeing page-locked memory")
        return array

    def pagelocked_empty_like(self, array: np.ndarray) -> np.ndarray:
        return self.pagelocked_empty(array.shape, array.dtype)

    def check_pinned(self, array: np.ndarray) -> None:
        owner = array if array.base is None else array.base
        assert any(each() is owner for each in self.pinned), "a copy of pageable memory waits"

    def mem_alloc(self, size: int) -> FakeMemory:
        self._take()
        self.addresses += _FAR
        self.memory[self.addresses] = FakeMemory(self, self.addresses, bytearray(size))
        return self.memory[self.addresses]

    def Stream(self, flags: int) -> FakeStream:  # noqa: N802  # pycuda's name
        self.check_current("a stream")
        assert flags == 1, "a stream that waits for the default stream"
        handle = len(self.streams) + 1
        self.streams[handle] = FakeStream(self, handle)
        return self.streams[handle]

    def memcpy_htod_async(self, to: FakeMemory, array: np.ndarray, stream: FakeStream) -> None:
        self.check_current("a copy")
        self.check_pinned(array)
        self.note(f"in {len(array)}")

        def copy() -> None:
            to.content[: array.nbytes] = array.tobytes()

        stream.enqueue(copy)

    def memcpy_dtoh_async(
        self, array: np.ndarray, source: FakeMemory | int, stream: FakeStream
    ) -> None:
        self.check_current("a copy")
        self.check_pinned(array)
        self.note(f"out {array.nbytes}")
        offset = int(source) % _FAR
        memory = self.memory[int(source) - offset]
        assert offset + array.nbytes <= len(memory.content), "a copy of what lies behind"

        def copy() -> None:
            flat = np.frombuffer(memory.content, array.dtype, array.size, offset)
            array[...] = flat.reshape(array.shape)

        stream.enqueue(copy)

    def _retain(self) -> FakeContext:
        self.retained += 1
        return FakeContext(self)

    def _take(self) -> None:
        self.check_current("taking memory")
        assert not self.recording, "memory taken while a graph is recorded"
        if self.room == 0:
            raise FakeMemoryError("out of memory")
        self.room -= 1


def answers(frames: np.ndarray) -> dict[str, np.ndarray]:
    """What the fake plan says of uint8 [N, H, W, 3]."""
    scores = fixed_scores(frames)
    nearest = np.rint(scores[:, None] * [10, 20, 30]).astype(np.int32)
    distance = np.asarray(scores[:, None] + np.arange(SCALES), np.float32)
    maps = frames[..., 1].astype(np.float32) / 255
    said = {SCORE: scores, MAP: maps, NEAREST: nearest, DISTANCE: distance}
    summary = summarise_maps(maps)
    return said | {PEAK: summary.peak, CELLS: summary.cells}


class FakeExecution:
    """An execution context: tells addresses and a shape apart per lane."""

    def __init__(self, gpu: FakeGpu) -> None:
        self.gpu = gpu
        self.addresses: dict[str, int] = {}
        self.shape: tuple[int, ...] = ()
        self.ran: tuple[int, ...] = ()
        self.scratch = -1
        self.plan: FakePlan | None = None  # kept alive by it, as TensorRT's Python does
        self.refusing = ""  # "shape" or "batch"

    def set_tensor_address(self, name: str, address: int) -> None:
        assert address in self.gpu.memory
        self.addresses[name] = address

    def set_device_memory(self, address: int, size: int) -> None:
        assert len(self.gpu.memory[address].content) >= size
        self.scratch = address

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == FRAMES
        self.shape = shape
        return self.refusing != "shape"

    def execute_async_v3(self, handle: int) -> bool:
        self.gpu.check_current("inference")
        self.gpu.note(f"infer {self.shape[0]}")
        if self.refusing == "batch":
            return False
        assert self.scratch in self.gpu.memory, "no memory to work in"
        stream = self.gpu.streams[handle]
        # Before a graph can be recorded, the context must have run once in its present shape.
        assert stream.recorded is None or self.ran == self.shape, "recorded before it ran"
        self.ran = self.shape
        if stream.recorded is None:
            stream.enqueue(partial(self._infer, self.shape))
        else:  # a graph keeps no context alive
            stream.needs.append(weakref.ref(self))
            stream.enqueue(partial(_replay, stream.needs[-1], self.shape))
        return True

    def _infer(self, shape: tuple[int, ...]) -> None:
        memory = self.gpu.memory
        size = int(np.prod(shape))
        raw = np.frombuffer(memory[self.addresses[FRAMES]].content[:size], np.uint8)
        for name, array in answers(raw.reshape(shape)).items():
            if name not in self.addresses:
                continue
            memory[self.addresses[name]].content[: array.nbytes] = array.tobytes()


def _replay(execution: "weakref.ref[FakeExecution]", shape: tuple[int, ...]) -> None:
    context = execution()
    assert context is not None, "a graph outlived the context it was recorded from"
    assert shape == context.shape, "a context changed its shape after its graph was recorded"
    context._infer(shape)


class FakePlan:
    """An engine of TensorRT's; knows the tensors and makes execution contexts."""

    device_memory_size_v2 = CONTEXT_BYTES

    def __init__(self, gpu: FakeGpu, shapes: dict[str, tuple[int, ...]], contexts: int) -> None:
        self.gpu, self.shapes, self.contexts = gpu, shapes, contexts
        self.executions: list[weakref.ref[FakeExecution]] = []
        self.graphed = False  # TensorRT-RTX records graphs

    @property
    def num_io_tensors(self) -> int:
        return len(self.shapes)

    def get_tensor_name(self, place: int) -> str:
        return list(self.shapes)[place]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self.shapes[name]

    def get_tensor_dtype(self, name: str) -> type:
        return {FRAMES: np.uint8, NEAREST: np.int32}.get(name, np.float32)

    def get_tensor_mode(self, name: str) -> str:
        return "in" if name == FRAMES else "out"

    def create_runtime_config(self) -> "FakeConfig":
        return FakeConfig()

    def create_execution_context(self, given: "FakeConfig | str") -> FakeExecution | None:
        """Make one; given is a configuration, or where its memory comes from."""
        self.gpu.check_current("an execution context")
        if isinstance(given, FakeConfig):
            self.graphed = given.cuda_graph_strategy == "whole graph"
            given = given.strategy
        assert given == "user managed"
        if self.contexts == 0:
            return None
        self.contexts -= 1
        execution = FakeExecution(self.gpu)
        execution.plan = self
        self.executions.append(weakref.ref(execution))
        weakref.finalize(execution, self.gpu.events.append, "execution freed")
        return execution


class FakeConfig:
    """What TensorRT-RTX makes an execution context by."""

    strategy = "static"
    cuda_graph_strategy = "disabled"

    def set_execution_context_allocation_strategy(self, strategy: str) -> None:
        self.strategy = strategy


class FakeStatus(IntEnum):
    """cuda.bindings.driver.CUresult."""

    CUDA_SUCCESS = 0
    CUDA_ERROR_OUT_OF_MEMORY = 2
    CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900


@dataclass
class FakeGraph:
    """Recorded work, or the same ready to start."""

    work: list[Callable[[], None]]
    needs: list[weakref.ref[Any]]  # execution contexts

    def __int__(self) -> int:
        return id(self)


class FakeBindings:
    """The module cuda.bindings.driver: graphs on the streams of a FakeGpu."""

    CUstreamCaptureMode = SimpleNamespace(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL=1)

    def __init__(self, gpu: FakeGpu) -> None:
        self.gpu = gpu
        self.alive: list[FakeGraph] = []
        self.failing = ""  # the function that fails
        self.status = FakeStatus.CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED

    def cuStreamBeginCapture(self, handle: int, mode: int) -> tuple[FakeStatus]:  # noqa: N802
        assert mode == self.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        if self._fails("cuStreamBeginCapture"):
            return (self.status,)
        self.gpu.note("record")
        stream = self.gpu.streams[handle]
        assert stream.recorded is None
        stream.recorded, stream.needs = [], []
        self.gpu.recording = True
        return (FakeStatus.CUDA_SUCCESS,)

    def cuStreamEndCapture(self, handle: int) -> tuple[FakeStatus, FakeGraph | None]:  # noqa: N802
        stream = self.gpu.streams[handle]
        work, stream.recorded = stream.recorded, None
        self.gpu.recording = False
        assert work is not None
        if self._fails("cuStreamEndCapture"):
            return self.status, None
        self.gpu.note("recorded")
        return FakeStatus.CUDA_SUCCESS, self._kept(FakeGraph(work, stream.needs))

    def cuGraphInstantiate(  # noqa: N802
        self, graph: FakeGraph, flags: int
    ) -> tuple[FakeStatus, FakeGraph | None]:
        assert flags == 0
        if self._fails("cuGraphInstantiate"):
            return self.status, None
        return FakeStatus.CUDA_SUCCESS, self._kept(FakeGraph(graph.work, graph.needs))

    def cuGraphLaunch(self, graph: FakeGraph, handle: int) -> tuple[FakeStatus]:  # noqa: N802
        assert any(graph is each for each in self.alive)
        if self._fails("cuGraphLaunch"):
            return (self.status,)
        self.gpu.note("launch")
        self.gpu.streams[handle].waiting.extend(graph.work)
        return (FakeStatus.CUDA_SUCCESS,)

    def cuGraphDestroy(self, graph: FakeGraph) -> tuple[FakeStatus]:  # noqa: N802
        self.gpu.check_current("cuGraphDestroy")
        assert any(graph is each for each in self.alive), "destroyed twice"
        self.alive = [each for each in self.alive if each is not graph]
        return (FakeStatus.CUDA_SUCCESS,)

    def cuGraphExecDestroy(self, graph: FakeGraph) -> tuple[FakeStatus]:  # noqa: N802
        # A graph holds no reference to what it was recorded from.
        assert all(each() is not None for each in graph.needs), "freed before its graph"
        return self.cuGraphDestroy(graph)

    def _fails(self, function: str) -> bool:
        self.gpu.check_current(function)
        return function == self.failing

    def _kept(self, graph: FakeGraph) -> FakeGraph:
        self.alive.append(graph)
        return graph


class FakeRegistry:
    """TensorRT's, which a process has one of."""

    def __init__(self) -> None:
        self.creators: list[object] = []

    def register_creator(self, creator: object, domain: str) -> bool:
        assert domain == "prn"
        if self.creators:
            return False
        self.creators.append(creator)
        return True

    def deregister_creator(self, creator: object) -> None:
        self.creators.remove(creator)


class FakeTensorRt:
    """The module tensorrt."""

    __version__ = "11.4"
    TensorIOMode = SimpleNamespace(INPUT="in", OUTPUT="out")
    ExecutionContextAllocationStrategy = SimpleNamespace(USER_MANAGED="user managed")
    CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole graph")
    IPluginV3 = type("IPluginV3", (), {})
    IPluginV3OneCore = type("IPluginV3OneCore", (), {})
    IPluginV3OneBuild = type("IPluginV3OneBuild", (), {})
    IPluginV3OneRuntime = type("IPluginV3OneRuntime", (), {})
    IPluginCreatorV3One = type("IPluginCreatorV3One", (), {})
    PluginFieldCollection = list

    def __init__(self, gpu: FakeGpu, size: tuple[int, int], contexts: int = 100) -> None:
        """Run on a GPU, with memory for so many execution contexts."""
        self.gpu = gpu
        self.contexts = contexts
        self.registry = FakeRegistry()
        self.shapes: dict[str, tuple[int, ...]] = {
            FRAMES: (-1, *size, 3),
            SCORE: (-1,),
            MAP: (-1, *size),
            NEAREST: (-1, SCALES),
            DISTANCE: (-1, SCALES),
            PEAK: (-1,),
            CELLS: (-1, GRID, GRID),
        }
        self.plans: list[weakref.ref[FakePlan]] = []
        self.plugins: list[Any] = []  # made for plans that were read
        self.readable = b"a plan"

    class Logger:
        ERROR = 1

        def __init__(self, level: int) -> None:
            assert level == self.ERROR

    def Runtime(self, _logger: Logger) -> SimpleNamespace:  # noqa: N802  # TensorRT's name
        self.gpu.check_current("a runtime")
        return SimpleNamespace(deserialize_cuda_engine=self._read)

    def get_plugin_registry(self) -> FakeRegistry:
        return self.registry

    @staticmethod
    def nptype(dtype: type) -> type:
        return dtype

    def _read(self, content: bytes) -> FakePlan | None:
        self.gpu.check_current("reading a plan")
        if content != self.readable:
            return None
        if self.registry.creators:
            self.plugins.append(self.registry.creators[0].create_plugin("", [], "runtime"))
        plan = FakePlan(self.gpu, self.shapes, self.contexts)
        self.plans.append(weakref.ref(plan))
        weakref.finalize(plan, self._gone)
        return plan

    def _gone(self) -> None:
        self.gpu.check_current("freeing a plan")
        self.gpu.events.append("plan freed")
