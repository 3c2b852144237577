"""What a line needs of a map, in the host's memory and in the graph of a plan."""

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from inputs.onnx_graphs import small_graph
from onnx import TensorProto, helper, numpy_helper

from engines.contract import CELLS, FRAMES, MAP, PEAK, SCORE
from engines.conversion.half_precision import to_half_precision
from engines.conversion.map_summary import add_map_summary
from engines.engine import GRID, Floats, Scores, cell_weights, summarise_maps, summary_of

SIZES = [(8, 8), (30, 42), (31, 33), (3, 5)]


def maps_of(rng: np.random.Generator, size: tuple[int, int], count: int = 3) -> Floats:
    return rng.random((count, *size), np.float32)


def test_cells_are_means_and_share_the_pixels_between_them() -> None:
    maps = np.zeros((2, 30, 42), np.float32)  # cells of 7.5 x 10.5 pixels
    maps[1, :7, -10:] = 1
    cells = summarise_maps(maps).cells
    assert cells.shape == (2, GRID, GRID)
    assert cells[1, 0, 3] == pytest.approx(70 / (7.5 * 10.5), rel=1e-5)
    assert cells.sum() == pytest.approx(cells[1, 0, 3])


@pytest.mark.parametrize("size", SIZES[:3])
def test_cells_are_those_of_a_picture_made_smaller_by_area(
    rng: np.random.Generator, size: tuple[int, int]
) -> None:
    maps = maps_of(rng, size)
    small = [cv2.resize(each, (GRID, GRID), interpolation=cv2.INTER_AREA) for each in maps]
    np.testing.assert_allclose(summarise_maps(maps).cells, small, atol=1e-6)


@pytest.mark.parametrize("size", range(1, 20))
def test_every_pixel_weighs_the_same_and_every_cell_one(size: int) -> None:
    weights = cell_weights(size)
    np.testing.assert_allclose(weights.sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(weights.sum(axis=0), GRID / size, rtol=1e-6)


def test_frame_is_summed_up_alike_alone_and_in_a_batch(rng: np.random.Generator) -> None:
    maps = maps_of(rng, (256, 256), 5)
    together = summarise_maps(maps)
    for place in range(len(maps)):
        alone = summarise_maps(maps[place : place + 1])
        assert alone.peak[0] == together.peak[place] == maps[place].max()
        np.testing.assert_array_equal(alone.cells[0], together.cells[place])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_shows_in_the_cells(rng: np.random.Generator, value: float) -> None:
    maps = maps_of(rng, (30, 42))
    maps[1, 17, 23] = value
    finite = np.isfinite(summarise_maps(maps).cells).all(axis=(1, 2))
    assert finite.tolist() == [True, False, True]


def test_engines_own_summary_goes_before_its_maps(rng: np.random.Generator) -> None:
    maps = maps_of(rng, (8, 8))
    own = Scores(np.zeros(3, np.float32), maps, summary=summarise_maps(maps / 2))
    assert summary_of(own) is own.summary


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("half", [False, True])
def test_graph_of_a_plan_sums_up_as_the_host_does(
    rng: np.random.Generator, size: tuple[int, int], *, half: bool
) -> None:
    graph = small_graph(*size)
    model = add_map_summary(to_half_precision(graph) if half else graph, size)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    frames = rng.integers(0, 256, (3, *size, 3), dtype=np.uint8)
    peak, cells, maps = session.run([PEAK, CELLS, MAP], {FRAMES: frames})
    expected = summarise_maps(maps)
    np.testing.assert_array_equal(peak, expected.peak)
    np.testing.assert_allclose(cells, expected.cells, atol=1e-6)


@pytest.mark.parametrize("opset", [13, 17, 18, 21])
def test_graph_of_any_operator_set_sums_up(rng: np.random.Generator, opset: int) -> None:
    shape = ["N", 8, 12]
    nodes = [
        helper.make_node("Cast", [FRAMES], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Gather", ["float", "green"], [MAP], axis=3),
    ]
    graph = helper.make_graph(
        nodes,
        "green",
        [helper.make_tensor_value_info(FRAMES, TensorProto.UINT8, [*shape, 3])],
        [helper.make_tensor_value_info(MAP, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.int64(1), "green")],
    )
    imports = [helper.make_opsetid("", opset)]
    model = add_map_summary(helper.make_model(graph, opset_imports=imports, ir_version=8), (8, 12))
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    frames = rng.integers(0, 256, (2, 8, 12, 3), dtype=np.uint8)
    expected = summarise_maps(frames[..., 1].astype(np.float32))
    peak, cells = session.run([PEAK, CELLS], {FRAMES: frames})
    np.testing.assert_array_equal(peak, expected.peak)
    np.testing.assert_allclose(cells, expected.cells, rtol=1e-6)


def test_values_of_a_graph_may_have_the_names_of_what_is_added(rng: np.random.Generator) -> None:
    size, taken = (8, 12), {"active": PEAK, "kernel": CELLS}
    graph, plain = small_graph(*size), small_graph(*size)
    for node in graph.graph.node:
        node.input[:] = [taken.get(name, name) for name in node.input]
        node.output[:] = [taken.get(name, name) for name in node.output]
    for constant in graph.graph.initializer:
        constant.name = taken.get(constant.name, constant.name)
    frames = rng.integers(0, 256, (2, *size, 3), dtype=np.uint8)
    names = [SCORE, MAP, PEAK, CELLS]
    said, expected = (
        onnxruntime.InferenceSession(add_map_summary(each, size).SerializeToString()).run(
            names, {FRAMES: frames}
        )
        for each in (graph, plain)
    )
    for ours, theirs in zip(said, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)
