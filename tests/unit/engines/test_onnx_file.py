"""Weights outside an ONNX file are found wherever they hide, and functions stay small."""

import onnx
import pytest
from inputs.onnx_graphs import small_graph
from onnx import TensorProto, helper

from engines.errors import BackendError, ManifestError
from engines.onnx_file import MAX_CALL_DEPTH, check_graph

DOMAIN = "d"


def outside(location: str = "secret.txt") -> onnx.TensorProto:
    tensor = TensorProto(data_type=TensorProto.FLOAT, dims=[1], name="t")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def in_initializer() -> onnx.ModelProto:
    model = small_graph(8, 8)
    model.graph.initializer.append(outside())
    return model


def in_sparse_initializer() -> onnx.ModelProto:
    model = small_graph(8, 8)
    model.graph.sparse_initializer.add().values.CopyFrom(outside())
    return model


def in_attribute() -> onnx.ModelProto:
    model = small_graph(8, 8)
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=outside()))
    return model


def in_sparse_attribute() -> onnx.ModelProto:
    model = small_graph(8, 8)
    node = model.graph.node.add(op_type="Constant", output=["c"])
    attribute = node.attribute.add(name="sparse_value", type=onnx.AttributeProto.SPARSE_TENSOR)
    attribute.sparse_tensor.indices.CopyFrom(outside())
    return model


def in_subgraph() -> onnx.ModelProto:
    model = small_graph(8, 8)
    body = helper.make_graph([], "body", [], [], [outside()])
    outer = helper.make_graph(
        [helper.make_node("If", ["x"], ["y"], then_branch=body)], "outer", [], []
    )
    model.graph.node.append(helper.make_node("If", ["x"], ["z"], else_branch=outer))
    return model


def in_function() -> onnx.ModelProto:
    model = small_graph(8, 8)
    node = helper.make_node("Constant", [], ["c"], value=outside())
    model.functions.append(helper.make_function(DOMAIN, "f", [], ["c"], [node], []))
    return model


def in_default_of_a_function() -> onnx.ModelProto:
    model = in_function()
    del model.functions[0].node[:]
    model.functions[0].attribute_proto.append(helper.make_attribute("a", outside()))
    return model


def in_training() -> onnx.ModelProto:
    model = small_graph(8, 8)
    model.training_info.add().algorithm.initializer.append(outside())
    return model


PLACES = [
    in_initializer,
    in_sparse_initializer,
    in_attribute,
    in_sparse_attribute,
    in_subgraph,
    in_function,
    in_default_of_a_function,
    in_training,
]


@pytest.mark.parametrize("place", PLACES)
def test_weights_in_another_file_are_found(place: object) -> None:
    assert callable(place)
    with pytest.raises(ManifestError, match="another file"):
        check_graph(place().SerializeToString(), "g")


def test_weights_in_another_file_are_found_however_their_lengths_are_written() -> None:
    plain = in_initializer().SerializeToString()
    entry = b"\x0a\x08location"
    longer = b"\x0a\x88\x00location"  # 8 as a varint of two bytes
    assert plain.count(entry) == 1
    at = plain.index(entry)
    # the lengths of the three messages around it grow by one
    model = onnx.load_model_from_string(plain)
    tensor = model.graph.initializer[-1].SerializeToString()
    pair = model.graph.initializer[-1].external_data[0].SerializeToString()
    grown_pair = pair.replace(entry, longer)
    grown = tensor.replace(
        b"\x6a" + bytes([len(pair)]) + pair, b"\x6a" + bytes([len(grown_pair)]) + grown_pair
    )
    del model.graph.initializer[:]
    graph = model.graph.SerializeToString() + b"\x2a" + bytes([len(grown)]) + grown
    model.ClearField("graph")
    size = len(graph)
    assert 128 <= size < 128**2
    packed = model.SerializeToString() + b"\x3a" + bytes([size & 127 | 128, size >> 7]) + graph
    assert at
    assert entry not in packed
    with pytest.raises(ManifestError, match="another file"):
        check_graph(packed, "g")


@pytest.mark.parametrize("key", ["location", "offset", ""])
def test_any_reference_to_another_file_is_enough(key: str) -> None:
    model = small_graph(8, 8)
    model.graph.initializer[0].external_data.add(key=key, value="x")
    with pytest.raises(ManifestError, match="another file"):
        check_graph(model.SerializeToString(), "g")


def calling(name: str, callee: str, times: int) -> onnx.FunctionProto:
    nodes = [helper.make_node(callee, ["x"], [f"y{at}"], domain=DOMAIN) for at in range(times)]
    imports = [helper.make_opsetid(DOMAIN, 1), helper.make_opsetid("", 17)]
    return helper.make_function(DOMAIN, name, ["x"], ["y0"], nodes, imports)


def with_functions(*functions: onnx.FunctionProto) -> bytes:
    model = small_graph(8, 8)
    model.functions.extend(functions)
    model.graph.node.append(helper.make_node("f0", ["frames"], ["out"], domain=DOMAIN))
    return bytes(model.SerializeToString())


def test_functions_that_double_at_every_level_are_refused_without_inlining_them() -> None:
    chain = [calling(f"f{at}", f"f{at + 1}", 2) for at in range(MAX_CALL_DEPTH - 1)]
    with pytest.raises(ManifestError, match="inlined"):
        check_graph(with_functions(*chain), "g")


def test_functions_in_a_circle_or_too_deep_are_refused() -> None:
    with pytest.raises(ManifestError, match="circle"):
        check_graph(with_functions(calling("f0", "f1", 1), calling("f1", "f0", 1)), "g")
    chain = [calling(f"f{at}", f"f{at + 1}", 1) for at in range(MAX_CALL_DEPTH + 2)]
    with pytest.raises(ManifestError, match="deep"):
        check_graph(with_functions(*chain), "g")


def test_functions_of_usual_size_pass() -> None:
    check_graph(with_functions(calling("f0", "f1", 4), calling("f1", "f2", 4)), "g")


@pytest.mark.parametrize("content", [b"\xff\xff", b"\x3a" + b"\xff" * 9])
def test_bytes_that_are_no_model_are_refused(content: bytes) -> None:
    with pytest.raises(BackendError, match="not an ONNX file"):
        check_graph(content, "g")


def test_graphs_in_graphs_without_end_are_refused() -> None:
    packed = b""
    for _ in range(20_000):
        for tag in (b"\x32", b"\x2a", b"\x0a"):  # graph of attribute of node of graph
            size, length = len(packed), b""
            while size > 127:
                length, size = length + bytes([size & 127 | 128]), size >> 7
            packed = tag + length + bytes([size]) + packed
        if len(packed) > 100_000:
            break
    size, length = len(packed), b""
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    with pytest.raises(BackendError):
        check_graph(b"\x3a" + length + bytes([size]) + packed, "g")
