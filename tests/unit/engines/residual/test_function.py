from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import onnxruntime
import openvino
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from engines.residual.function import residual_nodes, with_function
from engines.residual.operator import ATTRIBUTES, DOMAIN, INPUTS, OPERATOR, OUTPUTS
from engines.residual.reference import prototype_residual

SHAPES = [(1, 1, 3, 4, 4), (3, 5, 7, 6, 9), (4, 2, 1, 1, 1), (2, 33, 8, 5, 3)]  # N, K, C, H, W


def arrays(shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    count, kinds, *rest = shape
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(count, *rest)).astype(np.float32)
    return features, rng.normal(size=(kinds, *rest)).astype(np.float32)


def scales_of(shape: tuple[int, ...]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Three scales of other sizes, each with prototypes of its own number."""
    count, kinds, channels, height, width = shape
    made = [
        arrays((count, kinds + scale, channels + scale, height, width), scale) for scale in range(3)
    ]
    return [features for features, _ in made], [prototypes for _, prototypes in made]


def model_of(prototypes: list[np.ndarray]) -> onnx.ModelProto:
    node = helper.make_node(OPERATOR, list(INPUTS), list(OUTPUTS), domain=DOMAIN, **ATTRIBUTES)
    shapes = [["N", *each.shape[1:]] for each in prototypes]
    graph = helper.make_graph(
        [node],
        "one",
        [
            helper.make_tensor_value_info(f"features_{scale}", TensorProto.FLOAT, shape)
            for scale, shape in enumerate(shapes)
        ],
        [
            *(
                helper.make_tensor_value_info(f"residual_{scale}", TensorProto.FLOAT, shape)
                for scale, shape in enumerate(shapes)
            ),
            helper.make_tensor_value_info("index", TensorProto.INT32, ["N", 3]),
            helper.make_tensor_value_info("distance", TensorProto.FLOAT, ["N", 3]),
        ],
        [
            numpy_helper.from_array(each, f"prototypes_{scale}")
            for scale, each in enumerate(prototypes)
        ],
    )
    opsets = [helper.make_opsetid("", 18)]
    return with_function(helper.make_model(graph, opset_imports=opsets, ir_version=10))


def run_onnxruntime(model: onnx.ModelProto, features: list[np.ndarray]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    named = {f"features_{scale}": each for scale, each in enumerate(features)}
    return session.run(list(OUTPUTS), named)


def run_openvino(model: onnx.ModelProto, features: list[np.ndarray]) -> list[np.ndarray]:
    core = openvino.Core()
    graph = core.read_model(onnx.inliner.inline_local_functions(model).SerializeToString())
    compiled = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    answer = compiled({f"features_{scale}": each for scale, each in enumerate(features)})
    return [answer[name] for name in OUTPUTS]


RUNTIMES = [run_onnxruntime, run_openvino]


@given(
    st.integers(1, 4), st.integers(1, 5), st.integers(1, 3), st.integers(1, 4), st.integers(0, 99)
)
def test_residual_is_the_square_to_the_nearest_prototype(
    count: int, kinds: int, channels: int, side: int, seed: int
) -> None:
    features, prototypes = arrays((count, kinds, channels, side, side), seed)
    residual, index, distance = prototype_residual(features, prototypes)
    wanted = ((features[:, None] - prototypes) ** 2).sum(axis=(2, 3, 4))
    rows = np.arange(count)
    assert np.allclose(wanted[rows, index], wanted.min(axis=1), rtol=1e-5)
    assert np.allclose(residual, (features - prototypes[index]) ** 2)
    assert np.allclose(distance, wanted[rows, index], rtol=1e-5)
    assert (residual.dtype, index.dtype, distance.dtype) == (np.float32, np.int32, np.float32)


def test_lowest_of_equal_prototypes_is_taken() -> None:
    features, prototypes = arrays((2, 4, 3, 4, 4))
    prototypes[3] = prototypes[1] = features[0]
    prototypes[2] = prototypes[0] = features[1]
    assert list(prototype_residual(features, prototypes)[1]) == [1, 0]


def test_picture_with_a_nan_takes_prototype_zero_and_harms_no_other() -> None:
    features, prototypes = arrays((3, 4, 3, 4, 4))
    clean = prototype_residual(features, prototypes)
    features[1, 2, 3, 0] = np.nan
    residual, index, distance = prototype_residual(features, prototypes)
    assert index[1] == 0
    assert np.isnan(distance[1])
    assert np.isnan(residual[1]).sum() == 1
    for got, wanted in zip((residual, index, distance), clean, strict=True):
        assert np.array_equal(got[[0, 2]], wanted[[0, 2]])


@pytest.mark.parametrize("run", RUNTIMES)
@pytest.mark.parametrize("shape", SHAPES)
def test_function_agrees_with_the_reference(run: object, shape: tuple[int, ...]) -> None:
    features, prototypes = scales_of(shape)
    *residuals, index, distance = run(model_of(prototypes), features)
    for scale, residual in enumerate(residuals):
        wanted = prototype_residual(features[scale], prototypes[scale])
        assert np.array_equal(index[:, scale], wanted[1])  # random prototypes are far apart
        assert np.allclose(residual, wanted[0], atol=1e-6)
        assert np.allclose(distance[:, scale], wanted[2], rtol=1e-5)  # sums in another order
    assert index.dtype == np.int32


@pytest.mark.parametrize("run", RUNTIMES)
def test_function_takes_the_lowest_at_a_tie_and_zero_at_a_nan(run: object) -> None:
    features, prototypes = scales_of((3, 5, 3, 4, 4))
    prototypes[1][4] = prototypes[1][2] = features[1][0]
    features[1][1, 0, 0, 0] = np.nan
    *_, index, distance = run(model_of(prototypes), features)
    assert list(index[:2, 1]) == [2, 0]
    assert list(np.isnan(distance[:, 1])) == [False, True, False]
    assert not np.isnan(distance[:, [0, 2]]).any()


def test_node_says_where_its_plugin_is() -> None:
    (node,) = residual_nodes(model_of(scales_of(SHAPES[0])[1]))
    given_values = {each.name: helper.get_attribute_value(each) for each in node.attribute}
    assert given_values == {"plugin_namespace": b"prn", "plugin_version": b"2"}


def test_model_with_the_function_can_be_saved_and_checked(tmp_path: Path) -> None:
    path = tmp_path / "one.onnx"
    onnx.save(model_of(scales_of(SHAPES[1])[1]), path)
    onnx.checker.check_model(path, full_check=True)
