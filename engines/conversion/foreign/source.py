"""Read an ONNX file of another project with its weights; sizes are checked before reading."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx.external_data_helper as external
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, ValueInfoProto

from engines.errors import ManifestError
from engines.files import file_sha256

MAX_BYTES = 2**31 - 2**20  # of graph and weights: protobuf's limit, less what we add
LEAST_OPSET = 13  # Squeeze and Unsqueeze as the nodes around it are written
_MOST_LETTERS = 200
_PREFIX = re.compile(r"\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : ")
_SOURCE_PLACE = re.compile(r"(/\S+:\d+ )(\S+ )?|\x1b\[[0-9;]*m")

Dims = tuple[int | None, ...]  # None for an open size


@dataclass(frozen=True, slots=True)
class SourceModel:
    """A model as its file holds it, weights inside."""

    model: ModelProto
    name: str  # name of the file
    files: tuple[Path, ...]  # the graph first, then the weights beside it

    @property
    def graph(self) -> GraphProto:
        """Its graph."""
        return self.model.graph

    @property
    def inputs(self) -> list[ValueInfoProto]:
        """The inputs to feed; older exporters list stored weights among the inputs too."""
        stored = {tensor.name for tensor in self.graph.initializer}
        return [value for value in self.graph.input if value.name not in stored]

    def sha256(self) -> str:
        """Hash the file; if it has weights beside it, hash the hashes of all files, graph first."""
        hashes = [file_sha256(file) for file in self.files]
        if len(hashes) == 1:
            return hashes[0]
        return hashlib.sha256("".join(hashes).encode()).hexdigest()


def load_source(source: Path, most_bytes: int = MAX_BYTES) -> SourceModel:
    """Read a graph and move weights from files beside it into it.

    Raises:
        ManifestError: not ONNX, too large, without its weights, or with too old operators.
    """
    graph_bytes = source.stat().st_size
    _check_size(source, graph_bytes, most_bytes)
    try:
        model = onnx.load(source, load_external_data=False)
        stored = [each for each in all_tensors(model) if external.uses_external_data(each)]
        files, weight_bytes = _weights_of(source, stored)
        _check_size(source, graph_bytes + weight_bytes, most_bytes)
        for tensor in stored:
            external.load_external_data_for_tensor(tensor, str(source.parent))
            tensor.data_location = TensorProto.DEFAULT
            del tensor.external_data[:]
        _check(model)
    except ManifestError:
        raise
    except Exception as error:  # protobuf's own errors share no public base class
        raise ManifestError(f"{source.name} is not an ONNX file: {one_sentence(error)}") from error
    _check_operators(model, source.name)
    return SourceModel(model, source.name, (source, *files))


def value_dims(value: ValueInfoProto) -> Dims | None:
    """Return the sizes of a tensor, or None if the file does not state its rank."""
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        return None
    return tuple(size.dim_value if size.HasField("dim_value") else None for size in kind.shape.dim)


def all_graphs(model: ModelProto) -> Iterator[GraphProto]:
    """Yield the graph of a model and those inside its nodes (`If`, `Loop`, `Scan`)."""
    waiting = [model.graph]
    while waiting:
        graph = waiting.pop()
        yield graph
        for node in graph.node:
            for attribute in node.attribute:
                waiting += _graphs_of(attribute)


def all_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Yield every stored tensor of a model, at any depth."""
    for graph in all_graphs(model):
        yield from graph.initializer
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.type == AttributeProto.TENSOR:
                    yield attribute.t
                yield from attribute.tensors


def one_sentence(error: Exception) -> str:
    """Return the text of a library's error without source locations and colours."""
    text = _SOURCE_PLACE.sub("", _PREFIX.sub("", str(error))).strip().splitlines()
    first = text[0] if text else type(error).__name__
    return first if len(first) <= _MOST_LETTERS else first[:_MOST_LETTERS] + "..."


def _graphs_of(attribute: AttributeProto) -> list[GraphProto]:
    single = [attribute.g] if attribute.type == AttributeProto.GRAPH else []
    return [*single, *attribute.graphs]


def _check(model: ModelProto) -> None:
    """Check the file's form; an input or output without a shape is accepted."""
    shapeless = [
        value.type.tensor_type
        for value in (*model.graph.input, *model.graph.output)
        if value.type.HasField("tensor_type") and not value.type.tensor_type.HasField("shape")
    ]
    for kind in shapeless:
        kind.shape.SetInParent()
    try:
        onnx.checker.check_model(model)
    finally:
        for kind in shapeless:
            kind.ClearField("shape")


def _check_operators(model: ModelProto, name: str) -> None:
    opset = max(
        (each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), default=0
    )
    if opset < LEAST_OPSET:
        raise ManifestError(
            f"{name} has operator set {opset}, expected {LEAST_OPSET} or later: export it again"
        )


def _weights_of(source: Path, stored: Sequence[TensorProto]) -> tuple[list[Path], int]:
    """Find the weight files, which must lie beside the graph, and sum the bytes referred to.

    The same bytes may be referred to many times and take memory each time.
    """
    files: set[Path] = set()
    total = 0
    for tensor in stored:
        reference = external.ExternalDataInfo(tensor)
        name = reference.location
        file = source.parent / name
        if Path(name).name != name or file.is_symlink():
            raise ManifestError(f"{source.name} has weights in {name!r}, which is not beside it")
        if not file.is_file():
            raise ManifestError(
                f"{source.name} keeps its weights in {name}, which is not beside it: copy both"
            )
        whole, offset = file.stat().st_size, reference.offset or 0
        length = reference.length or whole - offset
        if length < 0 or offset + length > whole:
            raise ManifestError(
                f"{source.name} needs {length} bytes at {offset} of {name}, which has {whole}: "
                "copy both again"
            )
        files.add(file)
        total += length
    return sorted(files), total


def _check_size(source: Path, size: int, most: int) -> None:
    if size > most:
        raise ManifestError(
            f"{source.name} has {size / 2**20:.0f} MiB with its weights, one ONNX file holds at "
            f"most {most / 2**20:.0f}"
        )
