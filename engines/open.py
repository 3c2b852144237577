"""Open an engine by its file's suffix, its manifest, and the requested device."""

import re
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from engines.engine import Engine
from engines.errors import BackendError, ManifestError
from engines.extras import EXTRA_OF, install_command
from engines.machine import usable_cores
from engines.manifest import Manifest, read_manifest

Backend = Literal[
    "auto", "openvino", "onnxruntime", "tensorrt", "tensorrt_rtx", "fixed", "extension"
]

# suffix -> the formats that it may stand for, and the backends that can run it
_FORMATS = {
    ".onnx": ("onnx",),
    ".openvino": ("openvino",),
    ".plan": ("tensorrt", "tensorrt_rtx"),
    ".fixed": ("fixed",),
}
_BACKENDS: dict[str, tuple[Backend, ...]] = {
    ".onnx": ("openvino", "onnxruntime"),
    ".openvino": ("openvino",),
    ".plan": ("tensorrt", "tensorrt_rtx"),
    ".fixed": ("fixed",),
}
MOST_LANES = 8  # more threads would wait for the interpreter instead of the network
_DEVICE = re.compile(r"auto|cpu|cuda(?::(?P<index>\d{1,3}))?")


@dataclass(frozen=True, slots=True)
class Runtime:
    """How to run an engine; the fields are those of `open_engine`."""

    backend: Backend = "auto"
    device: str = "auto"
    threads: int = 0


@dataclass(frozen=True, slots=True)
class OpenedEngine:
    """An engine that is ready to score, with its manifest; a context manager that closes it."""

    engine: Engine
    manifest: Manifest
    backend: str  # library, version, device and precision that are really used
    more_lanes: tuple[Engine, ...] = ()  # may score beside `engine`, each in its own thread

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for engine in (*self.more_lanes, self.engine):
            engine.close()


def open_engine(
    path: Path,
    backend: Backend = "auto",
    device: str = "auto",
    threads: int = 0,
    prepared: bytes | None = None,
) -> OpenedEngine:
    """Verify the manifest of the engine file `path`, then open it.

    Args:
        path: `.onnx`, `.openvino`, `.plan`, `.fixed`, or a suffix that an installed package
            offers under `prn_line.backends`; with its manifest beside it.
        backend: `auto` uses OpenVINO on a CPU and ONNX Runtime on a GPU, and for a plan the
            TensorRT that built it.
        device: `auto` (the CPU; for a plan the first GPU), `cpu`, `cuda` or `cuda:1`. A GPU that
            does not work is an error: nothing falls back to the CPU.
        threads: number of CPU cores to use; 0 for all that this process may use.
        prepared: from `engines.precompile`, for the same file, device and threads.

    Raises:
        ManifestError: file and manifest do not fit each other or this program.
        BackendError: this machine cannot run it; the message says what to install.
    """
    cuda_index = _cuda_index("cuda" if path.suffix == ".plan" and device == "auto" else device)
    chosen = _choose(path, backend, on_gpu=cuda_index is not None)
    manifest = read_manifest(path)
    _check_format(path, manifest, on_gpu=cuda_index is not None)
    if path.suffix == ".plan":
        chosen = _plan_backend(path, manifest, backend)
    if prepared is not None and chosen == "openvino":
        return _open_openvino(path, manifest, cuda_index, threads or usable_cores(), prepared)
    return _OPENERS[chosen](path, manifest, cuda_index, threads or usable_cores())


def compiles_here(path: Path, backend: Backend, device: str) -> bool:
    """Return whether opening this file compiles it for this CPU, as `engines.precompile` does.

    Raises:
        BackendError: no such device, or no backend runs such a file.
    """
    if path.suffix != ".onnx":
        return False
    return _choose(path, backend, on_gpu=_cuda_index(device) is not None) == "openvino"


def _cuda_index(device: str) -> int | None:
    if (match := _DEVICE.fullmatch(device)) is None:
        raise BackendError(f"device {device!r:.40} is unknown: use auto, cpu, cuda or cuda:1")
    if not device.startswith("cuda"):
        return None
    return int(match["index"] or 0)


def _choose(path: Path, backend: Backend, *, on_gpu: bool) -> Backend:
    able = _BACKENDS.get(path.suffix) or _extension(path)
    if backend == "auto":
        return "onnxruntime" if on_gpu and "onnxruntime" in able else able[0]
    if backend not in able:
        raise BackendError(f"{backend} cannot run {path.name}: use --backend {' or '.join(able)}")
    if backend == "openvino" and on_gpu:
        raise BackendError("openvino runs on the CPU here: use --backend onnxruntime for a GPU")
    return backend


