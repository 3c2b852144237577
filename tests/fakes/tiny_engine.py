"""Tiny ONNX engines with real admissions, for whatever goes through a registry or a worker."""

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from inputs.onnx_graphs import onnx_model, write_graph
from onnx import TensorProto, helper

from engines.admission.admit import admit
from engines.manifest import Manifest, Thresholds, parse_manifest, write_manifest
from engines.manifest import manifest_path as path_of_manifest
from engines.open import Runtime

RUNTIME = Runtime("onnxruntime", "cpu", 1)  # opens in milliseconds and compiles nothing


def write_tiny_engine(
    path: Path,
    side: int = 16,
    *,
    salt: int = 0,
    rounds: int = 0,
    fails_at: int | None = None,
    max_batch: int = 4,
    image_threshold: float = 0.5,
) -> Manifest:
    """Write an engine that this machine admitted; returns its manifest.

    Args:
        path: of the file, `NAME.onnx`.
        side: height and width of a frame, pixels.
        salt: engines of another salt are other files that say the same.
        rounds: of work without effect; each makes a frame dearer.
        fails_at: frames whose every green value is this get a score that is no number.
        max_batch: most frames of a call.
        image_threshold: scores above are NG.
    """
    graph, admission = _admitted(side, salt, rounds, fails_at, max_batch, image_threshold)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(graph)
    manifest = parse_manifest(admission, path.name)
    write_manifest(path, manifest)
    return manifest


def write_unadmitted_engine(path: Path, side: int = 16, *, salt: int = 0) -> Manifest:
    """Write the same engine without an admission."""
    manifest = write_tiny_engine(path, side, salt=salt).model_copy(update={"admission": None})
    write_manifest(path, manifest)
    return manifest


@cache
def _admitted(  # a key for the cache
    side: int,
    salt: int,
    rounds: int,
    fails_at: int | None,
    max_batch: int,
    image_threshold: float,
) -> tuple[bytes, bytes]:
    """Make and admit an engine once in this process; returns its bytes and its manifest's."""
    thresholds = Thresholds(image=image_threshold, pixel=0.5, method="set by hand", normals=0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "engine.onnx"
        graph = green_graph(side, salt, rounds, fails_at)
        write_graph(path, graph, side, side, max_batch=max_batch, thresholds=thresholds)
        report = admit(path, None, RUNTIME, repeats=3)
        assert report.admitted, report.reasons
        return path.read_bytes(), path_of_manifest(path).read_bytes()


def green_graph(side: int, salt: int, rounds: int, fails_at: int | None) -> onnx.ModelProto:
    """Green / 255 -> map; its mean -> score."""
    nodes = [
        helper.make_node("Gather", ["frames", "second"], ["green"], axis=3),
        helper.make_node("Cast", ["green"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "full"], ["map"]),
        helper.make_node("ReduceMean", ["map", "spatial"], ["mean"], keepdims=0),
    ]
    constants = {
        "full": np.float32(255),
        "second": np.int64(1),
        "spatial": np.array([1, 2], np.int64),
        "salt": np.int64(salt),
        "zero": np.float32(0),
    }
    if fails_at is not None:
        constants["cursed"] = np.float32(fails_at) / np.float32(255)
        nodes += [  # 0 / 0 where the highest value is the cursed one, else 0
            helper.make_node("ReduceMax", ["map", "spatial"], ["highest"], keepdims=0),
            helper.make_node("Sub", ["highest", "cursed"], ["gap"]),
            helper.make_node("Mul", ["gap", "zero"], ["none"]),
            helper.make_node("Div", ["none", "gap"], ["extra"]),
        ]
    else:
        constants["repeats"] = np.array([1, max(1, rounds), 1], np.int64)
        nodes += [
            helper.make_node("Tile", ["map", "repeats"], ["wide"]),
            helper.make_node("Sin", ["wide"], ["work"]),
            helper.make_node("ReduceMax", ["work", "spatial"], ["done"], keepdims=0),
            helper.make_node("Mul", ["done", "zero"], ["extra"]),
        ]
    nodes.append(helper.make_node("Add", ["mean", "extra"], ["score"]))
    frames = helper.make_tensor_value_info("frames", TensorProto.UINT8, ["N", side, side, 3])
    outputs = [
        helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"]),
        helper.make_tensor_value_info("map", TensorProto.FLOAT, ["N", side, side]),
    ]
    return onnx_model(nodes, [frames], outputs, constants)
