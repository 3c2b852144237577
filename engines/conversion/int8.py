"""The inputs of every 8-bit build, whatever the backend.

These are float32 ONNX, the convolutions of its encoder, and pictures of good parts, on which the
ranges of values are measured. The comparison with prototypes, the attention and the decoder stay
in float: the difference of two nearly equal maps does not survive 8 bits, and its sum is clipped
at the measured range (docs/experiments.md).
"""

from collections.abc import Callable

from onnx import ModelProto, NodeProto

from engines.engine import Pixels
from engines.errors import ManifestError, PictureError
from engines.manifest import Manifest
from engines.residual.function import residual_nodes
from engines.trial_frames import LEAST_PICTURES, TrialPictures, read_frames

_COLOURS = 3
_ENCODER = "encoder."  # prefix of the encoder's weights in files that the trainer exports


def find_convolutions(name: str, manifest: Manifest, model: ModelProto) -> list[str]:
    """Return the names of the convolutions to quantise; at least one.

    Args:
        name: the file's name, for messages.
        manifest: the file's.
        model: its graph, with our operator not yet inlined.

    Raises:
        ManifestError: it is not float32 ONNX, or has no convolution to quantise.
    """
    if (manifest.format, manifest.precision) != ("onnx", "fp32"):
        raise ManifestError(
            f"{name} is {manifest.format} in {manifest.precision}: 8 bits are made from float32 "
            "ONNX"
        )
    convolutions = encoder_convolutions(model)
    if not convolutions:
        raise ManifestError(f"{name} has no convolution before its prototypes")
    return convolutions


def read_calibration(
    pictures: TrialPictures, manifest: Manifest, on_phase: Callable[[str], None]
) -> Pixels:
    """Read good pictures, evenly spread over the sorted names of a folder and its subfolders.

    `on_phase` gets a text about the pictures that the ranges are measured on.

    Returns: uint8 [N, H, W, 3].

    Raises:
        PictureError: there are too few.
    """
    on_phase("reading pictures")
    folder = pictures.folder
    if not folder.is_dir():
        raise PictureError(f"{folder} is not a folder")
    size = (manifest.height, manifest.width)
    frames, unreadable = read_frames(folder, size, pictures.most, pictures.rules)
    if len(frames) < LEAST_PICTURES:
        raise PictureError(
            f"{folder} has {len(frames)} readable pictures, but measuring ranges needs at least "
            f"{LEAST_PICTURES} good ones"
        )
    without = f", without {len(unreadable)} that cannot be read" if unreadable else ""
    on_phase(f"measuring ranges on {len(frames)} pictures{without}")
    return frames


def encoder_convolutions(model: ModelProto) -> list[str]:
    """Return the names of the encoder's convolutions, or of all, but not the first.

    The encoder comes before the prototype residual. In a network without that operator (ProtoAD) it
    is recognised by the names of its weights, because prototypes are kernels of convolutions there.
    The first convolution, on the three colours, is cheap, and 8 bits would be coarsest there.

    Args:
        model: a graph with our operator not yet inlined.
    """
    first = {each.name for each in model.graph.initializer if each.dims[1:2] == [_COLOURS]}
    others = [node for node in _encoder(model) if not first.intersection(node.input)]
    return [node.name or node.output[0] for node in others]  # as OpenVINO names them


def _encoder(model: ModelProto) -> list[NodeProto]:
    makers = {output: node for node in model.graph.node for output in node.output}
    ends = [name for node in residual_nodes(model) for name in node.input]
    if not ends:
        every = [node for node in model.graph.node if node.op_type == "Conv"]
        named = [node for node in every if node.input[1].startswith(_ENCODER)]
        return named or every
    before: dict[int, NodeProto] = {}
    while ends:
        node = makers.get(ends.pop())
        if node is not None and id(node) not in before:
            before[id(node)] = node
            ends.extend(node.input)
    return [node for node in before.values() if node.op_type == "Conv"]
