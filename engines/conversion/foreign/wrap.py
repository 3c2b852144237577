"""Join a model of another project to the line: nodes before it, nodes after it.

The model's own values keep their names, also inside `If` and `Loop`, except for names that the
contract of engine files uses.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from engines.contract import CELLS, DISTANCE, FRAMES, MAP, NEAREST, PEAK, SCORE
from engines.conversion.foreign.form import InputForm, MapForm, ScoreForm
from engines.conversion.foreign.source import SourceModel, all_graphs
from engines.errors import ManifestError

_OURS = (FRAMES, SCORE, MAP, NEAREST, DISTANCE, PEAK, CELLS)
_ELEMENTS = {"float16": TensorProto.FLOAT16, "float64": TensorProto.DOUBLE}


@dataclass(frozen=True, slots=True)
class MapRange:
    """How a model's map values are scaled.

    A linear scale turns `low` and `high` into 0 and 1, and clips values outside. A curved one turns
    them into 0 and 0.5, and tends to 1 above. So no two values above `low` become equal, however
    far they lie above those of good parts.
    """

    low: float = 0.0
    high: float = 1.0
    curved: bool = False

    def apply(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scale values as the graph does."""
        share = (values - np.float32(self.low)) / np.float32(self.high - self.low)
        if self.curved:
            share = np.maximum(share, 0)
            share = share / (share + 1)
        return np.asarray(np.clip(share, 0, 1), np.float32)

    def __str__(self) -> str:
        if self.curved:
            return f"{self.low:.4g} becomes 0, {self.high:.4g} becomes 0.5, far above tends to 1"
        if (self.low, self.high) == (0, 1):
            return "as it is"
        return f"{self.low:.4g}..{self.high:.4g} becomes 0..1, clipped outside"


def wrap_model(
    source: SourceModel, form: InputForm, score: ScoreForm, of_map: MapForm, values: MapRange
) -> ModelProto:
    """Return a model that keeps the contract of engine files.

    Raises:
        ManifestError: its names collide with ours.
    """
    model = ModelProto()
    model.CopyFrom(source.model)
    renamed = _free_our_names(model)

    def inner(name: str) -> str:
        return renamed.get(name, name)

    built = _Nodes(_free_prefix(model, source.name))
    _add_before(built, inner(form.name), form)
    before = len(built.nodes)
    ends = [inner(name) for name in (of_map.name, score.name) if name]
    if (form.batch or 1) > 1:
        ends = [_first(built, end) for end in ends]
    _add_after(built, ends[0], of_map, ends[1] if score.name else None, score, values)
    _add_end(built, form.size)
    batch = 1 if form.batch else "N"
    graph = helper.make_graph(
        [*built.nodes[:before], *model.graph.node, *built.nodes[before:]],
        "imported",
        [helper.make_tensor_value_info(FRAMES, TensorProto.UINT8, [batch, *form.size, 3])],
        [
            helper.make_tensor_value_info(SCORE, TensorProto.FLOAT, [batch]),
            helper.make_tensor_value_info(MAP, TensorProto.FLOAT, [batch, *form.size]),
        ],
        [*model.graph.initializer, *built.stored],
        sparse_initializer=list(model.graph.sparse_initializer),
    )
    wrapped = helper.make_model(graph, opset_imports=model.opset_import)
    wrapped.ir_version = model.ir_version
    wrapped.functions.extend(model.functions)
    return wrapped


class _Nodes:
    """A chain of our nodes, with names that the model does not use."""

    def __init__(self, prefix: str) -> None:
        self.nodes: list[NodeProto] = []
        self.stored: list[TensorProto] = []
        self.last = ""
        self._prefix = prefix

    def add(
        self, operator: str, *inputs: str, named: str = "", **attributes: int | str | list[int]
    ) -> str:
        """Add a node and return the name of its output."""
        self.last = named or f"{self._prefix}{len(self.nodes)}"
        node = helper.make_node(operator, list(inputs), [self.last])
        node.attribute.extend(helper.make_attribute(*each) for each in attributes.items())
        self.nodes.append(node)
        return self.last

    def store(self, values: NDArray[np.generic]) -> str:
        """Store a constant and return its name."""
        name = f"{self._prefix}constant{len(self.stored)}"
        self.stored.append(numpy_helper.from_array(values, name))
        return name


