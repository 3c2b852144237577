"""`prn::PrototypeResidual` as an ONNX function, with a body of standard operators.

    for each scale j of three: features_j [N, C, H, W], prototypes_j [K, C, H, W]
    -> for each: residual_j [N, C, H, W]; then index int32 [N, 3], distance float32 [N, 3]

All scales are one node, so that a GPU can compute them in one launch. Each scale chooses by itself.
The body finds the nearest prototype by the product form |P_k|^2 - 2 <P_k, F>, which needs no
[N, K, C, H, W] tensor; |F|^2 is the same for all k. The distance is summed from the residual, so
it has none of the product form's cancellation. ONNX Runtime runs the body as it is, OpenVINO after
it is inlined; TensorRT looks for a plugin of the namespace that the node names.
"""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import FunctionProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from engines.residual.operator import ATTRIBUTES, DOMAIN, INPUTS, OPERATOR, OUTPUTS, SCALES, VERSION

OPSET = 18  # of the standard operators in the body
_SHARED = ("elements", "nothing")  # constants, the same for every scale


def residual_function() -> FunctionProto:
    """Build the function."""
    scales = [node for scale in range(SCALES) for node in _of_scale(scale)]
    function: FunctionProto = helper.make_function(
        DOMAIN,
        OPERATOR,
        inputs=list(INPUTS),
        outputs=list(OUTPUTS),
        nodes=[*_constants(), *scales, _joined("index"), _joined("distance")],
        opset_imports=[helper.make_opsetid("", OPSET)],
        attributes=list(ATTRIBUTES),
    )
    return function


def with_function(model: ModelProto) -> ModelProto:
    """Add the function to a copy of a model whose graph has nodes of it.

    Raises:
        onnx.checker.ValidationError: the model with the function is not valid ONNX.
    """
    complete = ModelProto()
    complete.CopyFrom(model)
    domains = {opset.domain for opset in complete.opset_import}
    if DOMAIN not in domains:
        complete.opset_import.append(helper.make_opsetid(DOMAIN, VERSION))
    complete.functions.append(residual_function())
    onnx.checker.check_model(complete)
    return complete


def residual_nodes(model: ModelProto) -> list[NodeProto]:
    """Find the nodes that call the operator."""
    return [node for node in model.graph.node if (node.domain, node.op_type) == (DOMAIN, OPERATOR)]


def _of_scale(scale: int) -> list[NodeProto]:
    """Build the nodes of a scale, whose values carry its number."""
    made = [*_nearest(), *_squares()]
    for node in made:
        node.input[:] = [name if name in _SHARED else f"{name}_{scale}" for name in node.input]
        node.output[:] = [f"{name}_{scale}" for name in node.output]
    return made


def _constants() -> list[NodeProto]:
    return [
        _constant("elements", np.array([1], np.int64)),  # the axis of a flattened map
        _constant("nothing", np.array(0, np.float32)),
    ]


def _nearest() -> list[NodeProto]:
    """Add the nodes from features and prototypes to `place` int64 [N], all in float32."""
    return [
        _node("Flatten", ["features"], "flat_features", axis=1),  # [N, D]
        _node("Flatten", ["prototypes"], "flat_prototypes", axis=1),  # [K, D]
        _node("Cast", ["flat_features"], "rows", to=TensorProto.FLOAT),
        _node("Cast", ["flat_prototypes"], "kernels", to=TensorProto.FLOAT),
        # Transpose the features, not the prototypes, of which a second copy would be kept.
        _node("Transpose", ["rows"], "columns", perm=[1, 0]),  # [D, N]
        _node("MatMul", ["kernels", "columns"], "products"),  # [K, N]
        _node("Add", ["products", "products"], "twice"),
        _node("ReduceSumSquare", ["kernels", "elements"], "norms", keepdims=1),  # [K, 1]
        _node("Sub", ["norms", "twice"], "gaps"),  # distance less |F|^2, [K, N]
        # Runtimes disagree about the index of the smallest NaN: the reference says 0.
        _node("IsNaN", ["gaps"], "unknown"),
        _node("Where", ["unknown", "nothing", "gaps"], "comparable"),
        _node("ArgMin", ["comparable"], "place", axis=0, keepdims=0, select_last_index=0),
    ]


def _squares() -> list[NodeProto]:
    """Add the nodes from `place` to `residual`, `index` int32 [N, 1], `distance` float32 [N, 1]."""
    return [
        _node("Gather", ["prototypes", "place"], "chosen", axis=0),  # [N, C, H, W]
        _node("Sub", ["features", "chosen"], "difference"),
        _node("Mul", ["difference", "difference"], "residual"),
        _node("Flatten", ["residual"], "flat_residual", axis=1),
        _node("Cast", ["flat_residual"], "summands", to=TensorProto.FLOAT),
        _node("ReduceSum", ["summands", "elements"], "distance", keepdims=1),
        _node("Cast", ["place"], "number", to=TensorProto.INT32),
        _node("Unsqueeze", ["number", "elements"], "index"),
    ]


def _joined(name: str) -> NodeProto:
    """Add the node that joins [N, 1] of each scale to [N, 3]."""
    return _node("Concat", [f"{name}_{scale}" for scale in range(SCALES)], name, axis=1)


def _node(kind: str, inputs: list[str], output: str, **attributes: Any) -> NodeProto:  # noqa: ANN401
    node: NodeProto = helper.make_node(kind, inputs, [output], **attributes)
    return node


def _constant(name: str, values: NDArray[np.generic]) -> NodeProto:
    node: NodeProto = helper.make_node(
        "Constant", [], [name], value=numpy_helper.from_array(values, name)
    )
    return node
