"""Small ONNX graphs that keep (or break) the engine files' contract, written with onnx alone."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines.files import file_sha256
from engines.manifest import Manifest, Thresholds, write_manifest

SCALES = 2
_PROTOTYPES = 5
_CHANNELS = 8


def write_graph(
    path: Path, graph: onnx.ModelProto, height: int, width: int, **changes: object
) -> Manifest:
    """Write a graph and a manifest that fits it; `changes` replace fields of the manifest."""
    path.write_bytes(graph.SerializeToString())
    fields = {
        "sha256": file_sha256(path),
        "model": "small",
        "version": "1",
        "created": datetime.now(UTC).isoformat(),
        "format": "onnx",
        "format_version": onnx.__version__,
        "device": "any",
        "height": height,
        "width": width,
        "max_batch": 8,
        "precision": "fp32",
        "thresholds": Thresholds(image=0.5, pixel=0.5, method="set by hand", normals=0),
    }
    manifest = Manifest(**(fields | changes))
    write_manifest(path, manifest)
    return manifest


def small_graph(
    height: int, width: int, *, prototypes: bool = True, batch: int | str = "N"
) -> onnx.ModelProto:
    """Convolution, relu, channel mean, sigmoid -> map; its highest 3x3 mean -> score."""
    rng = np.random.default_rng(7)
    kernel = rng.normal(size=(_CHANNELS, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["frames"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Div", ["planes", "full"], ["unit"]),
        helper.make_node("Conv", ["unit", "kernel"], ["features"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["features"], ["active"]),
        helper.make_node("ReduceMean", ["active", "channel"], ["level"], keepdims=1),
        helper.make_node("Sigmoid", ["level"], ["map4"]),
        helper.make_node(
            "AveragePool", ["map4"], ["smooth"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]
        ),
        helper.make_node("ReduceMax", ["smooth", "planar"], ["score"], keepdims=0),
        helper.make_node("Squeeze", ["map4", "channel"], ["map"]),
    ]
    constants = {
        "full": np.float32(255),
        "kernel": kernel,
        "channel": np.array([1], np.int64),
        "planar": np.array([1, 2, 3], np.int64),
    }
    outputs = [
        helper.make_tensor_value_info("score", TensorProto.FLOAT, [batch]),
        helper.make_tensor_value_info("map", TensorProto.FLOAT, [batch, height, width]),
    ]
    if prototypes:
        nodes += _prototype_nodes()
        constants |= _prototype_constants(rng)
        outputs += [
            helper.make_tensor_value_info("nearest", TensorProto.INT32, [batch, SCALES]),
            helper.make_tensor_value_info("distance", TensorProto.FLOAT, [batch, SCALES]),
        ]
    frames = helper.make_tensor_value_info("frames", TensorProto.UINT8, [batch, height, width, 3])
    return onnx_model(nodes, [frames], outputs, constants)


def _prototype_nodes() -> list[onnx.NodeProto]:
    """Global mean [N, C] against [S, K, C]: squared distances [N, S, K], their place and value."""
    return [
        helper.make_node("ReduceMean", ["active", "spatial"], ["pooled"], keepdims=0),
        helper.make_node("Unsqueeze", ["pooled", "inner"], ["rows"]),
        helper.make_node("Sub", ["rows", "prototypes"], ["gaps"]),
        helper.make_node("Mul", ["gaps", "gaps"], ["squares"]),
        helper.make_node("ReduceSum", ["squares", "last"], ["far"], keepdims=0),
        helper.make_node("ArgMin", ["far"], ["place"], axis=2, keepdims=0),
        helper.make_node("Cast", ["place"], ["nearest"], to=TensorProto.INT32),
        helper.make_node("ReduceMin", ["far", "second"], ["distance"], keepdims=0),
    ]


def _prototype_constants(rng: np.random.Generator) -> dict[str, np.ndarray]:
    shape = (1, SCALES, _PROTOTYPES, _CHANNELS)
    return {
        "prototypes": rng.random(shape).astype(np.float32),
        "spatial": np.array([2, 3], np.int64),
        "inner": np.array([1, 2], np.int64),
        "last": np.array([3], np.int64),
        "second": np.array([2], np.int64),
    }


def neighbour_graph(height: int, width: int) -> onnx.ModelProto:
    """A graph that breaks the contract's spirit: each score holds the mean over the whole batch."""
    nodes = [
        helper.make_node("Cast", ["frames"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["float", "full"], ["unit"]),
        helper.make_node("ReduceMean", ["unit", "colour"], ["own"], keepdims=0),
        helper.make_node("ReduceMean", ["own", "first"], ["shared"], keepdims=1),
        helper.make_node("Add", ["own", "shared"], ["sum"]),
        helper.make_node("Mul", ["sum", "half"], ["map"]),
        helper.make_node("ReduceMean", ["map", "spatial"], ["score"], keepdims=0),
    ]
    constants = {
        "full": np.float32(255),
        "half": np.float32(0.5),
        "colour": np.array([3], np.int64),
        "first": np.array([0], np.int64),
        "spatial": np.array([1, 2], np.int64),
    }
    frames = helper.make_tensor_value_info("frames", TensorProto.UINT8, ["N", height, width, 3])
    outputs = [
        helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N"]),
        helper.make_tensor_value_info("map", TensorProto.FLOAT, ["N", height, width]),
    ]
    return onnx_model(nodes, [frames], outputs, constants)


def onnx_model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: dict[str, np.ndarray],
) -> onnx.ModelProto:
    initializers = [numpy_helper.from_array(np.asarray(at), name) for name, at in constants.items()]
    graph = helper.make_graph(nodes, "small", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    return model
