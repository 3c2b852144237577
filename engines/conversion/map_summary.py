"""Add a summary of the maps to a plan's graph, so that they can stay on the GPU.

Adds the outputs `peak` and `cells` of the contract (engines.engine). A cell's mean is computed by
two products with constant matrices, which is exact even if the grid does not divide the size.
"""

from typing import Any

import numpy as np
import onnx.compose
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from engines.contract import CELLS, MAP, PEAK
from engines.engine import GRID, cell_weights

_AXES, _ROWS, _COLUMNS = "map/axes", "map/cell_rows", "map/cell_columns"
_AXES_ARE_INPUTS = 18  # an input from this operator set on; an attribute before


def add_map_summary(model: ModelProto, size: tuple[int, int]) -> ModelProto:
    """Copy `model` with two more outputs, in float32.

    Args:
        model: a graph with the output `map`.
        size: (height, width) of the map, pixels.
    """
    changed = _without(model, {PEAK, CELLS})
    graph = changed.graph
    height, width = size
    constants: dict[str, NDArray[Any]] = {
        _ROWS: cell_weights(height),
        _COLUMNS: np.ascontiguousarray(cell_weights(width).T),
    }
    if max(each.version for each in model.opset_import if not each.domain) < _AXES_ARE_INPUTS:
        highest = helper.make_node("ReduceMax", [MAP], [PEAK], axes=[1, 2], keepdims=0)
    else:
        highest = helper.make_node("ReduceMax", [MAP, _AXES], [PEAK], keepdims=0)
        constants[_AXES] = np.array([1, 2], np.int64)
    graph.initializer.extend(
        numpy_helper.from_array(value, name) for name, value in constants.items()
    )
    bands = f"{MAP}/cell_bands"  # [N, GRID, W]
    graph.node.extend(
        (
            highest,
            helper.make_node("MatMul", [_ROWS, MAP], [bands]),
            helper.make_node("MatMul", [bands, _COLUMNS], [CELLS]),
        )
    )
    graph.output.extend(
        (
            helper.make_tensor_value_info(PEAK, TensorProto.FLOAT, ["N"]),
            helper.make_tensor_value_info(CELLS, TensorProto.FLOAT, ["N", GRID, GRID]),
        )
    )
    return changed


def _without(model: ModelProto, names: set[str]) -> ModelProto:
    """Copy a model; if a value has one of these names, rename all but inputs and outputs."""
    changed = ModelProto()
    changed.CopyFrom(model)
    taken = {name for node in model.graph.node for name in node.output}
    taken.update(each.name for each in model.graph.initializer)
    if not names & taken:
        return changed
    ends = {"rename_inputs": False, "rename_outputs": False, "rename_functions": False}
    return onnx.compose.add_prefix(changed, "inner/", **ends)
