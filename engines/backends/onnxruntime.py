"""ONNX Runtime: the portable second engine for `.onnx` files, on the CPU or an NVIDIA GPU."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from engines.contract import (
    FRAMES,
    Port,
    allocate_scores,
    check_contract,
    first_rows,
    outputs_by_name,
    read_graph,
)
from engines.engine import ALL_MAPS, Pixels, Scores, check_frames
from engines.errors import BackendError, ScoringError
from engines.manifest import Manifest

_CUDA = "CUDAExecutionProvider"
_CPU = "CPUExecutionProvider"
_OUT_OF_MEMORY = re.compile(r"out of memory|failed to allocate memory|bad_?alloc", re.IGNORECASE)


class OnnxRuntimeEngine:
    """Scores batches of frames with ONNX Runtime."""

    def __init__(
        self, path: Path, manifest: Manifest, cuda_index: int | None, threads: int
    ) -> None:
        """Load the file.

        Args:
            path: the `.onnx` file; its manifest is verified.
            manifest: what the file is.
            cuda_index: which NVIDIA GPU; None for the CPU.
            threads: cores for one batch; at least 1.

        Raises:
            ManifestError: the graph does not fit the contract or the manifest.
            BackendError: ONNX Runtime cannot load it, or has no CUDA.
        """
        self._size = (manifest.height, manifest.width)
        self._cuda_index = cuda_index
        self._threads = threads
        self._session: Any = _open_session(path, manifest, cuda_index, threads)
        scales = check_contract(
            _ports(self._session.get_inputs()), _ports(self._session.get_outputs()), manifest
        )
        self._max_batch = manifest.max_batch
        self._scores: Scores | None = allocate_scores(manifest, scales)

    @property
    def max_batch(self) -> int:
        """The most frames that one call takes."""
        return self._max_batch

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) in pixels that every frame must have."""
        return self._size

    @property
    def backend(self) -> str:
        """Library, device and threads."""
        version = onnxruntime.__version__
        if self._cuda_index is None:
            return f"onnxruntime {version} cpu, {self._threads} threads"
        return f"onnxruntime {version} cuda:{self._cuda_index}"

    def score(self, frames: Pixels, maps_above: float = ALL_MAPS) -> Scores:
        """Score `frames`, uint8 [N, H, W, 3]; the arrays returned are reused by the next call.

        Raises:
            ShapeError: the frames do not fit the engine.
            ScoringError: ONNX Runtime failed; if memory ran out, it suggests a batch size.
        """
        del maps_above  # every map is in the host's memory anyway
        check_frames(frames, self._size, self._max_batch)
        if self._scores is None:
            raise ScoringError("this engine is closed")
        scores = first_rows(self._scores, len(frames))
        try:
            self._run(np.ascontiguousarray(frames), scores)
        except Exception as error:  # its errors share no base class but Exception
            raise ScoringError(_explain(error, len(frames))) from error
        return scores

    def close(self) -> None:
        """Free everything; the engine cannot be used afterwards."""
        self._session = None
        self._scores = None

    def _run(self, frames: Pixels, scores: Scores) -> None:
        """Run with input and outputs bound to our arrays, so that CUDA copies them only once."""
        binding = self._session.io_binding()
        binding.bind_cpu_input(FRAMES, frames)
        for name, array in outputs_by_name(scores).items():
            binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
        self._session.run_with_iobinding(binding)
        binding.synchronize_outputs()


def _open_session(path: Path, manifest: Manifest, cuda_index: int | None, threads: int) -> Any:  # noqa: ANN401
    graph = read_graph(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads win microseconds and take the cores from decoding and from Redis.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    providers = [_CPU] if cuda_index is None else [_cuda_provider(manifest, cuda_index), _CPU]
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=providers)
    except Exception as error:  # its errors share no base class but Exception
        raise BackendError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load {path}: {error}"
        ) from error
    if cuda_index is not None and session.get_providers()[0] != _CUDA:
        raise BackendError(
            f"ONNX Runtime {onnxruntime.__version__} could not start CUDA on GPU {cuda_index}: "
            "check the driver (nvidia-smi) and its CUDA and cuDNN libraries, or use --device cpu"
        )
    return session


def _cuda_provider(manifest: Manifest, cuda_index: int) -> tuple[str, dict[str, str]]:
    if _CUDA not in onnxruntime.get_available_providers():
        raise BackendError(
            f"the installed ONNX Runtime {onnxruntime.__version__} has no CUDA: "
            "pip uninstall onnxruntime, then pip install onnxruntime-gpu; or use --device cpu"
        )
    tf32 = "0" if manifest.precision == "fp32" else "1"  # TF32 keeps 10 bits of 23
    return _CUDA, {"device_id": str(cuda_index), "use_tf32": tf32}


def _ports(ports: list[Any]) -> list[Port]:
    kinds = {"float": "float32", "double": "float64"}
    found = []
    for port in ports:
        kind = port.type.removeprefix("tensor(").removesuffix(")")
        dims = tuple(size if isinstance(size, int) else None for size in port.shape)
        found.append(Port(port.name, kinds.get(kind, kind), dims))
    return found


def _explain(error: Exception, count: int) -> str:
    if not _OUT_OF_MEMORY.search(str(error)):
        return f"ONNX Runtime failed on {count} frames: {error}"
    if count == 1:
        return f"no memory for a single frame: free memory or use a smaller model ({error})"
    return f"no memory for {count} frames: try a largest batch of {count // 2} ({error})"
