"""OpenVINO on the CPU: the default engine for `.onnx` files, and what runs `.openvino` files.

The graph is compiled for one frame, and the frames of a batch run side by side on as many
single-threaded streams as there are threads. On a CPU a larger batch gains almost nothing, while
one request on two threads costs more CPU per frame than two requests on one thread each
(docs/experiments.md). So a frame's result cannot depend on its place in the batch.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino

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
from engines.errors import BackendError, ManifestError, ScoringError
from engines.manifest import Manifest
from engines.residual.operator import OPERATOR

# By default OpenVINO uses bf16 if the CPU has it. The float parts of int8 graphs stay f32.
_HINTS = {"fp32": "f32", "fp16": "f32", "bf16": "bf16", "int8": "f32"}


@dataclass(frozen=True)
class Network:
    """A compiled file, shared by the engines that score with it."""

    manifest: Manifest
    scales: int  # scales of its prototypes; 0 without prototypes
    streams: int  # frames computed at the same time, one core each
    compiled: Any  # openvino has no types

    @property
    def backend(self) -> str:
        """Library, device, streams and the precision that is really used."""
        taken = self.compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        streams = self.compiled.get_property("NUM_STREAMS")
        version = openvino.__version__.split("-")[0]
        return f"openvino {version} cpu, {streams} streams, {taken}"


def load_network(
    path: Path, manifest: Manifest, threads: int, prepared: bytes | None = None
) -> Network:
    """Load and compile a file.

    Args:
        path: the file; its manifest is verified.
        manifest: what the file is.
        threads: frames computed at the same time; at least 1.
        prepared: from `compiled_bytes` of this release, for the same file and threads.

    Raises:
        ManifestError: the graph does not fit the contract or the manifest.
        BackendError: OpenVINO cannot read or compile it.
    """
    streams = min(threads, manifest.max_batch)
    if prepared is not None:
        compiled = _import(prepared, manifest, streams)
        scales = check_contract(_ports(compiled.inputs), _ports(compiled.outputs), manifest)
        return Network(manifest, scales, streams, compiled)
    model, scales = _read(path, manifest)
    return Network(manifest, scales, streams, _compile(model, manifest, streams))


def compiled_bytes(path: Path, manifest: Manifest, threads: int) -> bytes:
    """Compile a file, for `load_network` in another process of this machine.

    Raises:
        ManifestError, BackendError: as `load_network`.
    """
    exported: bytes = load_network(path, manifest, threads).compiled.export_model().getvalue()
    return exported


class OpenVinoEngine:
    """Scores batches of frames on the CPU, each frame by itself.

    Several engines on one network may score at the same time, each in a thread of its own: while
    one hands its results on, the others keep the streams busy.
    """

    def __init__(self, network: Network) -> None:
        """Score with a network from `load_network`."""
        manifest = network.manifest
        self._size = (manifest.height, manifest.width)
        self._compiled: Any = network.compiled
        self._max_batch = manifest.max_batch
        self._scores: Scores | None = allocate_scores(manifest, network.scales)
        self._requests: list[Any] = []

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

        Raises:
            ShapeError: the frames do not fit the engine.
            ScoringError: OpenVINO failed.
        """
        del maps_above  # every map is in the host's memory anyway
        check_frames(frames, self._size, self._max_batch)
        if self._scores is None:
            raise ScoringError("this engine is closed")
        while len(self._requests) < len(frames):
            self._requests.append(self._request(len(self._requests), self._scores))
        try:
            # OpenVINO shares memory only with writable arrays
            _infer(self._requests, np.require(frames, requirements=["C", "W"]))
        except RuntimeError as error:
            raise ScoringError(f"OpenVINO failed on {len(frames)} frames: {error}") from error
        return first_rows(self._scores, len(frames))

    def close(self) -> None:
        """Free everything; the engine cannot be used afterwards."""
        self._requests.clear()
        self._compiled = None
        self._scores = None

    def _request(self, slot: int, scores: Scores) -> Any:  # noqa: ANN401  # openvino has no types
        """Make the request of one place in the batch; it writes straight into our arrays."""
        request = self._compiled.create_infer_request()
        for name, array in outputs_by_name(scores).items():
            row = openvino.Tensor(array[slot : slot + 1], shared_memory=True)
            request.set_tensor(name, row)
        return request


