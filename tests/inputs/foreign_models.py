"""Small anomaly models in the forms in which other projects export them, as ONNX graphs.

All of them see how bright a pixel is: map and score rise with it.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

SIDE = 16
FLOAT, HALF, BYTE = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8


def write_model(
    path: Path,
    nodes: Sequence[NodeProto],
    inputs: Sequence[ValueInfoProto],
    outputs: Sequence[ValueInfoProto],
    stored: dict[str, np.ndarray] | None = None,
) -> Path:
    """Write a graph of operator set 17."""
    tensors = [numpy_helper.from_array(value, name) for name, value in (stored or {}).items()]
    graph = helper.make_graph(list(nodes), "model", list(inputs), list(outputs), tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def bright_model(  # noqa: PLR0913  # each is one form that files come in
    path: Path,
    *,
    names: tuple[str, str] = ("anomaly_map", "pred_score"),
    element: int = FLOAT,
    layout: str = "nchw",
    map_layout: str = "nchw",
    gain: float = 1.0,
    offset: float = 0.0,
    channels: int = 1,
    score: bool = True,
    shapes: bool = True,
    batch: int | str = "N",
) -> Path:
    """Write a model whose map is `gain` times the mean of R, G and B plus `offset`.

    The score is the map's highest value times a half. With several channels the others are 0.
    """
    map_name, score_name = names
    kernel = np.zeros((channels, 3, 1, 1), np.float32)
    kernel[-1] = gain / 3
    bias = np.zeros(channels, np.float32)
    bias[-1] = offset
    kind = np.float16 if element == HALF else np.float32
    nodes, value = [], "input"
    if element == BYTE:
        nodes.append(helper.make_node("Cast", [value], ["wide"], to=FLOAT))
        value = "wide"
    if layout == "nhwc":
        nodes.append(helper.make_node("Transpose", [value], ["turned"], perm=[0, 3, 1, 2]))
        value = "turned"
    last = map_name if map_layout == "nchw" else "inner_map"
    nodes.append(helper.make_node("Conv", [value, "kernel", "bias"], [last]))
    if map_layout == "nhwc":
        nodes.append(helper.make_node("Transpose", [last], [map_name], perm=[0, 2, 3, 1]))
    if map_layout == "nhw":
        nodes.append(helper.make_node("Squeeze", [last, "one"], [map_name]))
    answer = HALF if element == HALF else FLOAT
    of_map = {
        "nchw": [batch, channels, SIDE, SIDE],
        "nhwc": [batch, SIDE, SIDE, channels],
        "nhw": [batch, SIDE, SIDE],
    }[map_layout]
    outputs = [helper.make_tensor_value_info(map_name, answer, of_map if shapes else None)]
    if score:
        nodes += [
            helper.make_node("GlobalMaxPool", [last], ["peak_of_map"]),
            helper.make_node("Flatten", ["peak_of_map"], ["flat_peak"]),
            helper.make_node("Mul", ["flat_peak", "half"], [score_name]),
        ]
        outputs.append(helper.make_tensor_value_info(score_name, answer, [batch, 1]))
    dims = [batch, 3, SIDE, SIDE] if layout == "nchw" else [batch, SIDE, SIDE, 3]
    frames = helper.make_tensor_value_info("input", element, dims if shapes else None)
    stored = {
        "kernel": kernel.astype(kind),
        "bias": bias.astype(kind),
        "one": np.array([1], np.int64),
        "half": np.array(0.5, kind),
    }
    return write_model(path, nodes, [frames], outputs, stored)


def branching_model(path: Path, operator: str) -> Path:
    """Write a model with an `If` or a `Loop` whose inner graph reads weights of the outer one.

    Two of its values are called `frames` and `score`, as ours are.
    """
    inner_map = helper.make_tensor_value_info("branch_map", FLOAT, None)
    if operator == "If":
        branch = helper.make_graph(
            [helper.make_node("Mul", ["frames", "score"], ["branch_map"])], "b", [], [inner_map]
        )
        other = helper.make_graph(
            [helper.make_node("Identity", ["frames"], ["other_map"])],
            "o",
            [],
            [helper.make_tensor_value_info("other_map", FLOAT, None)],
        )
        chosen = helper.make_node(
            "If", ["yes"], ["anomaly_map"], then_branch=branch, else_branch=other
        )
    else:
        body = helper.make_graph(
            [
                helper.make_node("Identity", ["going"], ["going_on"]),
                helper.make_node("Mul", ["carried", "score"], ["branch_map"]),
            ],
            "b",
            [
                helper.make_tensor_value_info("step", TensorProto.INT64, []),
                helper.make_tensor_value_info("going", TensorProto.BOOL, []),
                helper.make_tensor_value_info("carried", FLOAT, None),
            ],
            [helper.make_tensor_value_info("going_on", TensorProto.BOOL, []), inner_map],
        )
        chosen = helper.make_node("Loop", ["once", "yes", "frames"], ["anomaly_map"], body=body)
    nodes = [
        helper.make_node("Conv", ["input", "kernel"], ["frames"]),
        chosen,
        helper.make_node("GlobalMaxPool", ["anomaly_map"], ["peak"]),
        helper.make_node("Flatten", ["peak"], ["pred_score"]),
    ]
    stored = {
        "kernel": np.full((1, 3, 1, 1), 1 / 3, np.float32),
        "score": np.array(0.5, np.float32),
        "yes": np.array(True),  # noqa: FBT003
        "once": np.array(1, np.int64),
    }
    outputs = [
        helper.make_tensor_value_info("anomaly_map", FLOAT, ["N", 1, SIDE, SIDE]),
        helper.make_tensor_value_info("pred_score", FLOAT, ["N", 1]),
    ]
    frames = helper.make_tensor_value_info("input", FLOAT, ["N", 3, SIDE, SIDE])
    return write_model(path, nodes, [frames], outputs, stored)
