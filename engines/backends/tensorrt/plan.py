"""A TensorRT plan in the memory of a GPU, with the kernels that it needs.

**Never run on a GPU yet**: docs/tensorrt.md says what is proven where.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from engines.backends.tensorrt.api import kernel_path
from engines.backends.tensorrt.device import PlanDevice, primary_context
from engines.backends.tensorrt.plugin import PlanPlugins
from engines.contract import Port, check_contract
from engines.errors import BackendError, ManifestError
from engines.files import file_sha256, read_file
from engines.manifest import Manifest
from engines.residual.launcher import ResidualKernel

MAX_PLAN_BYTES = 8 << 30


class Plan:
    """A plan in the memory of a GPU, shared by several engines; the last one to close frees it."""

    def __init__(self, path: Path, manifest: Manifest, device: PlanDevice) -> None:
        """Load the plan.

        Raises:
            ManifestError: the plan's tensors do not fit the contract, or a file does not fit its
                hash.
            BackendError: TensorRT refuses it, or CUDA failed.
        """
        self.manifest = manifest
        self.name = f"{device.version} {device.gpu.name}, {manifest.precision}"
        self.trt, self.cuda, self.graphs = device.trt, device.cuda, device.graphs
        self.free_bytes = 0  # free memory beside the plan
        self._users = 0
        self._plugins: PlanPlugins | None = None
        self._runtime: Any = None
        self.engine: Any = None
        try:
            self._context = primary_context(self.cuda, device.index)
        except self.cuda.Error as error:
            raise BackendError(f"GPU {device.index} gives no context: {error}") from error
        try:
            with self.current():
                self._load(path)
        except self.cuda.Error as error:
            self._free()
            raise BackendError(f"the GPU failed while {path.name} was loaded: {error}") from error
        except BaseException:
            self._free()
            raise

    def _load(self, path: Path) -> None:
        trt, manifest = self.trt, self.manifest
        self._plugins = PlanPlugins(trt, load_kernel(path, manifest))
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        with self._plugins.making():
            self.engine = self._runtime.deserialize_cuda_engine(read_file(path, MAX_PLAN_BYTES))
        if self.engine is None:
            raise BackendError(f"{manifest.format} cannot load {path.name}: build it again here")
        self.scales = check_contract(*_ports(trt, self.engine), manifest)
        self.free_bytes, _ = self.cuda.mem_get_info()

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the GPU's context current on this thread."""
        self._context.push()
        try:
            yield
        finally:
            self._context.pop()

    def make_context(self) -> Any:  # noqa: ANN401
        """Make an execution context without memory of its own, or return None if TensorRT fails."""
        given = self.trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if self.graphs is not None:
            return self.engine.create_execution_context(given)
        config = self.engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(given)
        config.cuda_graph_strategy = self.trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        return self.engine.create_execution_context(config)

    def lend(self) -> None:
        """Count one more engine that uses the plan."""
        self._users += 1

    def give_back(self) -> None:
        """Count one engine less, and free the plan after the last."""
        self._users -= 1
        if not self._users:
            self._free()

    def _free(self) -> None:
        with self.current():
            self.engine = self._runtime = None
            if self._plugins is not None:
                self._plugins.close()


def load_kernel(path: Path, manifest: Manifest) -> ResidualKernel | None:
    """Load the kernel library beside the plan, or return None if the plan needs none.

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
