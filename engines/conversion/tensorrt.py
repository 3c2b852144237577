"""ONNX engine file -> TensorRT plan with its manifest."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import onnx
from onnx import ModelProto

from engines.backends.tensorrt.api import (
    SUFFIX,
    PlanBackend,
    check_installed,
    kernel_path,
    loadable_libraries,
)
from engines.contract import read_graph
from engines.conversion.half_precision import to_half_precision
from engines.conversion.int8 import find_convolutions, read_calibration
from engines.conversion.map_summary import add_map_summary
from engines.conversion.tensorrt_process import THIS_GPU, BuildRequest
from engines.errors import BackendError, ManifestError
from engines.files import write_atomic
from engines.machine import find_gpu
from engines.manifest import Manifest, read_manifest, write_manifest
from engines.pictures.rules import AS_STORED, PictureRules
from engines.residual.compile_kernel import compile_kernel, find_nvcc
from engines.residual.function import residual_nodes
from engines.residual.operator import DOMAIN, INPUTS, VERSION
from engines.trial_frames import PICTURES, TrialPictures

MAX_PROTOTYPES = 256  # per scale, limit of the kernels
_CHANNELS = 3
_MODULE = "engines.conversion.tensorrt_process"


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """How to build a plan."""

    backend: PlanBackend = "tensorrt"
    target: str = THIS_GPU  # or an architecture as nvcc names it: sm_89
    usual_batch: int = 8  # frames; the batch size that the plan is tuned for
    max_batch: int = 16
    precision: Literal["fp16", "fp32", "int8"] = "fp16"
    timing_cache: Path | None = None
    kernels: Path | None = None  # cache folder for compiled kernels; None: always compile
    calibration: Path | None = None  # folder of good pictures on which int8 measures its ranges
    pictures: int = PICTURES  # number of pictures used from it
    rules: PictureRules = AS_STORED  # rules for their files


def build_plan(
    source: Path,
    plan: Path,
    options: PlanOptions,
    on_phase: Callable[[str], None] = lambda _: None,
) -> Manifest:
    """Build `plan` from the ONNX engine file `source`.

    Its manifest is written beside it and, if the network has prototypes, the library of the kernels
    that its plugin starts.

    `on_phase` is called with TensorRT's current phase.

    Raises:
        ManifestError: `source` does not fit its manifest, has another operator set than this
            program's, or has nothing to quantise.
        BackendError: TensorRT, the GPU or nvcc is missing, or TensorRT refuses the graph.
        PictureError: there are too few pictures to measure the ranges for 8 bits.
    """
    manifest = read_manifest(source)
    if manifest.format != "onnx":
        raise ManifestError(
            f"{source.name} is of format {manifest.format}: plans are built from ONNX"
        )
    if plan.suffix != SUFFIX:
        raise BackendError(f"{plan.name}: a plan's name must end with {SUFFIX}")
    check_installed(options.backend)
    architecture, device = _device(options)
    model = onnx.load_model_from_string(read_graph(source))
    plugins = check_nodes(model, source.name, manifest.model)
    model = _lowered(model, source.name, manifest, options, on_phase)
    model = add_map_summary(model, (manifest.height, manifest.width))
    with tempfile.TemporaryDirectory(prefix="plan-") as name:
        folder = Path(name)
        kernel = _compiled(options.kernels or folder, architecture, on_phase) if plugins else b""
        request = _request(model, folder, options, manifest, plugins)
        version = _run(request, on_phase)
        content = Path(request.plan).read_bytes()
    built = manifest.model_copy(
        update={
            "sha256": hashlib.sha256(content).hexdigest(),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "format": options.backend,
            "format_version": f"{options.backend} {version}",
            "device": device,
            "max_batch": options.max_batch,
            "precision": options.precision,
            "admission": None,
            "built_from": manifest.sha256,
            "kernel_sha256": hashlib.sha256(kernel).hexdigest() if kernel else "",
        }
    )
    _publish(plan, content, kernel, built)
    return built


def check_nodes(model: ModelProto, name: str, kind: str) -> int:
    """Check and count the nodes of the prototype residual.

    Args:
        model: the graph.
        name: the file's name, for messages.
        kind: the network's kind, from the manifest.

    Raises:
        ManifestError: their version differs, they are missing although the network has prototypes,
            or their prototypes do not fit.
    """
    versions = {each.version for each in model.opset_import if each.domain == DOMAIN}
    nodes = residual_nodes(model)
    if versions - {VERSION}:
        raise ManifestError(
            f"{name} holds operator set {DOMAIN} {max(versions)}, this program builds {VERSION}: "
            "export it again with trainer-train, which goes on from the checkpoint"
        )
    if kind.startswith("prn") and not nodes:
        raise ManifestError(
            f"{name} is a {kind} without a node of {DOMAIN}::PrototypeResidual: it was flattened; "
            "take the file that trainer-train wrote"
        )
    stored = {each.name: tuple(each.dims) for each in model.graph.initializer}
    for node in nodes:
        if len(node.input) != len(INPUTS):
            raise ManifestError(f"{name}: a node has {len(node.input)} inputs, not {len(INPUTS)}")
        for place in range(1, len(INPUTS), 2):
            dims = stored.get(node.input[place], ())
            if len(dims) != 4 or not 1 <= dims[0] <= MAX_PROTOTYPES:  # noqa: PLR2004  # K, C, H, W
                raise ManifestError(
                    f"{name}: {INPUTS[place]} is {list(dims) or 'not constant'}, expected 1 to "
                    f"{MAX_PROTOTYPES} prototypes [K, C, H, W]"
                )
    try:
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        first = str(error).splitlines()[-1]
        raise ManifestError(f"{name}: its tensors do not fit each other: {first}") from error
    return len(nodes)


def _lowered(
    model: ModelProto,
    name: str,
    manifest: Manifest,
    options: PlanOptions,
    on_phase: Callable[[str], None],
) -> ModelProto:
    """Set the types of a graph: 8 bits if requested, float16 where that is safe."""
    if options.precision == "int8":
        from engines.conversion.quantize_graph import quantise_graph  # noqa: PLC0415  # with ONNX Runtime

        if options.calibration is None:
            raise BackendError("int8 needs pictures of good parts: name their folder")
        convolutions = find_convolutions(name, manifest, model)
        pictures = TrialPictures(options.calibration, options.pictures, options.rules)
        frames = read_calibration(pictures, manifest, on_phase)
        model = quantise_graph(model, convolutions, frames)
    return model if options.precision == "fp32" else to_half_precision(model)


def _device(options: PlanOptions) -> tuple[int, str]:
    """Return the plan's target: its architecture (89 for sm_89), and a description."""
    if options.target != THIS_GPU:
        return int(options.target.removeprefix("sm_")), options.target
    gpu = find_gpu()
    return 10 * gpu.capability[0] + gpu.capability[1], f"{gpu.name}, {gpu.target}"


