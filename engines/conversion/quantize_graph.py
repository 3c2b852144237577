"""An ONNX graph whose encoder convolves in 8 bits, said by QuantizeLinear and DequantizeLinear.

TensorRT takes 8 bits from the graph (explicit quantisation): a convolution whose inputs and weights
come from such nodes multiplies integers, if nothing lies between. Its rules: zero points are 0,
weights have a scale for each output channel, inputs one for all, a bias stays in float.

ONNX Runtime's quantiser (MIT) measures the ranges and makes the nodes. It would also let every
other reader of a convolution's input read the rounded values, features that are compared with
prototypes among them: those read what they did.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QDQQuantizer,
    QuantType,
    TensorsData,
    create_calibrator,
)

from engines.contract import FRAMES
from engines.engine import Pixels
from engines.errors import BackendError
from engines.residual.function import OPSET as _FUNCTION_OPSET

_OPSET = 19  # the first whose scales may be float16
# The mean over all pictures of a picture's least and largest value. The extremes of all pictures
# were tried, and are those of one strange picture: its range makes every other picture coarse.
_RANGES = {"moving_average": True}
_LEAST_SCALE = 2.0**-17  # float16 holds it to a part in 256, and smaller ones to less
_RULES = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,
    "OpTypesToExcludeOutputQuantization": ["Conv"],
    "DedicatedQDQPair": True,  # TensorRT fuses no pair that two convolutions share
    "MinimumRealRange": 2 * 127 * _LEAST_SCALE,
}


def quantise_graph(model: ModelProto, convolutions: list[str], frames: Pixels) -> ModelProto:
    """Copy `model` with 8-bit inputs and weights of some convolutions.

    Args:
        model: float32, with the prototype residual as one node.
        convolutions: their names, as `encoder_convolutions` gives them.
        frames: pictures of good parts, uint8 [N, H, W, 3], N >= 1.

    Raises:
        BackendError: ONNX Runtime cannot measure or quantise one of them.
    """
    try:
        changed = _of_opset(model)
        for node in changed.graph.node:
            node.name = node.name or node.output[0]
        ranges = _measured(changed, convolutions, frames)
        quantiser = QDQQuantizer(
            changed,
            per_channel=True,
            reduce_range=False,
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QInt8,
            tensors_range=ranges,
            nodes_to_quantize=convolutions,
            nodes_to_exclude=[],
            op_types_to_quantize=["Conv"],
            extra_options=_RULES,
        )
        quantiser.quantize_model()
        quantiser.model.topological_sort()  # it appends what it adds
    except Exception as error:  # theirs share no base class but Exception
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BackendError(f"it cannot be put into 8 bits: {first}") from error
    made: ModelProto = quantiser.model.model
    _keep_others_exact(made, convolutions)
    _check(made, convolutions)
    return made


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # has no types
    """Gives the quantiser one picture after the other."""

    def __init__(self, frames: Pixels) -> None:
        self._frames: Iterator[Pixels] = iter(frames)

    def get_next(self) -> dict[str, Pixels] | None:
        frame = next(self._frames, None)
        return None if frame is None else {FRAMES: frame[np.newaxis]}


def _measured(model: ModelProto, convolutions: list[str], frames: Pixels) -> TensorsData:
    """Run the part of a graph that ends with these convolutions; gives ranges by value's name."""
    ends = [node.output[0] for node in model.graph.node if node.name in convolutions]
    encoder = onnx.utils.Extractor(model).extract_model([FRAMES], ends)
    with tempfile.TemporaryDirectory(prefix="ranges-") as folder:
        graph, measuring = Path(folder, "encoder.onnx"), Path(folder, "measuring.onnx")
        onnx.save(encoder, graph)
        calibrator = create_calibrator(
            graph,
            ["Conv"],
            str(measuring),
            CalibrationMethod.MinMax,
            providers=["CPUExecutionProvider"],
            extra_options=_RANGES,
        )
        calibrator.collect_data(_Reader(frames))
        ranges: TensorsData = calibrator.compute_data()
    for name, found in ranges.items():
        if not all(np.isfinite(end).all() for end in found.range_value):
            raise ValueError(f"{name} passes all bounds on these pictures")
    return ranges


def _of_opset(model: ModelProto) -> ModelProto:
    """Copy a model, in the operator set of the nodes that are added."""
    (version,) = (opset.version for opset in model.opset_import if opset.domain == "")
    if not model.functions:
        return onnx.version_converter.convert_version(model, max(version, _OPSET))
    # The converter leaves functions out. From the set of ours to the one that is wanted, none of
    # the operators that the trainer exports means another thing.
    if version < _FUNCTION_OPSET:
        raise ValueError(f"it holds functions of operator set {version}: export it again")
    changed = ModelProto()
    changed.CopyFrom(model)
    for holder in (changed, *changed.functions):
        for opset in holder.opset_import:
            if opset.domain == "":
                opset.version = max(opset.version, _OPSET)
    return changed


def _keep_others_exact(model: ModelProto, convolutions: list[str]) -> None:
    """Let all nodes but these read what was rounded for these before it was."""
    rounded = _rounded_by_name(model)
    for node in model.graph.node:
        if node.name not in convolutions:
            node.input[:] = [rounded.get(name, name) for name in node.input]


def _rounded_by_name(model: ModelProto) -> dict[str, str]:
    """Return by the name of each rounded value the one that it was made of."""
    made = {node.output[0]: node for node in model.graph.node if node.op_type == "QuantizeLinear"}
    return {
        node.output[0]: made[node.input[0]].input[0]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in made
    }


def _check(model: ModelProto, convolutions: list[str]) -> None:
    """Raise BackendError where a convolution was left in float, or anything else was not."""
    inputs = _rounded_by_name(model)
    stored = {each.name for each in model.graph.initializer}
    weights = {
        node.output[0]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in stored
    }
    left = [
        node.name
        for node in model.graph.node
        if node.name in convolutions and not (node.input[0] in inputs and node.input[1] in weights)
    ]
    if left:
        raise BackendError(
            f"ONNX Runtime left {len(left)} of {len(convolutions)} convolutions in float, the "
            f"first: {left[0]}; its weights must be an initializer, its input of a known type"
        )
    others = [node for node in model.graph.node if node.name not in convolutions]
    read = {name for node in others for name in node.input}
    read.update(each.name for each in model.graph.output)
    if rounded := sorted(read & (inputs.keys() | weights)):
        raise BackendError(f"{rounded[0]} would be rounded for others than the convolutions, too")
