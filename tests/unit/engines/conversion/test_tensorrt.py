import json
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
import onnxruntime
import pytest
from fakes.prn import SIZE, Squares, normal_pictures
from fakes.prn_engine import write_tiny_engine
from inputs.onnx_graphs import small_graph, write_graph
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from engines.admission.admit import find_reference
from engines.backends import onnxruntime as onnxruntime_engine
from engines.backends.tensorrt.api import PlanBackend, kernel_path
from engines.backends.tensorrt.device import check_fits
from engines.backends.tensorrt.plan import load_kernel
from engines.backends.tensorrt.plugin import workspace_bytes
from engines.contract import CELLS, FRAMES, MAP, PEAK, check_contract
from engines.conversion import tensorrt as build_tensorrt
from engines.conversion.half_precision import to_half_precision
from engines.conversion.tensorrt import PlanOptions, build_plan, check_nodes
from engines.conversion.tensorrt_process import THIS_GPU, BuildRequest, make_config
from engines.engine import summarise_maps
from engines.errors import AdmissionError, BackendError, ManifestError
from engines.files import file_sha256
from engines.machine import Gpu
from engines.manifest import read_manifest
from engines.open import open_engine
from engines.residual.function import residual_nodes
from engines.residual.operator import DOMAIN
from trainer.export.engine_file import write_engine

