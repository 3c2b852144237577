"""Network -> ONNX engine file with its manifest, proven to compute the same before it is written.

Graph contract: input `frames` uint8 [N, H, W, 3] RGB; outputs `score` float32 [N], `map` float32
[N, H, W], `nearest` int32 [N, S], `distance` float32 [N, S]. N is dynamic, H and W are fixed.
Prototype residuals are nodes of `prn::PrototypeResidual`, whose body of standard operators is a
function in the file.
"""

import logging
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from engines.engine import Scores
from engines.files import file_sha256, write_atomic
from engines.manifest import Manifest, Snapshot, Thresholds, write_manifest
from engines.residual.function import residual_nodes, with_function
from engines.zones.schema import ZoneSet
from trainer.errors import ExportError

OPSET = 18
MAX_BATCH = 32
OUTPUTS = ("score", "map", "nearest", "distance")
# On scores and maps, which are 0..1, and on distances relative to the larger of themselves and 1,
# which is their usual size: float32 sums in another order give 1e-5.
TOLERANCE = 1e-4
_TRACED_BATCH = 2  # a batch of 1 would be taken for a constant


def export_onnx(network: nn.Module, frames: NDArray[np.uint8]) -> bytes:
    """Export, and compare with torch on `frames`, uint8 [N, H, W, 3] with N >= 1.

    Returns: the ONNX file's content.

    Raises:
        ExportError: ONNX Runtime and torch disagree by more than TOLERANCE.
    """
    network.eval()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns that torchvision is absent
    example = torch.zeros(_TRACED_BATCH, *frames.shape[1:], dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about its internals
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["frames"],
            output_names=list(OUTPUTS),
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=MAX_BATCH)},),
            verbose=False,
        )
    if program is None:
        raise ExportError("torch exported nothing")
    model = program.model_proto
    _forget_origin(model)
    if residual_nodes(model):
        model = with_function(model)
    content: bytes = model.SerializeToString()
    _check_agreement(network, content, frames)
    return content


def write_engine(
    path: Path,
    content: bytes,
    model: str,
    size: tuple[int, int],
    thresholds: Thresholds,
    snapshot: Snapshot,
    settings: Mapping[str, str | int | float | bool],
    zones: ZoneSet | None = None,
) -> Manifest:
    """Write the engine file and its manifest, each whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, content)
    created = datetime.now(UTC)
    manifest = Manifest(
        sha256=file_sha256(path),
        model=model,
        version=created.strftime("%Y%m%d-%H%M%S"),
        created=created.isoformat(timespec="seconds"),
        format="onnx",
        format_version=f"onnx {onnx.__version__}, opset {OPSET}",
        device="any",
        height=size[0],
        width=size[1],
        max_batch=MAX_BATCH,
        precision="fp32",
        thresholds=thresholds,
        snapshot=snapshot,
        settings=dict(settings),
        zones=zones,
    )
    write_manifest(path, manifest)
    return manifest


def run_torch(network: nn.Module, frames: NDArray[np.uint8]) -> Scores:
    """Judge uint8 [N, H, W, 3] with torch."""
    with torch.inference_mode():
        outputs = network(torch.from_numpy(frames))
    return Scores(*(output.numpy() for output in outputs))


def _forget_origin(model: onnx.ModelProto) -> None:
    """Drop what torch notes of its own source lines: paths of the machine that trained."""
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info):
        del part.metadata_props[:]
    for part in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        del part.metadata_props[:]


def _check_agreement(network: nn.Module, content: bytes, frames: NDArray[np.uint8]) -> None:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for batch in (frames[:1], frames):
        wanted = run_torch(network, batch)
        got = Scores(*session.run(list(OUTPUTS), {"frames": batch}))
        for name, error in _errors(wanted, got).items():
            if not error <= TOLERANCE:
                raise ExportError(
                    f"the exported graph's {name} is off by {error:.2g} from torch's on a batch "
                    f"of {len(batch)}, wanted at most {TOLERANCE}: install the versions of torch "
                    "and onnxruntime that pyproject.toml names"
                )


def _errors(wanted: Scores, got: Scores) -> dict[str, float]:
    """Largest differences; NaN counts as disagreement because no comparison holds for it."""
    assert wanted.distance is not None  # noqa: S101  # run_torch gave all four
    assert got.distance is not None  # noqa: S101
    return {
        "score": float(np.abs(wanted.score - got.score).max()),
        "map": float(np.abs(wanted.maps - got.maps).max()),
        "distance": float(
            (np.abs(wanted.distance - got.distance) / np.maximum(wanted.distance, 1)).max()
        ),
    }