def _infer(requests: list[Any], frames: Pixels) -> None:
    """Start a request per frame, then wait for all, so that none outlives `frames`."""
    started = []
    try:
        for request, frame in zip(requests, frames, strict=False):
            request.set_tensor(FRAMES, openvino.Tensor(frame[np.newaxis], shared_memory=True))
            request.start_async()
            started.append(request)
    finally:
        _wait(started)


def _wait(requests: list[Any]) -> None:
    """Wait for every request, then raise the first error."""
    errors = []
    for request in requests:
        try:
            request.wait()
        except RuntimeError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _read(path: Path, manifest: Manifest) -> tuple[Any, int]:
    try:
        model = _load(path, manifest)
    except RuntimeError as error:
        raise BackendError(
            f"OpenVINO {openvino.__version__} cannot read {path}: {_last_line(error)}; "
            "export it again, or try --backend onnxruntime"
        ) from error
    scales = check_contract(_ports(model.inputs), _ports(model.outputs), manifest)
    try:
        model.reshape({FRAMES: [1, manifest.height, manifest.width, 3]})
    except RuntimeError as error:
        raise ManifestError(
            f"{path} does not take one frame at a time: {_last_line(error)}; "
            "export it with a dynamic batch"
        ) from error
    check_contract(_ports(model.inputs), _ports(model.outputs), manifest)
    return model, scales


def _load(path: Path, manifest: Manifest) -> Any:  # noqa: ANN401
    core = openvino.Core()
    if manifest.format == "openvino":
        from engines.backends.openvino_file import unpack_network  # noqa: PLC0415  # only for such a file

        xml, weights = unpack_network(path)
        return core.read_model(xml, weights)
    return core.read_model(without_functions(read_graph(path)))


def without_functions(graph: bytes) -> bytes:
    """Inline the body of our operator: OpenVINO does not look up functions."""
    if OPERATOR.encode() not in graph:
        return graph
    import onnx.inliner  # noqa: PLC0415  # costs time and memory that other files do not need

    try:
        model = onnx.load_model_from_string(graph)
        inlined: bytes = onnx.inliner.inline_local_functions(model).SerializeToString()
    except Exception:  # noqa: BLE001  # whatever foreign bytes make it raise
        return graph  # OpenVINO reports what is wrong with it
    return inlined


def _ports(ports: list[Any]) -> list[Port]:
    return [
        Port(
            min(port.get_names(), default=""),
            np.dtype(port.get_element_type().to_dtype()).name,
            tuple(
                None if size.is_dynamic else size.get_length() for size in port.get_partial_shape()
            ),
        )
        for port in ports
    ]


def _settings(manifest: Manifest, streams: int) -> dict[str, str | int | bool]:
    return {
        "INFERENCE_PRECISION_HINT": _HINTS[manifest.precision],
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": streams,
        # Pinned streams of two workers on one machine would share the same cores.
        "ENABLE_CPU_PINNING": False,
    }


def _compile(model: Any, manifest: Manifest, streams: int) -> Any:  # noqa: ANN401
    try:
        return openvino.Core().compile_model(model, "CPU", _settings(manifest, streams))
    except RuntimeError as error:
        raise BackendError(
            f"OpenVINO {openvino.__version__} cannot compile {manifest.model}: {_last_line(error)}"
        ) from error


def _import(prepared: bytes, manifest: Manifest, streams: int) -> Any:  # noqa: ANN401
    try:
        return openvino.Core().import_model(prepared, "CPU", _settings(manifest, streams))
    except RuntimeError as error:
        raise BackendError(
            f"OpenVINO {openvino.__version__} cannot take what it compiled of {manifest.model}: "
            f"{_last_line(error)}"
        ) from error


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
