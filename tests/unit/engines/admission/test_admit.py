"""The admission gate and the commands of engines."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from inputs.onnx_graphs import neighbour_graph, small_graph, write_graph
from onnx import numpy_helper

from engines.admission import admit as gate
from engines.admission.admit import TOLERANCES, admit, flipped
from engines.backends.fixed import FixedPlan, write_fixed_engine
from engines.commandline.run import run_command
from engines.commands.admit import AdmitSettings, run_admit
from engines.commands.bench import EngineBenchSettings, run_bench
from engines.engine import ALL_MAPS, Scores, summarise_maps
from engines.errors import AdmissionError, EngineError, PictureError
from engines.manifest import Thresholds, read_manifest
from engines.open import Runtime, open_engine
from engines.trial_frames import draw_frames, read_frames

SIZE = (31, 33)


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    path = tmp_path / "small.onnx"
    write_graph(path, small_graph(*SIZE), *SIZE)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    (folder / "scratch").mkdir(parents=True)
    rng = np.random.default_rng(3)
    for place in range(5):
        pixels = rng.integers(0, 256, (40 + place, 50, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / "scratch" / f"{place}.png"), pixels)
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_an_engine_that_agrees_is_admitted_and_its_manifest_says_so(
    onnx_file: Path, pictures: Path
) -> None:
    admission = admit(onnx_file, pictures, Runtime(threads=2), repeats=2)
    assert admission.admitted
    assert admission.reasons == []
    assert admission.images == 5
    assert admission.source == (
        f"pictures of {pictures.parent.name}/pictures "
        "(5 pictures taken, 1 file left out: 1 not a picture (.txt), in .)"
    )
    assert admission.backend.startswith("openvino")
    assert admission.score_error <= 1e-5
    assert [point.batch for point in admission.cost] == [1, 2, 4, 8]
    assert read_manifest(onnx_file).admission == admission


def test_drawn_frames_are_named_as_such(onnx_file: Path) -> None:
    assert "SYNTHETIC" in admit(onnx_file, None, repeats=1).source


def test_an_engine_whose_answers_depend_on_their_neighbours_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mixed.onnx"
    write_graph(path, neighbour_graph(*SIZE), *SIZE)
    admission = admit(path, None, Runtime("onnxruntime"), repeats=1)
    assert not admission.admitted
    assert not admission.batch_invariant
    assert any("neighbours" in reason for reason in admission.reasons)
    assert admit(
        path, None, Runtime("openvino"), repeats=1
    ).admitted  # it computes every frame alone


def test_an_engine_that_gives_no_numbers_is_refused_and_keeps_no_earlier_report(
    tmp_path: Path,
) -> None:
    path = tmp_path / "small.onnx"
    graph = small_graph(*SIZE)
    admitted = write_graph(path, graph, *SIZE)
    report = admit(path, None, repeats=1)
    for constant in graph.graph.initializer:
        if constant.name == "kernel":
            constant.raw_data = np.full(8 * 27, np.nan, np.float32).tobytes()
    write_graph(path, graph, *SIZE, admission=report)
    assert read_manifest(path).sha256 != admitted.sha256
    with pytest.raises(AdmissionError, match="not a number"):
        admit(path, None, repeats=1)
    assert read_manifest(path).admission is None


def test_a_map_outside_its_range_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "wide.onnx"
    graph = small_graph(*SIZE)
    for node in graph.graph.node:
        if node.op_type == "Sigmoid":
            node.op_type = "Identity"
    write_graph(path, graph, *SIZE)
    admission = admit(path, None, repeats=1)
    assert any("outside 0..1" in reason for reason in admission.reasons)


def test_a_fixed_engine_has_nothing_to_be_compared_with(tmp_path: Path) -> None:
    path = tmp_path / "line.fixed"
    write_fixed_engine(path, FixedPlan(height=4, width=4))
    with pytest.raises(AdmissionError, match="no reference"):
        admit(path, None)


def test_a_decision_flips_only_where_the_reference_is_clear_of_the_threshold() -> None:
    expected = np.array([0.1, 0.49, 0.51, 0.9], np.float32)
    score = np.array([0.9, 0.51, 0.49, 0.1], np.float32)
    assert flipped(score, expected, threshold=0.5, tolerance=0.02) == 2
    assert flipped(expected, expected, threshold=0.5, tolerance=0.02) == 0


def test_an_engine_that_flips_many_decisions_near_the_threshold_is_refused(tmp_path: Path) -> None:
    source, path = tmp_path / "full.onnx", tmp_path / "eight.onnx"
    written = write_graph(source, small_graph(*SIZE), *SIZE)
    with open_engine(source) as opened:
        scores = opened.engine.score(draw_frames(SIZE)[:8]).score.copy()
    graph = small_graph(*SIZE)
    for constant in graph.graph.initializer:
        if constant.name == "kernel":
            kernel = numpy_helper.to_array(constant) * np.float32(1.1)
            constant.CopyFrom(numpy_helper.from_array(kernel, "kernel"))
    near = Thresholds(image=float(np.median(scores)), pixel=0.5, method="by hand", normals=0)
    write_graph(path, graph, *SIZE, precision="int8", built_from=written.sha256, thresholds=near)
    admission = admit(path, None, repeats=1, reference=source, least_gain=0)
    assert (admission.rank_flips, admission.unlike_tolerance) == (0, 1)
    assert admission.reasons == [
        f"{admission.unlike} of 16 frames are decided unlike the reference, at most 1 may be"
    ]


class SummingEngine:
    """Sums its maps up as a plan does, copies those that are asked for, and may be wrong in it."""

    max_batch, input_size = 3, (8, 8)

    def __init__(self, wrong: str = "", by: float = 0.0, least: int = 2) -> None:
        self.wrong, self.by, self.least = wrong, by, least  # from so many frames on
        self.maps = np.zeros((self.max_batch, *self.input_size), np.float32)

    def score(self, frames: np.ndarray, maps_above: float = ALL_MAPS) -> Scores:
        maps = frames[..., 1].astype(np.float32) / 255
        score, summary = maps.mean(axis=(1, 2)), summarise_maps(maps)
        if len(frames) >= self.least:
            parts = {"score": score, "peak": summary.peak, "cells": summary.cells}
            parts.get(self.wrong, np.zeros(1)).flat[-1] += self.by
        for row in np.flatnonzero(summary.peak > maps_above):
            source = (row + 1) % len(frames) if self._is("neighbour", maps_above) else row
            if not self._is("stale", maps_above):
                self.maps[row] = maps[source]
        if self._is("asked", maps_above):
            for part in (score, summary.peak, summary.cells):
                part.flat[-1] = self.by
        if self.wrong == "map" and len(frames) >= self.least:
            self.maps[0, 0, 0] += self.by
        return Scores(score, self.maps[: len(frames)], summary=summary)

    def _is(self, wrong: str, maps_above: float) -> bool:
        return self.wrong == wrong and maps_above > ALL_MAPS

    def close(self) -> None: ...


def drift(engine: SummingEngine, frames: np.ndarray) -> tuple[float, float]:
    return gate._slot_drift(engine, frames, gate._answer(engine, frames))


def test_engine_that_sums_its_maps_up_rightly_drifts_nowhere() -> None:
    assert drift(SummingEngine(), draw_frames((8, 8))) == (0, 0)


@pytest.mark.parametrize("least", [1, 2])
@pytest.mark.parametrize(
    ("wrong", "by", "why"),
    [
        ("peak", 2e-6, "1 highest values"),
        ("peak", -2e-6, "1 highest values"),
        ("peak", np.nan, "1 highest values|returns NaN"),
        ("cells", 2e-3, "1 means of cells"),
        ("cells", -2e-3, "1 means of cells"),
        ("cells", np.nan, "1 means of cells|returns NaN"),
        ("score", np.nan, "not a number|returns NaN"),
        ("map", np.nan, "not a number|returns NaN"),
    ],
)
def test_engine_that_is_wrong_of_its_maps_or_gives_no_number_is_refused(
    wrong: str, by: float, why: str, least: int
) -> None:
    with pytest.raises(AdmissionError, match=why):
        drift(SummingEngine(wrong, by, least), draw_frames((8, 8)))


@pytest.mark.parametrize("wrong", ["neighbour", "stale"])
def test_engine_that_gives_another_frames_map_where_some_are_asked_for_drifts(wrong: str) -> None:
    score, maps = drift(SummingEngine(wrong), draw_frames((8, 8)))
    assert score == 0
    assert maps > 0.01


def test_maps_that_reach_as_high_as_each_other_are_told_apart() -> None:
    frames = np.zeros((4, 8, 8, 3), np.uint8)
    for place in range(4):
        frames[place, place, place] = 200
    assert drift(SummingEngine("neighbour"), frames)[1] == pytest.approx(200 / 255)


def test_engine_that_says_another_thing_where_some_maps_are_asked_for_drifts() -> None:
    score, maps = drift(SummingEngine("asked", by=2.0), draw_frames((8, 8)))
    assert min(score, maps) > 0.9
    with pytest.raises(AdmissionError, match="with only some maps requested"):
        drift(SummingEngine("asked", by=np.nan), draw_frames((8, 8)))


def test_pictures_are_spread_over_the_names_and_resized(pictures: Path) -> None:
    frames, _ = read_frames(pictures, SIZE, most=3)
    assert frames.shape == (3, *SIZE, 3)
    every, _ = read_frames(pictures, SIZE, most=99)
    np.testing.assert_array_equal(frames, every[[0, 2, 4]])


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match="no picture"):
        read_frames(tmp_path, SIZE, most=3)


def test_a_broken_picture_is_left_out_and_named(onnx_file: Path, pictures: Path) -> None:
    (pictures / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    admission = admit(onnx_file, pictures, repeats=1)
    assert (admission.admitted, admission.images) == (True, 5)
    assert "without 1 that cannot be read, the first: " in admission.source
    assert "bad.png" in admission.source


def test_a_folder_of_broken_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(PictureError, match=r"none of 1 pictures .* can be read"):
        read_frames(tmp_path, SIZE, most=3)


@pytest.mark.parametrize("size", [(1, 1), (31, 33), (64, 64)])
def test_drawn_frames_are_the_same_each_time_and_unlike_each_other(size: tuple[int, int]) -> None:
    frames = draw_frames(size)
    np.testing.assert_array_equal(frames, draw_frames(size))
    if size != (1, 1):
        assert len({frame.tobytes() for frame in frames}) == len(frames)


def test_every_precision_has_a_tolerance_and_a_reason() -> None:
    assert set(TOLERANCES) == {"fp32", "fp16", "bf16", "int8"}
    assert all(at.reason and at.same < at.score for at in TOLERANCES.values())


def exit_status(settings: type, main: object, *arguments: str) -> object:
    with pytest.raises(SystemExit) as ended:
        run_command("engine-x", settings, main, (EngineError,), list(arguments))
    return ended.value.code


def test_engine_admit_prints_its_report_and_exits_with_0(
    onnx_file: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--engine", str(onnx_file), "--images", str(pictures), "--repeats", "1")
    assert exit_status(AdmitSettings, run_admit, *given) == 0
    assert "admitted" in capsys.readouterr().out
    assert exit_status(AdmitSettings, run_admit, *given, "--json") == 0
    assert json.loads(capsys.readouterr().out)["admitted"] is True


def test_engine_admit_exits_with_1_and_the_reasons_where_it_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "mixed.onnx"
    write_graph(path, neighbour_graph(*SIZE), *SIZE)
    given = ("--engine", str(path), "--backend", "onnxruntime", "--repeats", "1")
    assert exit_status(AdmitSettings, run_admit, *given) == 1
    printed = capsys.readouterr().out
    assert "NOT ADMITTED" in printed
    assert "refused: a frame's answer depends on its place" in printed
    assert "SYNTHETIC" in printed


def test_engine_bench_prints_a_row_for_each_batch_size(
    onnx_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--engine", str(onnx_file), "--repeats", "2", "--batches", "1", "--batches", "3")
    assert exit_status(EngineBenchSettings, run_bench, *given, "--json") == 0
    points = json.loads(capsys.readouterr().out)["points"]
    assert [point["batch"] for point in points] == [1, 3]
    assert all(point["calls"] == 2 for point in points)
    assert exit_status(EngineBenchSettings, run_bench, *given) == 0
    assert "frames/s" in capsys.readouterr().out


def test_a_batch_larger_than_the_engine_takes_is_refused(onnx_file: Path) -> None:
    status = exit_status(
        EngineBenchSettings, run_bench, "--engine", str(onnx_file), "--batches", "9"
    )
    assert status == "engine-x: --batches up to 9, but this engine takes at most 8"


def test_a_folder_that_is_none_is_refused(onnx_file: Path) -> None:
    status = exit_status(
        AdmitSettings, run_admit, "--engine", str(onnx_file), "--images", "nowhere"
    )
    assert status == "engine-x: --images nowhere is not a folder"


def test_masks_and_foreign_files_are_no_frames(tmp_path: Path) -> None:
    pixels = np.full((*SIZE, 3), 90, np.uint8)
    for name in (
        "test/scratch/000.png",
        "test/scratch/000_mask.png",
        "ground_truth/scratch/001.png",
        "test/.ipynb_checkpoints/002.png",
        "test/@eaDir/003.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(tmp_path / name), pixels)
    frames, unreadable = read_frames(tmp_path, SIZE, most=9)
    assert (len(frames), unreadable) == (1, [])
