"""Import a TensorRT: `tensorrt`, the vendor's full one, or `tensorrt_rtx`, from PyPI."""

import importlib
import importlib.util
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from engines.errors import BackendError

PlanBackend = Literal["tensorrt", "tensorrt_rtx"]
SUFFIX = ".plan"

_INSTALL: dict[PlanBackend, str] = {
    "tensorrt": "see docs/tensorrt.md, it comes from the vendor's own package index",
    "tensorrt_rtx": "pip install tensorrt-rtx-cu13",
}


def load_tensorrt(backend: PlanBackend) -> Any:  # noqa: ANN401  # a module without types
    """Import the backend's module.

    Raises:
        BackendError: it is not installed, or does not import.
    """
    try:
        return importlib.import_module(backend)
    except (ImportError, OSError, RuntimeError) as error:
        raise BackendError(f"{backend} does not import ({error}): {_INSTALL[backend]}") from error


def check_installed(backend: PlanBackend) -> None:
    """Raise BackendError if it is not installed; does not import it, which takes seconds."""
    if importlib.util.find_spec(backend) is None:
        raise BackendError(f"{backend} is not installed: {_INSTALL[backend]}")


def kernel_path(plan: Path) -> Path:
    """Return the path of a plan's kernel library, which lies beside it like its manifest."""
    return plan.with_name(plan.name + ".so")


@contextmanager
def loadable_libraries(backend: PlanBackend) -> Iterator[dict[str, str]]:
    """Yield an environment in which a new process of this backend finds its own library.

    TensorRT-RTX's parser looks for `libtensorrt_rtx.so` when it meets a plugin, and aborts the
    process without it. Its wheel holds only `libtensorrt_rtx.so.1`.
    """
    environment = dict(os.environ)
    spec = importlib.util.find_spec("tensorrt_rtx_libs") if backend == "tensorrt_rtx" else None
    if spec is None or not spec.submodule_search_locations:
        yield environment
        return
    library = Path(spec.submodule_search_locations[0]) / "libtensorrt_rtx.so.1"
    with tempfile.TemporaryDirectory(prefix="tensorrt-rtx-") as folder:
        (Path(folder) / "libtensorrt_rtx.so").symlink_to(library)
        before = environment.get("LD_LIBRARY_PATH")
        environment["LD_LIBRARY_PATH"] = f"{folder}:{before}" if before else folder
        yield environment
