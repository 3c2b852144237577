"""Check an ONNX file: it must hold all its weights, and functions must stay small when inlined."""

from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

import onnx

from engines.errors import BackendError, ManifestError

MAX_INLINED_NODES = 100_000  # our networks have some hundreds
MAX_CALL_DEPTH = 32
_FunctionKey: TypeAlias = tuple[str, str, str]  # domain, name, overload


def check_graph(graph: bytes, name: str) -> None:
    """Check the bytes of an ONNX file; `name` opens the error.

    Raises:
        BackendError: not ONNX.
        ManifestError: weights in another file, which no hash covers, or functions that
            call each other in a circle or grow without bounds when inlined.
    """
    try:
        model = onnx.load_model_from_string(graph)
    except Exception as error:  # protobuf's own errors share no public base class
        raise BackendError(f"{name} is not an ONNX file ({error}): export it again") from error
    if any(_is_external(tensor) for tensor in _tensors(model)):
        raise ManifestError(
            f"{name} keeps weights in another file, which its manifest does not cover: "
            "export it with its weights inside (external_data=False)"
        )
    _InlinedSize(model, name).check()


def _is_external(tensor: onnx.TensorProto) -> bool:
    return bool(tensor.external_data) or tensor.data_location != onnx.TensorProto.DEFAULT


def _tensors(message: Any) -> Iterator[onnx.TensorProto]:  # noqa: ANN401  # any message
    """Yield every tensor of a message, however deep: attributes, subgraphs, functions."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for child in value if isinstance(value, Iterable) else [value]:
                yield from _tensors(child)


class _InlinedSize:
    """Counts the nodes of a model as if every function were inlined."""

    def __init__(self, model: onnx.ModelProto, name: str) -> None:
        self._model = model
        self._name = name
        self._functions = {
            (function.domain, function.name, function.overload): function
            for function in model.functions
        }
        self._sizes: dict[_FunctionKey, int] = {}

    def check(self) -> None:
        """Raise ManifestError if a model has too many nodes."""
        if self._functions:
            self._count(self._model.graph.node, ())

    def _count(self, nodes: Iterable[Any], callers: tuple[_FunctionKey, ...]) -> int:
        total = 0
        for node in nodes:
            total += 1 + self._size_of((node.domain, node.op_type, node.overload), callers)
            for attribute in node.attribute:
                for graph in (attribute.g, *attribute.graphs):
                    total += self._count(graph.node, callers)
            if total > MAX_INLINED_NODES:
                raise ManifestError(
                    f"{self._name} has functions of more than {MAX_INLINED_NODES} nodes when they "
                    "are inlined: not a network of this project"
                )
        return total

    def _size_of(self, key: _FunctionKey, callers: tuple[_FunctionKey, ...]) -> int:
        if (function := self._functions.get(key)) is None:
            return 0
        if key in callers or len(callers) >= MAX_CALL_DEPTH:
            raise ManifestError(
                f"{self._name} has functions that call each other in a circle or more than "
                f"{MAX_CALL_DEPTH} deep"
            )
        if key not in self._sizes:
            self._sizes[key] = self._count(function.node, (*callers, key))
        return self._sizes[key]
