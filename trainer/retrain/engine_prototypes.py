"""The prototypes that an engine file holds, read from its graph."""

import re
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from engines.contract import read_graph
from engines.residual.function import residual_nodes

Prototypes = tuple[NDArray[np.float32], ...]  # of each scale [K, D]; of places: one
_CHUNK = re.compile(r"chunks\.(\d+)\.(fine|middle|coarse)")
_SCALES = ("fine", "middle", "coarse")


def read_prototypes(engine: Path) -> Prototypes:
    """Read those of an ONNX engine file; none where it is a plan, or a network without them."""
    if engine.suffix != ".onnx":
        return ()
    model = onnx.load_model_from_string(read_graph(engine))
    tensors = {each.name: each for each in model.graph.initializer}
    names = _names(model)
    if names and set(names) <= set(tensors):
        return tuple(_rows(numpy_helper.to_array(tensors[name])) for name in names)
    return _of_places({name: tensors[name] for name in tensors if _CHUNK.fullmatch(name)})


def _names(model: ModelProto) -> list[str]:
    """Name the whole-map prototypes: every second input of the node of the prototype residual."""
    return [name for node in residual_nodes(model) for name in node.input[1::2]]


def _of_places(chunks: dict[str, onnx.TensorProto]) -> Prototypes:
    """Join the kernels of ProtoAD's 1x1 convolutions: its prototypes, some at a time."""
    if not chunks:
        return ()
    count = 1 + max(int(name.split(".")[1]) for name in chunks)
    wanted = [[f"chunks.{number}.{scale}" for scale in _SCALES] for number in range(count)]
    if not {name for names in wanted for name in names} <= set(chunks):
        return ()
    rows = [
        np.concatenate([_rows(numpy_helper.to_array(chunks[name])) for name in names], axis=1)
        for names in wanted
    ]
    return (np.concatenate(rows),)


def _rows(prototypes: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(prototypes.reshape(len(prototypes), -1), np.float32)
