"""An ONNX graph in half precision where that is safe; the plan's types are those of the graph.

TensorRT builds strongly typed networks: what runs in float16 is decided here, not by its builder.
Layers that move data and convolve run in float16. Sums, squares, roots, logarithms, softmax and the
computation of the scores stay in float32, because their sums exceed 65504 or their differences
vanish. The prototype residual reads and writes float16; its distances are float32.

ONNX Runtime's own converter was tried: it sends every value between two float32 layers through
float16, distances (2e5) included, and leaves the nodes unsorted.
"""

from collections.abc import Iterable

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from engines.residual.operator import DOMAIN, OPERATOR, SCALES

# Their weights or scale bound their float16 outputs; inputs may come from anywhere.
_WEIGHTED = frozenset(("Conv", "ConvTranspose", "DequantizeLinear"))
# These follow the type of their inputs: between two float32 layers float16 would only lose range.
_FOLLOWING = frozenset(
    (
        "Add",
        "Clip",
        "Concat",
        "Flatten",
        "LeakyRelu",
        "MaxPool",
        "Relu",
        "Reshape",
        "Resize",
        "Slice",
        "Split",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    )
)
_OWN_TYPES = {"Resize": 1}  # inputs from this index on keep their own types


class _Halver:
    """One pass over a graph whose nodes are sorted."""

    def __init__(self, graph: onnx.GraphProto, float32: frozenset[str]) -> None:
        self._float32 = float32  # names of values that were float32
        self._stored = {each.name: each for each in graph.initializer}
        self._half: set[str] = set()  # values that are float16 now
        self._casts: set[str] = set()
        self.nodes: list[NodeProto] = []
        self.stored: dict[str, TensorProto] = {}  # initializers that are float16 now

    def add(self, node: NodeProto) -> None:
        """Add a node, in float16 if its kind and its inputs allow that."""
        half_node = NodeProto()
        half_node.CopyFrom(node)
        if (node.domain, node.op_type) == (DOMAIN, OPERATOR):
            inputs = [self._as_half(name) for name in node.input]
            halves = node.output[:SCALES]  # the residuals
        elif node.op_type == "QuantizeLinear" and not node.domain:
            value, scale, *zero = node.input  # value and scale must have the same type
            inputs = [value, self._as_half(scale) if value in self._half else scale, *zero]
            halves = []
        elif self._wants_half(node):
            typed = _OWN_TYPES.get(node.op_type, len(node.input))
            inputs = [*map(self._as_half, node.input[:typed]), *node.input[typed:]]
            halves = [name for name in node.output if name in self._float32]
        else:
            inputs, halves = [self.as_float(name) for name in node.input], []
        half_node.input[:] = inputs
        self._half.update(halves)
        self.nodes.append(half_node)

    def as_float(self, name: str) -> str:
        """Return the name of the value in its original type."""
        return self._cast(name, TensorProto.FLOAT) if name in self._half else name

    def _wants_half(self, node: NodeProto) -> bool:
        if node.domain or not any(name in self._float32 for name in node.output):
            return False
        if node.op_type in _WEIGHTED:
            return True
        if node.op_type not in _FOLLOWING:
            return False
        moved = [name for name in node.input if name in self._float32 and name not in self._stored]
        typed = moved[: _OWN_TYPES.get(node.op_type)]
        return bool(typed) and all(name in self._half for name in typed)

    def _as_half(self, name: str) -> str:
        if name in self._half or name not in self._float32:
            return name
        if name not in self._stored:
            return self._cast(name, TensorProto.FLOAT16)
        half = f"{name}/half"
        if half not in self.stored:
            values = numpy_helper.to_array(self._stored[name]).astype(np.float16)
            self.stored[half] = numpy_helper.from_array(values, half)
        return half

    def _cast(self, name: str, to: int) -> str:
        cast = f"{name}/{'half' if to == TensorProto.FLOAT16 else 'float'}"
        if cast not in self._casts:
            self._casts.add(cast)
            self.nodes.append(helper.make_node("Cast", [name], [cast], to=to))
        return cast


def to_half_precision(model: ModelProto) -> ModelProto:
    """Copy `model` with its heavy layers in float16; its inputs and outputs keep their types."""
    inferred = onnx.shape_inference.infer_shapes(model)
    walk = _Halver(inferred.graph, frozenset(_float_values(inferred.graph)))
    for node in inferred.graph.node:
        walk.add(node)
    wanted = {each.name for each in inferred.graph.output}
    renamed = {name: walk.as_float(name) for name in wanted}
    changed = ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    del graph.node[:], graph.value_info[:]
    graph.node.extend(_with_outputs(walk.nodes, renamed))
    used = {name for node in graph.node for name in node.input}
    kept = [each for each in graph.initializer if each.name in used]
    del graph.initializer[:]
    graph.initializer.extend([*kept, *walk.stored.values()])
    return changed


def _float_values(graph: onnx.GraphProto) -> Iterable[str]:
    for each in (*graph.input, *graph.value_info, *graph.output):
        if each.type.tensor_type.elem_type == TensorProto.FLOAT:
            yield each.name
    for stored in graph.initializer:
        if stored.data_type == TensorProto.FLOAT:
            yield stored.name
    for node in graph.node:
        if node.op_type == "Constant" and not node.domain:
            yield from (node.output[0] for each in node.attribute if _is_float(each))


def _is_float(attribute: onnx.AttributeProto) -> bool:
    return attribute.name == "value_float" or attribute.t.data_type == TensorProto.FLOAT


def _with_outputs(nodes: list[NodeProto], renamed: dict[str, str]) -> list[NodeProto]:
    """Restore the names of graph outputs that are followed by a cast."""
    swaps = {name: cast for name, cast in renamed.items() if cast != name}
    names = {name: f"{name}/inner" for name in swaps} | {cast: name for name, cast in swaps.items()}
    for node in nodes:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    return nodes