def _compiled(folder: Path, architecture: int, on_phase: Callable[[str], None]) -> bytes:
    """Compile the kernels for one architecture; return the library's content."""
    on_phase("compiling kernels")
    made = compile_kernel(folder, find_nvcc(os.environ), architectures=[architecture])
    return made.library.read_bytes()


def _request(
    model: ModelProto, folder: Path, options: PlanOptions, manifest: Manifest, plugins: int
) -> BuildRequest:
    """Write the graph into `folder`, and return the request to build a plan there."""
    graph = folder / "graph.onnx"
    graph.write_bytes(model.SerializeToString())
    return BuildRequest(
        graph=str(graph),
        plan=str(folder / "made.plan"),
        backend=options.backend,
        target=options.target,
        batches=(1, options.usual_batch, options.max_batch),
        frame=(manifest.height, manifest.width, _CHANNELS),
        plugins=plugins,
        timing_cache=str(options.timing_cache) if options.timing_cache else None,
    )


def _publish(plan: Path, content: bytes, kernel: bytes, manifest: Manifest) -> None:
    """Move the finished files to their place, where another plan may be in use."""
    plan.parent.mkdir(parents=True, exist_ok=True)
    if kernel:
        write_atomic(kernel_path(plan), kernel)
    write_atomic(plan, content)
    write_manifest(plan, manifest)


def _run(request: BuildRequest, on_phase: Callable[[str], None]) -> str:
    """Build in a child process; return the version of TensorRT."""
    command = [sys.executable, "-m", _MODULE]
    with (
        loadable_libraries(request.backend) as environment,
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            env=environment,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None  # noqa: S101  # asked for
        assert process.stdout is not None  # noqa: S101
        process.stdin.write(json.dumps(asdict(request)))
        process.stdin.close()
        for line in process.stdout:
            said = _read(line)
            if "error" in said:
                process.wait()
                raise BackendError(str(said["error"]))
            if "done" in said:
                process.wait()
                return str(said["done"])
            if "phase" in said:
                on_phase(str(said["phase"]))
        status = process.wait()
        complaints.seek(0)
        last = complaints.read().decode("utf-8", "replace").strip().splitlines()[-1:]
    raise BackendError(
        f"{request.backend} ended with status {status} in the middle of the build"
        + (f": {last[0]}" if last else "")
    )


def _read(line: str) -> dict[str, Any]:
    """Read the messages of the process; TensorRT's own output on stdout is ignored."""
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
