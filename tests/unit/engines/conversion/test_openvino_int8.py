"""8-bit engines for the CPU: what is quantised, what the file holds, and what is refused."""

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from inputs.onnx_graphs import small_graph, write_graph
from onnx import TensorProto, helper, numpy_helper

from engines.admission.admit import admit, gain_suffices
from engines.backends.openvino_file import SUFFIX, pack_network, unpack_network
from engines.commands.build import BuildSettings
from engines.conversion.int8 import encoder_convolutions
from engines.conversion.openvino_int8 import quantise
from engines.errors import BackendError, ManifestError, PictureError
from engines.files import file_sha256
from engines.manifest import manifest_path, read_manifest
from engines.open import open_engine
from engines.residual.operator import DOMAIN, INPUTS, OPERATOR, OUTPUTS
from engines.trial_frames import draw_frames

SIZE = (32, 48)


def deep_graph() -> onnx.ModelProto:
    """Return the small graph with a second convolution after its first."""
    graph = small_graph(*SIZE)
    kernel = np.random.default_rng(3).normal(size=(8, 8, 3, 3)).astype(np.float32) / 8
    graph.graph.initializer.append(numpy_helper.from_array(kernel, "deep_kernel"))
    nodes = list(graph.graph.node)
    (place,) = [at for at, node in enumerate(nodes) if node.op_type == "Relu"]
    deep = helper.make_node("Conv", ["active", "deep_kernel"], ["deep"], pads=[1, 1, 1, 1])
    for node in nodes[place + 1 :]:
        node.input[:] = ["deep" if name == "active" else name for name in node.input]
    nodes.insert(place + 1, deep)
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    return graph


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "deep.onnx"
    write_graph(path, deep_graph(), *SIZE)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "good"
    folder.mkdir()
    for number, frame in enumerate(draw_frames(SIZE)):
        cv2.imwrite(str(folder / f"{number}.png"), frame)
    return folder