def _add_before(built: _Nodes, feed: str, form: InputForm) -> None:
    """Add the nodes from uint8 [N, H, W, 3] to the model's input."""
    planes, frames = form.layout == "nchw", FRAMES
    if (form.batch or 1) > 1:
        often = np.array([form.batch, 1, 1, 1], np.int64)
        frames = built.add("Tile", FRAMES, built.store(often))
    if form.dtype == "uint8":
        if planes:
            built.add("Transpose", frames, named=feed, perm=[0, 3, 1, 2])
        else:
            built.add("Identity", frames, named=feed)
        return
    at = (1, 3, 1, 1) if planes else (1, 1, 1, 3)
    shift, divisor = (
        built.store(np.asarray(each, np.float32).reshape(at)) for each in (form.shift, form.divisor)
    )
    value = _cast(built, frames)
    if planes:
        value = built.add("Transpose", value, perm=[0, 3, 1, 2])
    value = built.add("Sub", value, shift)
    narrow = form.dtype in _ELEMENTS
    value = built.add("Div", value, divisor, named="" if narrow else feed)
    if narrow:
        _cast(built, value, _ELEMENTS[form.dtype], feed)


def _add_after(
    built: _Nodes,
    anomaly_map: str,
    of_map: MapForm,
    score: str | None,
    score_form: ScoreForm,
    values: MapRange,
) -> None:
    """Add the nodes from the model's map to float32 [N, 1, h, w] in 0..1, and for the score [N]."""
    planes = anomaly_map if of_map.dtype == "float32" else _cast(built, anomaly_map)
    channel_axis = built.store(np.array([1], np.int64))
    if of_map.axes == 3:  # noqa: PLR2004  # [N, h, w]
        planes = built.add("Unsqueeze", planes, channel_axis)
    elif of_map.layout == "nhwc":
        planes = built.add("Transpose", planes, perm=[0, 3, 1, 2])
    if of_map.channel is not None:
        ends = (built.store(np.array([of_map.channel + more], np.int64)) for more in (0, 1))
        planes = built.add("Slice", planes, *ends, channel_axis)
    raw = score or built.add("GlobalMaxPool", planes)
    if score and score_form.dtype != "float32":
        raw = _cast(built, score)
    built.add("Reshape", raw, built.store(np.array([-1], np.int64)), named=SCORE)
    _add_range(built, planes, values)


def _add_range(built: _Nodes, planes: str, values: MapRange) -> None:
    built.last = planes
    if (values.low, values.high, values.curved) == (0, 1, False):
        return
    shifted = built.add("Sub", planes, built.store(np.array(values.low, np.float32)))
    share = built.add("Div", shifted, built.store(np.array(values.high - values.low, np.float32)))
    if values.curved:
        above = built.add("Relu", share)
        built.add("Div", above, built.add("Add", above, built.store(np.array(1, np.float32))))


def _add_end(built: _Nodes, size: tuple[int, int]) -> None:
    """Add the nodes from [N, 1, h, w] to the map at the frames' size, float32 [N, H, W]."""
    planes = built.last
    zero, two = (built.store(np.array([each], np.int64)) for each in (0, 2))
    head = built.add("Slice", built.add("Shape", planes), zero, two)
    wanted = built.add("Concat", head, built.store(np.array(size, np.int64)), axis=0)
    sized = built.add(
        "Resize",
        *(planes, "", "", wanted),
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )
    flat = built.add("Squeeze", sized, built.store(np.array([1], np.int64)))
    least, most = (built.store(np.array(each, np.float32)) for each in (0, 1))
    built.add("Clip", flat, least, most, named=MAP)


def _first(built: _Nodes, value: str) -> str:
    """Add the node that takes the first of several identical answers."""
    zero, one = (built.store(np.array([each], np.int64)) for each in (0, 1))
    return built.add("Slice", value, zero, one, zero)


def _cast(built: _Nodes, value: str, element: int = TensorProto.FLOAT, named: str = "") -> str:
    return built.add("Cast", value, named=named, to=element)


def _free_our_names(model: ModelProto) -> dict[str, str]:
    """Rename the model's values that are named like ours, in place; return the new names."""
    taken = _names(model)
    renamed: dict[str, str] = {}
    for name in taken & set(_OURS):
        other = f"model/{name}"
        while other in taken:
            other = f"model/{other}"
        renamed[name] = other
    if renamed:
        for graph in all_graphs(model):
            _rename(graph, renamed)
    return renamed


def _rename(graph: GraphProto, renamed: dict[str, str]) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    for named in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
        named.name = renamed.get(named.name, named.name)
    for sparse in graph.sparse_initializer:
        sparse.values.name = renamed.get(sparse.values.name, sparse.values.name)


def _names(model: ModelProto) -> set[str]:
    names: set[str] = set()
    for graph in all_graphs(model):
        for node in graph.node:
            names.update((*node.input, *node.output))
        for named in (*graph.initializer, *graph.input, *graph.output, *graph.value_info):
            names.add(named.name)
        names.update(sparse.values.name for sparse in graph.sparse_initializer)
    return names


def _free_prefix(model: ModelProto, name: str) -> str:
    names: Sequence[str] = sorted(_names(model))
    for prefix in ("import/", "import/ours/"):
        if not any(each.startswith(prefix) for each in names):
            return prefix
    raise ManifestError(f"{name} has values named import/ours/...: export it with other names")