RTX = PlanOptions(backend="tensorrt_rtx", target="sm_89", usual_batch=4)
KERNELS = b"\x7fELF"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine file of a small PRN."""
    return write_tiny_engine(tmp_path_factory.mktemp("prn"))


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory, cxx: str) -> Path:
    """Where compiled kernels are kept, so that each is compiled once."""
    assert cxx
    return tmp_path_factory.mktemp("kernels")


def frames() -> np.ndarray:
    return Squares(normal_pictures()).batch(3).frames


def extreme_frames() -> np.ndarray:
    black = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    noise = np.random.default_rng(1).integers(0, 256, (2, SIZE, SIZE, 3), dtype=np.uint8)
    return np.concatenate([frames()[:2], black, 255 - black, noise])


def run(model: onnx.ModelProto) -> list[np.ndarray]:
    """Run with ONNX's reference, which rounds to float16 where the graph says so.

    ONNX Runtime's CPU joins casts and computes most of a half graph in float32.
    """
    names = ["score", "map", "nearest", "distance"]
    return ReferenceEvaluator(model).run(names, {"frames": extreme_frames()})


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    graph = inferred.graph
    values = (*graph.input, *graph.value_info, *graph.output)
    stored = {each.name: each.data_type for each in graph.initializer}
    return {each.name: each.type.tensor_type.elem_type for each in values} | stored


def test_half_precision_answers_nearly_the_same(source: Path) -> None:
    model = onnx.load(source)
    half = to_half_precision(model)
    onnx.checker.check_model(half, full_check=True)
    wanted, got = run(model), run(half)
    assert [each.dtype for each in got] == [each.dtype for each in wanted]
    assert all(np.isfinite(each).all() for each in got)
    # 10 bits of fraction are 5e-4 a value, carried through some fifty layers
    assert np.allclose(got[0], wanted[0], atol=5e-3)
    assert np.allclose(got[1], wanted[1], atol=2e-2)
    assert np.allclose(got[3], wanted[3], rtol=1e-2)
    assert np.array_equal(got[2], wanted[2])


def test_convolutions_are_half_and_sums_are_not(source: Path) -> None:
    half = to_half_precision(onnx.load(source))
    types = types_of(half)
    found = {(node.op_type, types[node.input[0]]) for node in half.graph.node}
    for kind in ("Conv", "Relu", "PrototypeResidual"):
        assert (kind, TensorProto.FLOAT16) in found
        assert (kind, TensorProto.FLOAT) not in found
    for kind in ("Log", "Softmax", "ReduceSum", "Sigmoid", "TopK", "Sqrt", "Clip"):
        assert (kind, TensorProto.FLOAT16) not in found
    (node,) = residual_nodes(half)
    assert [types[name] for name in node.output[3:]] == [TensorProto.INT32, TensorProto.FLOAT]
    assert {types[name] for name in node.output[:3]} == {TensorProto.FLOAT16}


def test_no_value_between_two_float32_layers_is_half(source: Path) -> None:
    half = to_half_precision(onnx.load(source))
    types = types_of(half)
    makers = {name: node for node in half.graph.node for name in node.output}
    for node in half.graph.node:
        computed = [makers[name] for name in node.input if name in makers]
        if node.op_type in ("Conv", "PrototypeResidual", "Cast") or not computed:
            continue
        if types[node.output[0]] == TensorProto.FLOAT16:
            assert all(maker.op_type != "Cast" for maker in computed), node.name


def test_sum_of_squares_may_pass_what_half_can_hold() -> None:
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=1),
        helper.make_node("Clip", ["sum", "least"], ["kept"]),
        helper.make_node("Add", ["kept", "least"], ["map"]),
    ]
    graph = helper.make_graph(
        nodes,
        "sums",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("map", TensorProto.FLOAT, [1, 1])],
        [numpy_helper.from_array(np.array(1e-12, np.float32), "least")],
    )
    model = to_half_precision(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]))
    x = np.full((2, 3), 50_000, np.float32)
    assert ReferenceEvaluator(model).run(["map"], {"x": x})[0] == 300_000


def test_output_that_a_half_layer_makes_keeps_its_name_and_type() -> None:
    weight = numpy_helper.from_array(np.ones((1, 3, 1, 1), np.float32), "weight")
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "weight"], ["map"]),
            helper.make_node("Relu", ["map"], ["other"]),
        ],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 4, 4])],
        [
            helper.make_tensor_value_info("map", TensorProto.FLOAT, ["N", 1, 4, 4]),
            helper.make_tensor_value_info("other", TensorProto.FLOAT, ["N", 1, 4, 4]),
        ],
        [weight],
    )
    model = to_half_precision(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]))
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    x = np.ones((2, 3, 4, 4), np.float32)
    for answer in session.run(["map", "other"], {"x": x}):
        assert np.array_equal(answer, np.full((2, 1, 4, 4), 3, np.float32))


@pytest.mark.parametrize("target", ["sm_86", "sm_89", "sm_120"])
def test_plan_is_built_for_an_absent_gpu(
    tmp_path: Path, source: Path, kernels: Path, target: str
) -> None:
    phases: list[str] = []
    plan = tmp_path / "prn.plan"
    options = replace(RTX, target=target, kernels=kernels)
    built = build_plan(source, plan, options, phases.append)
    assert built == read_manifest(plan)
    assert (built.format, built.device, built.precision) == ("tensorrt_rtx", target, "fp16")
    assert built.max_batch == 16
    assert built.built_from == read_manifest(source).sha256
    assert phases
    assert plan.stat().st_size > 10_000
    assert built.kernel_sha256 == file_sha256(kernel_path(plan))
    assert kernel_path(plan).read_bytes().startswith(KERNELS)


def test_plan_of_float32_is_larger(tmp_path: Path, source: Path, kernels: Path) -> None:
    sizes = []
    for precision in ("fp16", "fp32"):
        options = replace(RTX, precision=precision, kernels=kernels)
        build_plan(source, tmp_path / f"{precision}.plan", options)
        sizes.append((tmp_path / f"{precision}.plan").stat().st_size)
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("target", [THIS_GPU, "sm_89"])
def test_plans_multiply_as_the_graph_says_and_take_no_memory_of_their_own(target: str) -> None:
    trt = pytest.importorskip("tensorrt_rtx")
    builder = trt.Builder(trt.Logger())
    assert builder.create_builder_config().get_flag(trt.BuilderFlag.TF32)  # on by default
    request = BuildRequest("", "", "tensorrt_rtx", target, (1, 8, 16), (SIZE, SIZE, 3), plugins=1)
    config = make_config(trt, builder, request, lambda **_: None)
    flags = trt.BuilderFlag
    assert not config.get_flag(flags.TF32)
    assert config.get_flag(flags.STRICT_NANS)
    assert config.get_flag(flags.DISTRIBUTIVE_INDEPENDENCE)
    assert config.get_flag(flags.REQUIRE_USER_ALLOCATION)


def test_timing_cache_is_kept(tmp_path: Path, source: Path, kernels: Path) -> None:
    cache = tmp_path / "timing.cache"
    options = replace(RTX, timing_cache=cache, kernels=kernels)
    build_plan(source, tmp_path / "first.plan", options)
    assert cache.is_file()
    build_plan(source, tmp_path / "second.plan", options)


def test_failed_build_leaves_what_serves_as_it_was(
    tmp_path: Path, source: Path, kernels: Path
) -> None:
    plan = tmp_path / "prn.plan"
    build_plan(source, plan, replace(RTX, kernels=kernels))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(BackendError, match="cannot build for"):
        build_plan(source, plan, replace(RTX, target="sm_90", kernels=kernels))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    with pytest.raises(BackendError, match=r"name must end with \.plan"):
        build_plan(source, tmp_path / "prn.engine", RTX)


def test_absent_target_and_backend_are_named(tmp_path: Path, source: Path) -> None:
    plan = tmp_path / "prn.plan"
    with pytest.raises(BackendError, match=r"cannot build for sm_90: it can build for .*sm_89"):
        build_plan(source, plan, PlanOptions("tensorrt_rtx", "sm_90"))
    assert not plan.exists()


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="this machine has a GPU")
def test_missing_gpu_is_named(tmp_path: Path, source: Path) -> None:
    with pytest.raises(BackendError, match="NVIDIA driver"):
        build_plan(source, tmp_path / "prn.plan", PlanOptions("tensorrt_rtx"))


def test_graph_that_tensorrt_does_not_know_is_refused(tmp_path: Path, source: Path) -> None:
    model = onnx.load(source)
    model.opset_import.append(helper.make_opsetid("foreign", 1))
    model.graph.node.append(helper.make_node("Nonsense", ["map"], ["more"], domain="foreign"))
    model.graph.output.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, None))
    path = tmp_path / "prn.onnx"
    manifest = read_manifest(source)
    write_engine(
        path,
        model.SerializeToString(),
        "prn",
        (SIZE, SIZE),
        manifest.thresholds,
        manifest.snapshot,
        {},
    )
    with pytest.raises(BackendError, match=r"cannot parse the graph: Nonsense"):
        build_plan(path, tmp_path / "prn.plan", RTX)


def test_flattened_graph_is_refused(source: Path) -> None:
    flat = onnx.inliner.inline_local_functions(onnx.load(source))
    with pytest.raises(ManifestError, match="it was flattened"):
        check_nodes(flat, "prn.onnx", "prn")
    assert check_nodes(flat, "other.onnx", "protoad") == 0


def test_operator_of_another_version_is_refused(source: Path) -> None:
    model = onnx.load(source)
    for each in model.opset_import:
        if each.domain == DOMAIN:
            each.version = 1
    with pytest.raises(ManifestError, match=r"operator set prn 1, this program builds 2"):
        check_nodes(model, "prn.onnx", "prn")


@pytest.mark.parametrize("shape", [(300, 4, 2, 2), (2, 4, 2), (2, 5, 2, 2)])
def test_prototypes_that_do_not_fit_are_refused(source: Path, shape: tuple[int, ...]) -> None:
    model = onnx.load(source)
    (node,) = residual_nodes(model)
    for stored in model.graph.initializer:
        if stored.name == node.input[1]:
            stored.CopyFrom(numpy_helper.from_array(np.ones(shape, np.float32), stored.name))
    with pytest.raises(ManifestError, match=r"prototypes_0|do not fit each other"):
        check_nodes(model, "prn.onnx", "prn")


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory, source: Path, kernels: Path) -> Path:
    path = tmp_path_factory.mktemp("plan") / "prn.plan"
    build_plan(source, path, replace(RTX, kernels=kernels))
    return path


@pytest.mark.skipif(Path("/dev/nvidia0").exists(), reason="this machine has a GPU")
def test_plan_is_refused_with_a_reason_where_no_gpu_is(plan: Path) -> None:
    with pytest.raises(BackendError, match="NVIDIA driver"):
        open_engine(plan)
    with pytest.raises(BackendError, match=r"built for sm_89, but requested is the CPU"):
        open_engine(plan, device="cpu")
    with pytest.raises(BackendError, match=r"built by tensorrt_rtx, which tensorrt cannot read"):
        open_engine(plan, "tensorrt")
    with pytest.raises(BackendError, match=r"openvino cannot run prn\.plan"):
        open_engine(plan, "openvino")


@pytest.mark.parametrize(
    ("capability", "version", "words"),
    [
        ((8, 6), "tensorrt_rtx 1.7.1.116", "built for sm_89, this GPU is a card, sm_86"),
        ((8, 9), "tensorrt_rtx 1.6.0", "built by tensorrt_rtx 1.7.1.116, installed is"),
    ],
)
def test_plan_of_another_gpu_or_version_is_refused(
    plan: Path, capability: tuple[int, int], version: str, words: str
) -> None:
    manifest = read_manifest(plan)
    check_fits(manifest, Gpu("a card", (8, 9), 13000), "tensorrt_rtx 1.7.1.116")
    with pytest.raises(BackendError, match=words):
        check_fits(manifest, Gpu("a card", capability, 13000), version)


def test_plan_is_compared_with_the_file_it_was_built_from(
    tmp_path: Path, source: Path, plan: Path
) -> None:
    manifest = read_manifest(plan)
    assert find_reference(source, read_manifest(source)) == source
    assert find_reference(plan, manifest, source) == source
    with pytest.raises(
        AdmissionError, match=r"among the \.onnx files in .* is not the one .* --reference"
    ):
        find_reference(plan, manifest)
    beside, other = plan.with_name("prn.onnx"), tmp_path / "other.onnx"
    beside.write_bytes(source.read_bytes())
    assert find_reference(plan, manifest) == beside
    other.write_bytes(b"another file")
    with pytest.raises(AdmissionError, match=r"other\.onnx is not the one"):
        find_reference(plan, manifest, other)


def test_plan_without_its_kernels_is_refused(tmp_path: Path, plan: Path) -> None:
    manifest, moved = read_manifest(plan), tmp_path / plan.name
    assert load_kernel(plan, manifest) is not None
    assert load_kernel(plan, manifest.model_copy(update={"kernel_sha256": ""})) is None
    with pytest.raises(ManifestError, match="needs its kernels"):
        load_kernel(moved, manifest)
    kernel_path(moved).write_bytes(b"another library")
    with pytest.raises(ManifestError, match="is not the library"):
        load_kernel(moved, manifest)


def test_workspace_grows_with_batch_and_prototypes() -> None:
    maps = [(262_144, 20), (131_072, 20), (65_536, 20)]
    assert workspace_bytes(maps, 1) == workspace_bytes(maps, 8)
    assert workspace_bytes(maps, 9) == 2 * workspace_bytes(maps, 8) - 256
    assert workspace_bytes([(1, 256)], 1) == 4 * 8 * 256 + 256


def test_command_builds_and_says_what(tmp_path: Path, source: Path, cxx: str) -> None:
    assert cxx
    code = "from engines.cli import build; build()"
    plan = tmp_path / "prn.plan"
    command = [sys.executable, "-c", code, str(source), str(plan), "--backend", "tensorrt_rtx"]
    told = subprocess.run([*command, "--target", "sm_89"], capture_output=True, text=True)  # noqa: PLW1510
    assert told.returncode == 0, told.stderr
    assert f"wrote {plan} for sm_89, tensorrt_rtx" in told.stdout.replace("\n", "")
    wrong = subprocess.run([*command, "--opt-batch", "32"], capture_output=True, text=True)  # noqa: PLW1510
    assert wrong.returncode == 2
    assert "more than --max-batch" in wrong.stderr
    assert json.loads((tmp_path / "prn.plan.json").read_text())["device"] == "sm_89"


def test_engine_files_may_be_read_by_other_users(source: Path) -> None:
    mask = os.umask(0o022)
    os.umask(mask)
    assert stat.S_IMODE(source.stat().st_mode) == 0o666 & ~mask


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
@pytest.mark.parametrize("backend", ["tensorrt", "tensorrt_rtx"])
def test_graph_that_a_plan_is_built_of_keeps_the_contract_of_plans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: PlanBackend, precision: str
) -> None:
    size = (31, 33)
    manifest = write_graph(tmp_path / "small.onnx", small_graph(*size), *size)
    given: list[bytes] = []

    def built(request: BuildRequest, on_phase: object) -> str:
        del on_phase
        given.append(Path(request.graph).read_bytes())
        Path(request.plan).write_bytes(b"a plan")
        return "11.4"

    monkeypatch.setattr(build_tensorrt, "_run", built)
    monkeypatch.setattr(build_tensorrt, "check_installed", lambda _: None)
    options = replace(RTX, backend=backend, precision=precision)
    plan = build_plan(tmp_path / "small.onnx", tmp_path / "small.plan", options)
    session = onnxruntime.InferenceSession(given[0])
    ports = onnxruntime_engine._ports
    check_contract(ports(session.get_inputs()), ports(session.get_outputs()), plan)
    with pytest.raises(ManifestError, match="unknown output 'cells', 'peak'"):
        check_contract(ports(session.get_inputs()), ports(session.get_outputs()), manifest)
    frames = np.random.default_rng(2).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    maps, peak, cells = session.run([MAP, PEAK, CELLS], {FRAMES: frames})
    assert np.array_equal(peak, summarise_maps(maps).peak)
    assert np.allclose(cells, summarise_maps(maps).cells, atol=1e-6)
