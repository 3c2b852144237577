"""Build an ONNX graph whose encoder convolves in 8 bits, by QuantizeLinear and DequantizeLinear.

TensorRT follows the graph (explicit quantisation): a convolution multiplies integers if its inputs
and weights come directly from such nodes. Its rules: zero points are 0, weights have one scale for
each output channel, inputs have one scale, a bias stays in float.

ONNX Runtime's quantiser (MIT) measures the ranges and makes the nodes. It would also give the
rounded values to all other readers of a convolution's input, including the comparison with
prototypes. So this module restores their original inputs.
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
# Average the smallest and largest value of each picture. Extremes over all pictures were tried:
# they come from one unusual picture, whose range makes all others coarse.
_RANGES = {"moving_average": True}
_LEAST_SCALE = 2.0**-17  # float16 holds it to 1 in 256, and smaller ones less exactly
_RULES = {
    "ActivationSymmetric": True,
    "WeightSymmetric": True,
    "QuantizeBias": False,
    "OpTypesToExcludeOutputQuantization": ["Conv"],
    "DedicatedQDQPair": True,  # TensorRT does not fuse a pair that two convolutions share
    "MinimumRealRange": 2 * 127 * _LEAST_SCALE,
}


def quantise_graph(model: ModelProto, convolutions: list[str], frames: Pixels) -> ModelProto:
    """Copy `model` with 8-bit inputs and weights of some convolutions.

    Args:
        model: float32, with the prototype residual as one node.
        convolutions: their names, as `encoder_convolutions` returns them.
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
        quantiser.model.topological_sort()  # it appends to the list
    except Exception as error:  # its errors share no base class but Exception
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BackendError(f"it cannot be quantised to 8 bits: {first}") from error
    made: ModelProto = quantiser.model.model
    _keep_others_exact(made, convolutions)
    _check(made, convolutions)
    return made


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # has no types
    """Feeds the quantiser one picture after the other."""

    def __init__(self, frames: Pixels) -> None:
        self._frames: Iterator[Pixels] = iter(frames)

    def get_next(self) -> dict[str, Pixels] | None:
        frame = next(self._frames, None)
        return None if frame is None else {FRAMES: frame[np.newaxis]}


def _measured(model: ModelProto, convolutions: list[str], frames: Pixels) -> TensorsData:
    """Run the graph up to these convolutions; return the range of each value by name."""
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
            raise ValueError(f"{name} overflows on these pictures")
    return ranges


def _of_opset(model: ModelProto) -> ModelProto:
    """Copy a model and convert it to the operator set of the added nodes."""
    (version,) = (opset.version for opset in model.opset_import if opset.domain == "")
    if not model.functions:
        return onnx.version_converter.convert_version(model, max(version, _OPSET))
    # The converter skips functions. Between our operator set and the target, no operator that
    # the trainer exports changes its meaning.
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
    """Reconnect all other nodes to the values before rounding."""
    rounded = _rounded_by_name(model)
    for node in model.graph.node:
        if node.name not in convolutions:
            node.input[:] = [rounded.get(name, name) for name in node.input]


def _rounded_by_name(model: ModelProto) -> dict[str, str]:
    """Return the original value's name for each rounded value's name."""
    made = {node.output[0]: node for node in model.graph.node if node.op_type == "QuantizeLinear"}
    return {
        node.output[0]: made[node.input[0]].input[0]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in made
    }


def _check(model: ModelProto, convolutions: list[str]) -> None:
    """Raise BackendError if a convolution stayed in float, or anything else did not."""
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
        raise BackendError(f"{rounded[0]} would be rounded for other nodes than convolutions")
