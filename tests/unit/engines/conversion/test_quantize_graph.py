"""Plans of 8 bits: what of the graph is quantised, and what TensorRT makes of it."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from fakes.places import PROGRAMS
from fakes.prn import SIZE, normal_pictures
from fakes.prn_engine import write_tiny_engine
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from engines.backends.tensorrt.api import loadable_libraries
from engines.commands.build import BuildSettings, run_build
from engines.conversion import tensorrt as build_tensorrt
from engines.conversion.half_precision import to_half_precision
from engines.conversion.int8 import encoder_convolutions
from engines.conversion.quantize_graph import quantise_graph
from engines.conversion.tensorrt import PlanOptions, build_plan
from engines.conversion.tensorrt_process import BuildRequest
from engines.errors import BackendError, ManifestError, PictureError
from engines.manifest import Manifest, read_manifest
from engines.residual.function import residual_nodes

LAYERS = PROGRAMS / "rtx_layers.py"
LEAST_SCALE = 2**-17
FLOAT16 = TensorProto.FLOAT16


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_engine(tmp_path_factory.mktemp("prn"))


@pytest.fixture(scope="module")
def plain(source: Path) -> onnx.ModelProto:
    return onnx.load(source)


@pytest.fixture(scope="module")
def eight(plain: onnx.ModelProto) -> onnx.ModelProto:
    return quantise_graph(plain, encoder_convolutions(plain), normal_pictures())


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    for number, frame in enumerate(normal_pictures(8)):
        cv2.imwrite(str(folder / f"{number}.png"), frame)
    return folder


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory, cxx: str, pictures: Path) -> PlanOptions:
    assert cxx
    return PlanOptions(
        "tensorrt_rtx",
        "sm_89",
        precision="int8",
        kernels=tmp_path_factory.mktemp("kernels"),
        calibration=pictures,
    )


def makers_of(model: onnx.ModelProto) -> dict[str, onnx.NodeProto]:
    return {name: node for node in model.graph.node for name in node.output}


def stored_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}


def readers_of_rounded(model: onnx.ModelProto) -> set[str]:
    makers = makers_of(model)
    return {
        node.name
        for node in model.graph.node
        if any(name in makers and makers[name].op_type == "DequantizeLinear" for name in node.input)
    }


def small(nodes: list[onnx.NodeProto], weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    """A graph from frames uint8 [N, 4, 4, 3] to `map`."""
    begin = [
        helper.make_node("Cast", ["frames"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["float"], ["planes"], perm=[0, 3, 1, 2]),
    ]
    stored = [numpy_helper.from_array(value.astype("f4"), name) for name, value in weights.items()]
    frames = helper.make_tensor_value_info("frames", TensorProto.UINT8, ["N", 4, 4, 3])
    ends = helper.make_tensor_value_info("map", TensorProto.FLOAT, None)
    graph = helper.make_graph([*begin, *nodes], "small", [frames], [ends], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def test_only_the_encoders_convolutions_are_quantised(
    plain: onnx.ModelProto, eight: onnx.ModelProto
) -> None:
    wanted = set(encoder_convolutions(plain))
    assert wanted
    assert readers_of_rounded(eight) == wanted
    makers, stored = makers_of(eight), stored_of(eight)
    for node in eight.graph.node:
        if node.name in wanted:
            assert [makers[name].op_type for name in node.input[:2]] == ["DequantizeLinear"] * 2
            assert stored[node.input[2]].dtype == np.float32  # the bias
    pairs = [n for n in eight.graph.node if n.op_type == "QuantizeLinear"]
    assert len(pairs) == len(wanted)


def test_zero_is_zero_and_weights_have_a_scale_for_each_output_channel(
    eight: onnx.ModelProto,
) -> None:
    stored = stored_of(eight)
    for node in eight.graph.node:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        scale, zero = stored[node.input[1]], stored[node.input[2]]
        assert zero.dtype == np.int8
        assert not zero.any()
        weight = stored.get(node.input[0])
        if weight is None:
            assert scale.shape == ()
            continue
        assert [each.i for each in node.attribute if each.name == "axis"] == [0]
        assert scale.shape == weight.shape[:1]
        assert weight.dtype == np.int8
        assert (np.abs(weight).reshape(len(weight), -1).max(axis=1) == 127).all()


def test_residual_and_its_function_are_as_they_were(
    plain: onnx.ModelProto, eight: onnx.ModelProto
) -> None:
    (before,), (after,) = residual_nodes(plain), residual_nodes(eight)
    assert list(before.input) == list(after.input)
    assert before.attribute == after.attribute
    assert [each.name for each in eight.functions] == [each.name for each in plain.functions]
    assert [each.name for each in eight.graph.output] == [each.name for each in plain.graph.output]


def test_features_of_eight_bits_are_near_those_of_float32(
    plain: onnx.ModelProto, eight: onnx.ModelProto
) -> None:
    (node,) = residual_nodes(plain)
    names = list(node.input[::2])
    frames = {"frames": normal_pictures(3)}

    def features(model: onnx.ModelProto) -> list[np.ndarray]:
        encoder = onnx.utils.Extractor(model).extract_model(["frames"], names)
        return ReferenceEvaluator(encoder).run(None, frames)

    for got, wanted in zip(features(eight), features(plain), strict=True):
        # 127 steps for the range of inputs, and for that of weights, through three layers
        assert 0 < np.abs(got - wanted).max() < 0.03 * np.abs(wanted).max()


def test_nothing_lies_between_eight_bits_and_a_convolution_in_half_precision(
    plain: onnx.ModelProto, eight: onnx.ModelProto
) -> None:
    half = to_half_precision(eight)
    onnx.checker.check_model(half, full_check=True)
    wanted = set(encoder_convolutions(plain))
    assert readers_of_rounded(half) == wanted
    makers, stored = makers_of(half), stored_of(half)
    casts = [
        sum(n.op_type == "Cast" for n in m.graph.node) for m in (half, to_half_precision(plain))
    ]
    assert casts[0] == casts[1]
    for node in half.graph.node:
        if node.name in wanted:
            for name in node.input[:2]:
                assert makers[name].op_type == "DequantizeLinear"
                assert stored[makers[name].input[1]].dtype == np.float16
            assert stored[node.input[2]].dtype == np.float16


def test_half_precision_of_eight_bits_answers_nearly_the_same(eight: onnx.ModelProto) -> None:
    frames = {"frames": normal_pictures(3)}
    wanted = ReferenceEvaluator(eight).run(["score", "map"], frames)
    got = ReferenceEvaluator(to_half_precision(eight)).run(["score", "map"], frames)
    for one, other in zip(got, wanted, strict=True):
        # a value at the border of two steps may take the other one
        assert np.abs(one - other).max() < 2e-2


def test_value_that_stays_in_float32_is_quantised_as_it_is() -> None:
    nodes = [
        helper.make_node("Conv", ["planes", "colours"], ["first"], name="first"),
        helper.make_node("Sigmoid", ["first"], ["level"]),
        helper.make_node("Conv", ["level", "kernel"], ["map"], name="second"),
    ]
    weights = {"colours": np.full((2, 3, 1, 1), 0.01), "kernel": np.ones((1, 2, 1, 1))}
    frames = np.random.default_rng(1).integers(0, 256, (4, 4, 4, 3), dtype=np.uint8)
    model = small(nodes, weights)
    half = to_half_precision(quantise_graph(model, ["second"], frames))
    onnx.checker.check_model(half, full_check=True)
    (rounding,) = [node for node in half.graph.node if node.op_type == "QuantizeLinear"]
    assert rounding.input[0] == "level"
    assert stored_of(half)[rounding.input[1]].dtype == np.float32
    (wanted,), (got,) = (
        ReferenceEvaluator(each).run(["map"], {"frames": frames}) for each in (model, half)
    )
    assert np.abs(got - wanted).max() < 0.02


def test_graph_of_an_older_operator_set_is_converted() -> None:
    nodes = [
        helper.make_node("Conv", ["planes", "colours"], ["first"], name="first"),
        helper.make_node("Conv", ["first", "kernel"], ["second"], name="second"),
        helper.make_node("ReduceMean", ["second"], ["map"], axes=[1]),  # an input since set 18
    ]
    rng = np.random.default_rng(1)
    weights = {"colours": np.full((2, 3, 1, 1), 0.01), "kernel": rng.normal(size=(3, 2, 1, 1))}
    model = small(nodes, weights)
    model.opset_import[0].version = 17
    frames = rng.integers(0, 256, (1, 4, 4, 3), dtype=np.uint8)
    eight = quantise_graph(model, ["second"], frames)
    onnx.checker.check_model(eight, full_check=True)
    (wanted,), (got,) = (
        ReferenceEvaluator(each).run(["map"], {"frames": frames}) for each in (model, eight)
    )
    assert np.abs(got - wanted).max() < 0.03 * np.abs(wanted).max()


def test_functions_of_an_older_operator_set_are_refused(plain: onnx.ModelProto) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(plain)
    for each in model.opset_import:
        each.version = 17 if each.domain == "" else each.version
    with pytest.raises(BackendError, match="functions of operator set 17: export it again"):
        quantise_graph(model, encoder_convolutions(model), normal_pictures(1))


def test_one_strange_picture_does_not_set_the_range() -> None:
    nodes = [
        helper.make_node("Conv", ["planes", "colours"], ["first"], name="first"),
        helper.make_node("Conv", ["first", "kernel"], ["map"]),
    ]
    weights = {"colours": np.full((1, 3, 1, 1), 1 / 3), "kernel": np.ones((1, 1, 1, 1))}
    frames = np.full((4, 4, 4, 3), 100, np.uint8)
    frames[2] = 240
    model = small(nodes, weights)
    assert encoder_convolutions(model) == ["map"]  # it has no name of its own
    eight = quantise_graph(model, ["map"], frames)
    (rounding,) = [node for node in eight.graph.node if node.op_type == "QuantizeLinear"]
    assert stored_of(eight)[rounding.input[1]] == pytest.approx((3 * 100 + 240) / 4 / 127)


def test_channel_of_tiny_weights_keeps_a_scale_that_float16_holds() -> None:
    kernel = np.array([0.0, 1e-6, 1.0]).reshape(3, 1, 1, 1)
    nodes = [
        helper.make_node("Conv", ["planes", "colours"], ["first"], name="first"),
        helper.make_node("Conv", ["first", "kernel"], ["map"], name="second"),
    ]
    weights = {"colours": np.ones((1, 3, 1, 1)), "kernel": kernel}
    eight = quantise_graph(small(nodes, weights), ["second"], np.full((1, 4, 4, 3), 9, np.uint8))
    scales = [value for value in stored_of(eight).values() if value.shape == (3,)]
    scale = next(value for value in scales if value.dtype == np.float32)
    assert ((scale[:2] >= LEAST_SCALE) & (scale[:2] <= 2 * LEAST_SCALE)).all()
    assert scale[2] == pytest.approx(1 / 127)


def test_convolution_that_cannot_be_quantised_is_named() -> None:
    nodes = [
        helper.make_node("Conv", ["planes", "colours"], ["first"], name="first"),
        helper.make_node("Relu", ["raw"], ["kernel"]),
        helper.make_node("Conv", ["first", "kernel"], ["map"], name="second"),
    ]
    weights = {"colours": np.ones((1, 3, 1, 1)), "raw": np.ones((1, 1, 1, 1))}
    with pytest.raises(BackendError, match=r"left 1 of 1 convolutions in float, the first: second"):
        quantise_graph(small(nodes, weights), ["second"], np.full((1, 4, 4, 3), 9, np.uint8))


@pytest.mark.parametrize("target", ["sm_86", "sm_89", "sm_120"])
def test_plan_of_eight_bits_is_built_for_an_absent_gpu(
    tmp_path: Path, source: Path, options: PlanOptions, target: str
) -> None:
    phases: list[str] = []
    plan = tmp_path / "prn.plan"
    built = build_plan(source, plan, replace(options, target=target), phases.append)
    assert built == read_manifest(plan)
    assert (built.format, built.device, built.precision) == ("tensorrt_rtx", target, "int8")
    assert built.built_from == read_manifest(source).sha256
    assert built.kernel_sha256
    assert "measuring ranges on 8 pictures" in phases


def test_tensorrt_multiplies_in_eight_bits(
    tmp_path: Path, plain: onnx.ModelProto, eight: onnx.ModelProto
) -> None:
    graph = tmp_path / "graph.onnx"
    onnx.save(to_half_precision(eight), graph)
    command = [sys.executable, str(LAYERS), str(graph), str(SIZE), str(SIZE)]
    with loadable_libraries("tensorrt_rtx") as environment:
        told = subprocess.run(command, check=True, capture_output=True, env=environment)
    layers = json.loads(told.stdout)
    in_eight = [
        layer["name"]
        for layer in layers
        if layer["kind"] == "correlation" and layer["inputs"][0] == "Int8"
    ]
    names = encoder_convolutions(plain)
    assert sorted(name.rsplit("_myl", 1)[0] for name in in_eight) == sorted(names)
    assert [layer["kind"] for layer in layers].count("custom_layer") == 1


def test_plan_of_eight_bits_is_built_of_a_graph_in_eight_bits(
    tmp_path: Path, source: Path, options: PlanOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[onnx.ModelProto] = []

    def built(request: BuildRequest, on_phase: object) -> str:
        del on_phase
        given.append(onnx.load(request.graph))
        Path(request.plan).write_bytes(b"a plan")
        return "1.7"

    monkeypatch.setattr(build_tensorrt, "_run", built)
    build_plan(source, tmp_path / "prn.plan", options)
    nodes = given[0].graph.node
    makers = {node.output[0]: node for node in nodes}
    names = encoder_convolutions(onnx.load(source))
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    in_eight = [
        node.name for node in convolutions if makers[node.input[0]].op_type == "DequantizeLinear"
    ]
    assert sorted(in_eight) == sorted(names)
    halves = [each.name for each in given[0].graph.initializer if each.data_type == FLOAT16]
    plain = [node for node in convolutions if node.name not in names]
    assert plain
    assert all(node.input[1] in halves for node in plain)


def test_convolutions_that_share_their_input_round_it_each_for_itself() -> None:
    nodes = [
        helper.make_node("Conv", ["planes", "colours"], ["first"], name="first"),
        helper.make_node("Conv", ["first", "kernel"], ["left"], name="left"),
        helper.make_node("Conv", ["first", "kernel"], ["right"], name="right"),
        helper.make_node("Add", ["left", "right"], ["map"]),
    ]
    weights = {"colours": np.ones((1, 3, 1, 1)), "kernel": np.ones((1, 1, 1, 1))}
    frames = np.full((1, 4, 4, 3), 9, np.uint8)
    eight = quantise_graph(small(nodes, weights), ["left", "right"], frames)
    inputs = {node.input[0] for node in eight.graph.node if node.name in ("left", "right")}
    assert len(inputs) == 2  # TensorRT fuses no pair that two convolutions share


@pytest.mark.parametrize(
    ("reader", "words"),
    [
        (("Conv", ["planes", "colours"], ["score"]), "score would be rounded for other nodes"),
        (("Mul", ["map", "kernel"], ["product"]), "would be rounded for other nodes"),
    ],
)
def test_what_would_be_rounded_for_others_too_is_refused(
    reader: tuple[str, list[str], list[str]], words: str
) -> None:
    kind, inputs, outputs = reader
    first = "score" if kind == "Conv" else "first"
    nodes = [helper.make_node("Conv", ["planes", "colours"], [first], name="first")]
    nodes.append(helper.make_node("Conv", [first, "kernel"], ["map"], name="second"))
    if kind != "Conv":
        nodes.append(helper.make_node(kind, inputs, outputs))
    weights = {"colours": np.ones((1, 3, 1, 1)), "kernel": np.ones((1, 1, 1, 1))}
    model = small(nodes, weights)
    if first == "score":
        model.graph.output.append(
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N", 1, 4, 4])
        )
    with pytest.raises(BackendError, match=words):
        quantise_graph(model, ["second"], np.full((1, 4, 4, 3), 9, np.uint8))


def test_network_that_overflows_on_good_pictures_is_refused() -> None:
    nodes = [
        helper.make_node("Conv", ["planes", "colours"], ["first"], name="first"),
        helper.make_node("Conv", ["first", "kernel"], ["map"], name="second"),
    ]
    weights = {"colours": np.full((1, 3, 1, 1), 3e38), "kernel": np.ones((1, 1, 1, 1))}
    with pytest.raises(BackendError, match="overflows on these pictures"):
        quantise_graph(small(nodes, weights), ["second"], np.full((1, 4, 4, 3), 9, np.uint8))


def test_what_has_no_pictures_or_is_not_float32_is_refused(
    tmp_path: Path, source: Path, options: PlanOptions
) -> None:
    plan = tmp_path / "prn.plan"
    with pytest.raises(BackendError, match="pictures of good parts"):
        build_plan(source, plan, replace(options, calibration=None))
    with pytest.raises(PictureError, match="no picture"):
        build_plan(source, plan, replace(options, calibration=tmp_path))
    with pytest.raises(PictureError, match="gone is not a folder"):
        build_plan(source, plan, replace(options, calibration=tmp_path / "gone"))
    with pytest.raises(PictureError, match=r"7 readable pictures, .* at least 8 good ones"):
        build_plan(source, plan, replace(options, pictures=7))
    copy = tmp_path / "prn.onnx"
    copy.write_bytes(source.read_bytes())
    fields = json.loads(source.with_name("prn.onnx.json").read_text("utf-8"))
    copy.with_name("prn.onnx.json").write_text(json.dumps(fields | {"precision": "fp16"}), "utf-8")
    with pytest.raises(ManifestError, match="made from float32 ONNX"):
        build_plan(copy, plan, options)
    assert not plan.exists()


@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt_rtx", "openvino"])
def test_every_backend_takes_eight_bits_with_pictures(backend: str) -> None:
    given = {"source": "a.onnx", "plan": "a.plan", "backend": backend, "precision": "int8"}
    assert BuildSettings(**given, calibration="good").precision == "int8"
    with pytest.raises(ValueError, match="--calibration DIR go together"):
        BuildSettings(**given)


def test_command_passes_pictures_on(
    source: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[PlanOptions] = []

    def built(source: Path, plan: Path, options: PlanOptions, on_phase: object) -> Manifest:
        del plan, on_phase
        asked.append(options)
        return read_manifest(source)

    monkeypatch.setattr(build_tensorrt, "build_plan", built)
    settings = BuildSettings(
        source=source,
        plan=tmp_path / "prn.plan",
        backend="tensorrt_rtx",
        precision="int8",
        calibration=pictures,
        max_images=12,
    )
    run_build(settings)
    assert (asked[0].precision, asked[0].calibration, asked[0].pictures) == ("int8", pictures, 12)
