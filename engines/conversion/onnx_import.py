"""Other people's anomaly models on the line: an ONNX file -> an engine file with its manifest.

Made for what anomalib's exporter writes, since its version 2: input [N, 3, H, W] float32 RGB in
0..1, resizing and normalisation inside; outputs `pred_score` and `anomaly_map`, normalised so that
0.5 is the threshold; weights in a file of their own beside the graph, which are taken inside.
Any model with such tensors under other names will do. Our frames, uint8 [N, H, W, 3], are turned
into its input, and its outputs into ours, by standard nodes before and after. A map of another
size is enlarged to the frames'; values of a map outside 0..1 are cut off.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import onnx.compose
import onnx.external_data_helper as external
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from engines.contract import FRAMES, MAP, SCORE
from engines.errors import ManifestError
from engines.files import file_sha256, write_atomic
from engines.manifest import Manifest, Thresholds, write_manifest

SCORE_NAMES = ("pred_score", "score", "anomaly_score")
MAP_NAMES = ("anomaly_map", "map", "output")
MAX_BATCH = 32
MAX_SIDE = 4096
MAX_BYTES = 2**31 - 2**20  # of graph and weights: what a protobuf message holds, less what we add
_PREFIX = "model/"
_SUFFIX = ".onnx"
_LEAST_OPSET = 13  # Squeeze and Unsqueeze as they are written here


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What the file itself does not say."""

    size: tuple[int, int] | None = None  # (height, width) of frames; None: as the file fixes them
    # of RGB in 0..1, to subtract and to divide by; None: the file does it itself
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    score: str | None = None  # output names; None: one of SCORE_NAMES, else the map's maximum
    map: str | None = None  # None: one of MAP_NAMES
    image_threshold: float = 0.5
    pixel_threshold: float = 0.5
    name: str = "imported"
    max_batch: int = MAX_BATCH


def import_model(source: Path, target: Path, options: ImportOptions) -> Manifest:
    """Wrap the ONNX file `source` and write the engine file `target` with its manifest.

    Raises:
        ManifestError: the file has no input or outputs that fit, or does not run.
    """
    if not source.is_file():
        raise ManifestError(f"no file {source}")
    if target.suffix != _SUFFIX or target.resolve() == source.resolve():
        raise ManifestError(
            f"{target.name}: the engine file wants a name of its own that ends with {_SUFFIX}"
        )
    model, files = _load(source)
    size = _frame_size(model, source.name, options.size)
    batch = _batch(model, source.name)
    content: bytes = _wrapped(model, source.name, size, batch, options).SerializeToString()
    most = batch or options.max_batch
    _check_runs(content, source.name, size, most)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, content)
    created = datetime.now(UTC)
    manifest = Manifest(
        sha256=file_sha256(target),
        model=options.name,
        version=created.strftime("%Y%m%d-%H%M%S"),
        created=created.isoformat(timespec="seconds"),
        format="onnx",
        format_version=f"{model.producer_name} {model.producer_version}".strip() or "unknown",
        device="any",
        height=size[0],
        width=size[1],
        max_batch=most,
        precision="fp32",
        thresholds=Thresholds(
            image=options.image_threshold,
            pixel=options.pixel_threshold,
            method="taken over at the import, not calibrated here",
            normals=0,
        ),
        built_from=_origin(files),
    )
    write_manifest(target, manifest)
    return manifest


def _load(source: Path) -> tuple[ModelProto, list[Path]]:
    """Read a graph, take the weights in files beside it inside, and name all files that it is of.

    Nothing is read before it is known to fit.
    """
    graph_bytes = source.stat().st_size
    _check_size(source, graph_bytes)
    try:
        model = onnx.load(source, load_external_data=False)
        stored = [each for each in model.graph.initializer if external.uses_external_data(each)]
        files, weight_bytes = _weights_of(source, stored)
        _check_size(source, graph_bytes + weight_bytes)
        for tensor in stored:
            external.load_external_data_for_tensor(tensor, str(source.parent))
            tensor.data_location = TensorProto.DEFAULT
            del tensor.external_data[:]
        onnx.checker.check_model(model)
    except ManifestError:
        raise
    except Exception as error:  # protobuf's own errors share no public base class
        raise ManifestError(f"{source.name} is no ONNX file: {error}") from error
    return model, [source, *files]