def test_eight_bits_answer_nearly_as_the_source_and_pass_the_gate(
    source: Path, pictures: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out" / f"deep{SUFFIX}"
    phases: list[str] = []
    built = quantise(source, target, pictures, 16, phases.append)
    assert built == read_manifest(target)
    assert (built.format, built.precision, built.device) == ("openvino", "int8", "cpu")
    assert built.built_from == file_sha256(source)
    assert phases
    xml, _ = unpack_network(target)
    assert b"FakeQuantize" in xml
    assert b'element_type="i8"' in xml
    admission = admit(target, pictures, repeats=1, reference=source, least_gain=0)
    assert admission.admitted, admission.reasons
    assert (admission.gain or 0) > 0
    assert admission.score_error > 0  # it is another engine
    frames = draw_frames(SIZE)[:3]
    with open_engine(target) as eight, open_engine(source) as full:
        maps = eight.engine.score(frames).maps.copy()
        assert np.abs(maps - full.engine.score(frames).maps).max() < 0.05


def test_only_what_the_prototypes_are_compared_with_is_quantised() -> None:
    kernels = {"colours": (4, 3), "deep": (4, 4), "decoder": (1, 4), "prototype": (5, 4)}
    residual = [name.replace("features_", "deep_out_") for name in INPUTS]
    residual = ["deep_out" if "deep" in name else "prototype" for name in residual]
    nodes = [
        helper.make_node("Conv", ["planes", "colours"], ["first_out"], name="first"),
        helper.make_node("Conv", ["first_out", "deep"], ["deep_out"], name="second"),
        helper.make_node(OPERATOR, residual, list(OUTPUTS), domain=DOMAIN),
        helper.make_node("Conv", [OUTPUTS[0], "decoder"], ["map"], name="third"),
    ]
    stored = [
        numpy_helper.from_array(np.zeros((*shape, 1, 1), np.float32), name)
        for name, shape in kernels.items()
    ]
    planes = helper.make_tensor_value_info("planes", TensorProto.FLOAT, [1, 3, 8, 8])
    graph = helper.make_graph(nodes, "graph", [planes], [], stored)
    assert encoder_convolutions(helper.make_model(graph)) == ["second"]


def test_prototypes_that_are_kernels_of_convolutions_stay_in_float() -> None:
    weights = {"encoder.stem": 3, "encoder.deep": 4, "chunks.0.fine": 4, "kernel": 4}
    nodes, before = [], "planes"
    for name in weights:
        nodes.append(helper.make_node("Conv", [before, name], [f"{name}_out"], name=name))
        before = f"{name}_out"
    stored = [
        numpy_helper.from_array(np.zeros((4, channels, 1, 1), np.float32), name)
        for name, channels in weights.items()
    ]
    planes = helper.make_tensor_value_info("planes", TensorProto.FLOAT, [1, 3, 8, 8])
    graph = helper.make_graph(nodes, "graph", [planes], [], stored)
    assert encoder_convolutions(helper.make_model(graph)) == ["encoder.deep"]


def test_same_network_gives_the_same_file() -> None:
    assert pack_network(b"<net/>", b"\x01") == pack_network(b"<net/>", b"\x01")


def test_packed_network_comes_out_as_it_went_in(tmp_path: Path) -> None:
    path = tmp_path / f"a{SUFFIX}"
    path.write_bytes(pack_network(b"<net/>", b"\x00" * 1000))
    assert unpack_network(path) == (b"<net/>", b"\x00" * 1000)


@pytest.mark.parametrize("damage", ["empty", "cut", "names", "compressed", "encrypted"])
def test_foreign_file_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / f"a{SUFFIX}"
    content = pack_network(b"<net/>", b"\x00" * 1000)
    path.write_bytes({"empty": b"", "cut": content[:-40]}.get(damage, content))
    if damage == "names":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("../../evil", b"")
    if damage == "compressed":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("network.xml", b"<net/>")
            archive.writestr("network.bin", b"\x00" * 1000)
    if damage == "encrypted":
        flags = content.index(b"PK\x01\x02") + 8
        path.write_bytes(content[:flags] + bytes([content[flags] | 1]) + content[flags + 1 :])
    with pytest.raises(ManifestError, match=r"a\.openvino"):
        unpack_network(path)


def test_file_of_another_runtime_says_what_can_run_it(source: Path, tmp_path: Path) -> None:
    path = tmp_path / f"a{SUFFIX}"
    path.write_bytes(pack_network(b"<net/>", b""))
    fields = json.loads(manifest_path(source).read_text("utf-8"))
    fields |= {"sha256": file_sha256(path), "format": "openvino", "device": "cpu"}
    manifest_path(path).write_text(json.dumps(fields), "utf-8")
    with pytest.raises(BackendError, match="--backend openvino"):
        open_engine(path, "onnxruntime")
    with pytest.raises(BackendError, match="cannot read"):
        open_engine(path)


def test_what_cannot_be_quantised_is_refused(source: Path, pictures: Path, tmp_path: Path) -> None:
    target = tmp_path / f"a{SUFFIX}"
    with pytest.raises(BackendError, match=SUFFIX):
        quantise(source, tmp_path / "a.onnx", pictures)
    with pytest.raises(PictureError, match="is not a folder"):
        quantise(source, target, tmp_path / "nothing")
    write_graph(source, small_graph(*SIZE), *SIZE)
    with pytest.raises(ManifestError, match="no convolution"):
        quantise(source, target, pictures)
    write_graph(source, deep_graph(), *SIZE, precision="int8")
    with pytest.raises(ManifestError, match="int8"):
        quantise(source, target, pictures)
    assert not target.exists()


@pytest.mark.parametrize(
    "flags",
    [
        {"precision": "int8"},
        {"backend": "openvino"},
        {"precision": "int8", "backend": "openvino"},
        {"calibration": "good"},
    ],
)
def test_flags_that_say_half_of_it_are_refused(flags: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="go together"):
        BuildSettings(source="a.onnx", plan="b.openvino", **flags)


def test_eight_bits_that_are_not_worth_their_risk_are_refused(
    source: Path, pictures: Path, tmp_path: Path
) -> None:
    target = tmp_path / f"deep{SUFFIX}"
    quantise(source, target, pictures, 16)
    admission = admit(target, pictures, repeats=1, reference=source, least_gain=1e6)
    assert not admission.admitted
    (reason,) = admission.reasons
    assert "times as fast as the float32 engine, processor time, for the risk of fewer" in reason
    assert "must be 1e+06 times as fast" in reason
    assert read_manifest(target).admission == admission


@pytest.mark.parametrize(
    ("gain", "least", "enough"),
    [(None, None, True), (2.49, 2.5, False), (2.5, 2.5, True), (None, 2.5, False)],
)
def test_what_is_asked_of_eight_bits(gain: float | None, least: float | None, enough: bool) -> None:  # noqa: FBT001
    assert gain_suffices(gain, least) is enough


def test_nothing_is_asked_of_the_rate_in_float(source: Path, pictures: Path) -> None:
    admission = admit(source, pictures, repeats=1, least_gain=1e6)
    assert admission.admitted
    assert (admission.gain, admission.least_gain) == (None, None)