def _check_format(path: Path, manifest: Manifest, *, on_gpu: bool) -> None:
    formats = _FORMATS.get(path.suffix, ("extension",))
    if manifest.format not in formats:
        raise ManifestError(
            f"the manifest of {path.name} says format {manifest.format}, "
            f"the suffix says {' or '.join(formats)}: give the file its own name back"
        )
    if manifest.device == "any" or (manifest.device != "cpu") == on_gpu:
        return
    raise BackendError(
        f"{path.name} was built for {manifest.device}, but requested is "
        f"{'a GPU' if on_gpu else 'the CPU'}: build it for this device"
    )


def _extension(path: Path) -> tuple[Backend, ...]:
    """Return the backend of a suffix that is not ours, if an installed package opens it."""
    from engines.extensions import BACKENDS, extension_names, find_extension  # noqa: PLC0415

    if find_extension(BACKENDS, path.suffix[1:]) is not None:
        return ("extension",)
    known = [*_BACKENDS, *(f".{name}" for name in extension_names(BACKENDS))]
    raise BackendError(
        f"{path.name} has no suffix that this version can run: it runs {', '.join(known)} files"
    )


def _open_extension(
    path: Path, manifest: Manifest, cuda_index: int | None, threads: int
) -> OpenedEngine:
    from engines.extensions import BACKENDS, find_extension  # noqa: PLC0415

    open_file = find_extension(BACKENDS, path.suffix[1:])
    if open_file is None:  # uninstalled since it was looked up
        raise BackendError(f"nothing opens {path.name} any more")
    engine: Engine = open_file(path, manifest, cuda_index, threads)
    return OpenedEngine(engine, manifest, f"{path.suffix[1:]} (extension)")


def _open_openvino(
    path: Path,
    manifest: Manifest,
    cuda_index: int | None,
    threads: int,
    prepared: bytes | None = None,
) -> OpenedEngine:
    del cuda_index
    try:
        from engines.backends.openvino import OpenVinoEngine, load_network  # noqa: PLC0415  # only where it is used
    except ImportError as error:
        raise _missing("openvino", error) from error
    network = load_network(path, manifest, threads, prepared)
    lanes = [OpenVinoEngine(network) for _ in range(min(network.streams, MOST_LANES))]
    return OpenedEngine(lanes[0], manifest, network.backend, tuple(lanes[1:]))


def _open_onnxruntime(
    path: Path, manifest: Manifest, cuda_index: int | None, threads: int
) -> OpenedEngine:
    try:
        from engines.backends.onnxruntime import OnnxRuntimeEngine  # noqa: PLC0415
    except ImportError as error:
        raise _missing("onnxruntime", error) from error
    engine = OnnxRuntimeEngine(path, manifest, cuda_index, threads)
    return OpenedEngine(engine, manifest, engine.backend)


def _plan_backend(path: Path, manifest: Manifest, backend: Backend) -> Backend:
    """Return the TensorRT that built the plan, because the other one cannot read it."""
    built_by: Backend = "tensorrt_rtx" if manifest.format == "tensorrt_rtx" else "tensorrt"
    if backend not in ("auto", built_by):
        raise BackendError(
            f"{path.name} was built by {built_by}, which {backend} cannot read: build it again "
            f"with engine-build --backend {backend}"
        )
    return built_by


def _open_plan(
    path: Path, manifest: Manifest, cuda_index: int | None, threads: int
) -> OpenedEngine:
    del threads
    if cuda_index is None:
        raise BackendError(f"{path.name} runs on a GPU only: use --device cuda")
    from engines.backends.tensorrt.device import find_device  # noqa: PLC0415
    from engines.backends.tensorrt.engine import open_lanes  # noqa: PLC0415
    from engines.backends.tensorrt.plan import Plan  # noqa: PLC0415

    first, *more = open_lanes(Plan(path, manifest, find_device(manifest, cuda_index)))
    return OpenedEngine(first, manifest, first.backend, tuple(more))


def _open_fixed(
    path: Path, manifest: Manifest, cuda_index: int | None, threads: int
) -> OpenedEngine:
    del cuda_index, threads
    from engines.backends.fixed import FixedEngine  # noqa: PLC0415

    engine = FixedEngine(path, manifest)
    return OpenedEngine(engine, manifest, engine.backend)


def _missing(package: str, error: ImportError) -> BackendError:
    mend = install_command(EXTRA_OF[package])
    return BackendError(f"{package} does not import ({error}): {mend}")


_OPENERS = {
    "openvino": _open_openvino,
    "onnxruntime": _open_onnxruntime,
    "tensorrt": _open_plan,
    "tensorrt_rtx": _open_plan,
    "fixed": _open_fixed,
    "extension": _open_extension,
}