def _weights_of(source: Path, stored: Sequence[TensorProto]) -> tuple[list[Path], int]:
    """Find the files of weights, which must lie beside the graph, and add up what is referred to.

    The same bytes may be referred to many times, and each time take memory.
    """
    files: set[Path] = set()
    total = 0
    for tensor in stored:
        reference = external.ExternalDataInfo(tensor)
        name = reference.location
        file = source.parent / name
        if Path(name).name != name or file.is_symlink():
            raise ManifestError(f"{source.name} wants weights from {name!r}, not from beside it")
        if not file.is_file():
            raise ManifestError(
                f"{source.name} keeps its weights in {name}, which is not beside it: copy both"
            )
        whole, offset = file.stat().st_size, reference.offset or 0
        length = reference.length or whole - offset
        if length < 0 or offset + length > whole:
            raise ManifestError(
                f"{source.name} wants {length} bytes at {offset} of {name}, which has {whole}: "
                "copy both again"
            )
        files.add(file)
        total += length
    return sorted(files), total


def _check_size(source: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise ManifestError(
            f"{source.name} has {size / 2**20:.0f} MiB with its weights, one ONNX file holds at "
            f"most {MAX_BYTES / 2**20:.0f}"
        )


def _origin(files: Sequence[Path]) -> str:
    """Hash a graph; with weights beside it, the hashes of all files, the graph's first."""
    hashes = [file_sha256(file) for file in files]
    return hashes[0] if len(files) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _frame_size(model: ModelProto, name: str, wanted: tuple[int, int] | None) -> tuple[int, int]:
    """Find height and width of the frames that the model takes."""
    inputs = _inputs(model)
    dims = _dims(inputs[0]) if len(inputs) == 1 else ()
    if len(dims) != 4 or dims[1] not in (3, None):  # noqa: PLR2004  # N, C, H, W
        raise ManifestError(
            f"{name} takes {[each.name for each in inputs]} {list(dims)}, wanted is one input "
            "float32 [N, 3, H, W]"
        )
    fixed = dims[2:]
    if wanted is None:
        if None in fixed:
            raise ManifestError(f"{name} takes frames of any size: say which with --size")
        wanted = (int(fixed[0] or 0), int(fixed[1] or 0))
    for got, want in zip(fixed, wanted, strict=True):
        if got not in (None, want) or not 1 <= want <= MAX_SIDE:
            raise ManifestError(
                f"{name} takes frames of {list(fixed)}, asked for is {list(wanted)}"
            )
    return wanted


def _batch(model: ModelProto, name: str) -> int | None:
    """Find how many frames it takes at once; None: any number."""
    batch = _dims(_inputs(model)[0])[0] or None
    if batch not in (1, None):
        raise ManifestError(
            f"{name} takes {batch} frames at once, no more and no fewer: export it for one, or for "
            "any number"
        )
    return batch


def _wrapped(
    model: ModelProto,
    name: str,
    size: tuple[int, int],
    batch: int | None,
    options: ImportOptions,
) -> ModelProto:
    """Add what turns our frames into its input and its outputs into ours."""
    opset = max(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    if opset < _LEAST_OPSET:
        raise ManifestError(
            f"{name} has operator set {opset}, wanted is {_LEAST_OPSET} or later: export it again"
        )
    outputs = {each.name: _dims(each) for each in model.graph.output}
    map_name = _output(outputs, options.map, MAP_NAMES, name)
    if map_name is None:
        raise ManifestError(
            f"{name} has no anomaly map among its outputs {list(outputs)}: name it with --map"
        )
    score_name = _output(outputs, options.score, SCORE_NAMES, name)
    inner = onnx.compose.add_prefix(model, _PREFIX)
    feed = _inputs(inner)[0].name
    before, stored = _before(feed, options)
    after, more = _after(
        _PREFIX + map_name,
        outputs[map_name],
        None if score_name is None else _PREFIX + score_name,
        size,
    )
    graph = helper.make_graph(
        [*before, *inner.graph.node, *after],
        "imported",
        [helper.make_tensor_value_info(FRAMES, TensorProto.UINT8, [batch or "N", *size, 3])],
        [
            helper.make_tensor_value_info(SCORE, TensorProto.FLOAT, [batch or "N"]),
            helper.make_tensor_value_info(MAP, TensorProto.FLOAT, [batch or "N", *size]),
        ],
        [*inner.graph.initializer, *stored, *more],
    )
    wrapped = helper.make_model(graph, opset_imports=inner.opset_import)
    wrapped.ir_version = inner.ir_version
    wrapped.functions.extend(inner.functions)
    return wrapped


def _before(feed: str, options: ImportOptions) -> tuple[list[NodeProto], list[TensorProto]]:
    """From uint8 [N, H, W, 3] to float32 [N, 3, H, W] in 0..1, or normalised."""
    scale = np.full((1, 3, 1, 1), 255, np.float32)
    shift = np.zeros((1, 3, 1, 1), np.float32)
    if options.std is not None:
        scale = scale * np.asarray(options.std, np.float32).reshape(1, 3, 1, 1)
    if options.mean is not None:
        shift = 255 * np.asarray(options.mean, np.float32).reshape(1, 3, 1, 1)
    nodes = [
        helper.make_node("Cast", [FRAMES], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["wide"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Sub", ["planes", "shift"], ["shifted"]),
        helper.make_node("Div", ["shifted", "scale"], [feed]),
    ]
    return nodes, [_stored("shift", shift), _stored("scale", scale)]


def _after(
    anomaly_map: str, dims: tuple[int | None, ...], score: str | None, size: tuple[int, int]
) -> tuple[list[NodeProto], list[TensorProto]]:
    """From its map, [N, 1, h, w] or [N, h, w], and its score, any [N, ...] of one each, to ours."""
    nodes = []
    planes = anomaly_map
    if len(dims) == 3:  # noqa: PLR2004  # [N, h, w]
        planes = "map_planes"
        nodes.append(helper.make_node("Unsqueeze", [anomaly_map, "channel"], [planes]))
    if score is None:
        nodes.append(helper.make_node("GlobalMaxPool", [planes], ["map_highest"]))
    nodes += [
        helper.make_node("Shape", [planes], ["map_shape"]),
        helper.make_node("Slice", ["map_shape", "zero", "two"], ["map_head"]),
        helper.make_node("Concat", ["map_head", "size"], ["wanted_shape"], axis=0),
        helper.make_node(
            "Resize",
            [planes, "", "", "wanted_shape"],
            ["map_sized"],
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        ),
        helper.make_node("Squeeze", ["map_sized", "channel"], ["map_flat"]),
        helper.make_node("Clip", ["map_flat", "least", "most"], [MAP]),
        helper.make_node("Reshape", [score or "map_highest", "row"], [SCORE]),
    ]
    stored = [
        _stored("channel", np.array([1], np.int64)),
        _stored("zero", np.array([0], np.int64)),
        _stored("two", np.array([2], np.int64)),
        _stored("size", np.array(size, np.int64)),
        _stored("row", np.array([-1], np.int64)),
        _stored("least", np.array(0, np.float32)),
        _stored("most", np.array(1, np.float32)),
    ]
    return nodes, stored


def _output(
    outputs: dict[str, tuple[int | None, ...]],
    wanted: str | None,
    usual: tuple[str, ...],
    name: str,
) -> str | None:
    if wanted is not None and wanted not in outputs:
        raise ManifestError(f"{name} has no output {wanted!r}: it has {list(outputs)}")
    if wanted is not None:
        return wanted
    return next((each for each in usual if each in outputs), None)


def _check_runs(content: bytes, name: str, size: tuple[int, int], most: int) -> None:
    """Run it on grey frames, one and two where it can: what it answers must have our shapes."""
    counts = sorted({1, min(2, most)})
    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        answers = [
            session.run([SCORE, MAP], {FRAMES: np.full((count, *size, 3), 128, np.uint8)})
            for count in counts
        ]
    except Exception as error:  # its errors share no base class but Exception
        raise ManifestError(f"{name} does not run: {error}") from error
    for count, (score, maps) in zip(counts, answers, strict=True):
        if score.shape != (count,) or maps.shape != (count, *size):
            raise ManifestError(
                f"{name} answers score {list(score.shape)} and map {list(maps.shape)} for "
                f"{count} frames: one number and one map a frame are wanted"
            )


def _inputs(model: ModelProto) -> list[onnx.ValueInfoProto]:
    stored = {each.name for each in model.graph.initializer}
    return [each for each in model.graph.input if each.name not in stored]


def _dims(value: onnx.ValueInfoProto) -> tuple[int | None, ...]:
    return tuple(
        each.dim_value if each.HasField("dim_value") else None
        for each in value.type.tensor_type.shape.dim
    )


def _stored(name: str, values: NDArray[np.generic]) -> TensorProto:
    tensor: TensorProto = numpy_helper.from_array(values, name)
    return tensor
