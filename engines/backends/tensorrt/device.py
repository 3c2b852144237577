"""The GPU that serves a plan, and the two libraries through which it is used."""

import importlib
import threading
from dataclasses import dataclass
from typing import Any

from engines.backends.tensorrt.api import load_tensorrt
from engines.errors import BackendError
from engines.extras import install_command
from engines.machine import Gpu, find_gpu
from engines.manifest import Manifest

_CONTEXTS: dict[tuple[Any, int], Any] = {}  # by driver module and GPU
_CONTEXTS_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class PlanDevice:
    """A GPU that a plan fits."""

    index: int
    gpu: Gpu
    trt: Any  # the module tensorrt or tensorrt_rtx
    cuda: Any  # the module pycuda.driver
    version: str  # version of TensorRT, as manifests name it
    graphs: Any = None  # the module cuda.bindings.driver; None: TensorRT records graphs itself


def find_device(manifest: Manifest, index: int) -> PlanDevice:
    """Find GPU `index` for a plan.

    Raises:
        BackendError: the driver, the GPU, TensorRT, pycuda or cuda.bindings is missing, or the plan
            was built for another GPU or version.
    """
    gpu = find_gpu(index)
    trt = load_tensorrt(manifest.format)  # type: ignore[arg-type]  # the caller looked
    version = f"{manifest.format} {trt.__version__}"
    check_fits(manifest, gpu, version)
    graphs = _import("cuda.bindings.driver") if manifest.format == "tensorrt" else None
    return PlanDevice(index, gpu, trt, _driver(), version, graphs)


def primary_context(cuda: Any, index: int) -> Any:  # noqa: ANN401  # modules without types
    """Return the GPU's context, which all plans of this process share until it ends.

    pycuda releases a context only on the thread that acquired it, and a swap closes a plan on
    another thread than the one that loaded it.
    """
    with _CONTEXTS_LOCK:
        if (cuda, index) not in _CONTEXTS:
            _CONTEXTS[cuda, index] = cuda.Device(index).retain_primary_context()
        return _CONTEXTS[cuda, index]


def check_fits(manifest: Manifest, gpu: Gpu, version: str) -> None:
    """Check that a plan was built for this GPU and TensorRT.

    Args:
        manifest: the plan's.
        gpu: the one that would run it.
        version: the TensorRT that would run it, as manifests name it.

    Raises:
        BackendError: the GPU or the version differs.
    """
    built_for = manifest.device.rsplit(" ", 1)[-1]  # "NVIDIA L4, sm_89", or "sm_89"
    if built_for != gpu.target:
        raise BackendError(
            f"the plan was built for {manifest.device}, this GPU is {gpu.name}, {gpu.target}: "
            "build it again with engine-build on this machine"
        )
    if manifest.format_version != version:
        raise BackendError(
            f"the plan was built by {manifest.format_version}, installed is {version}: build it "
            "again, or install that version"
        )


def _driver() -> Any:  # noqa: ANN401  # a module without types
    driver = _import("pycuda.driver")
    driver.init()
    return driver


def _import(module: str) -> Any:  # noqa: ANN401  # a module without types
    try:
        return importlib.import_module(module)  # needs the driver
    except ImportError as error:
        raise BackendError(
            f"{module} does not import ({error}): {install_command('gpu')}"
        ) from error
