"""Opening engine files, and what every engine does with frames."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from fakes.tiny_engine import write_tiny_engine
from inputs.onnx_graphs import SCALES, neighbour_graph, small_graph, write_graph

from engines.backends.fixed import FixedPlan, fixed_scores, write_fixed_engine
from engines.engine import Pixels, Scores
from engines.errors import BackendError, ManifestError, ScoringError, ShapeError
from engines.files import file_sha256
from engines.manifest import manifest_path, write_manifest
from engines.open import Backend, open_engine

SIZE = (31, 33)
# float32 sums of 27 products in another order: a few units in the last place of values around 1
SCORE_TOLERANCE = 1e-5
RUNNERS: list[Backend] = ["openvino", "onnxruntime"]


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    path = tmp_path / "small.onnx"
    write_graph(path, small_graph(*SIZE), *SIZE)
    return path


@pytest.fixture
def fixed_file(tmp_path: Path) -> Path:
    path = tmp_path / "line.fixed"
    write_fixed_engine(path, FixedPlan(height=31, width=33))
    return path


def pictures(count: int, size: tuple[int, int] = SIZE, seed: int = 1) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3), dtype=np.uint8)


def copied(scores: Scores) -> Scores:
    arrays = (scores.score, scores.maps, scores.nearest, scores.distance)
    return Scores(*(None if array is None else array.copy() for array in arrays))


def scored(path: Path, frames: Pixels, **how: str | int) -> Scores:
    with open_engine(path, **how) as opened:
        return copied(opened.engine.score(frames))


@pytest.mark.parametrize("size", [(31, 33), (64, 48), (1, 1), (7, 130)])
@pytest.mark.parametrize("count", [1, 3, 8])
def test_openvino_and_onnxruntime_agree_on_the_same_frames(
    tmp_path: Path, size: tuple[int, int], count: int
) -> None:
    path = tmp_path / "small.onnx"
    write_graph(path, small_graph(*size), *size)
    frames = pictures(count, size)
    ours = scored(path, frames, backend="openvino", threads=2)
    theirs = scored(path, frames, backend="onnxruntime", threads=2)
    np.testing.assert_allclose(ours.score, theirs.score, atol=SCORE_TOLERANCE)
    np.testing.assert_allclose(ours.maps, theirs.maps, atol=SCORE_TOLERANCE)
    np.testing.assert_array_equal(ours.nearest, theirs.nearest)
    np.testing.assert_allclose(ours.distance, theirs.distance, rtol=1e-4)
    assert ours.maps.shape == (count, *size)
    assert ours.nearest.shape == (count, SCALES)


@pytest.mark.parametrize("backend", RUNNERS)
def test_a_frame_scores_the_same_in_every_slot_and_batch_size(
    onnx_file: Path, backend: Backend
) -> None:
    frames = pictures(8)
    with open_engine(onnx_file, backend, threads=2) as opened:
        alone = [float(opened.engine.score(frames[at : at + 1]).score[0]) for at in range(8)]
        for count in (2, 3, 8):
            for shift in range(count):
                order = (np.arange(count) + shift) % 8
                together = opened.engine.score(frames[order]).score
                np.testing.assert_allclose(together, np.take(alone, order), atol=SCORE_TOLERANCE)


def test_lanes_that_score_at_the_same_time_do_not_mix_their_frames(onnx_file: Path) -> None:
    frames = pictures(8)
    with open_engine(onnx_file, "openvino", threads=2) as opened:
        lanes = (opened.engine, *opened.more_lanes)
        assert len(lanes) == 2
        alone = [copied(opened.engine.score(frames[at : at + 4])) for at in (0, 4)]

        def score(lane: int) -> Scores:
            return lanes[lane].score(frames[4 * lane : 4 * lane + 4])

        with ThreadPoolExecutor(2) as threads:
            for _ in range(20):
                at_once = threads.map(score, (0, 1))
                for got, wanted in zip(at_once, alone, strict=True):
                    np.testing.assert_array_equal(got.maps, wanted.maps)


@pytest.mark.parametrize("backend", RUNNERS)
def test_results_of_a_call_do_not_leak_into_the_next(onnx_file: Path, backend: Backend) -> None:
    first, second = pictures(5, seed=1), pictures(2, seed=2)
    with open_engine(onnx_file, backend) as opened:
        opened.engine.score(first)
        after = copied(opened.engine.score(second))
        opened.engine.score(first)
        again = copied(opened.engine.score(second))
    np.testing.assert_array_equal(after.score, again.score)
    np.testing.assert_array_equal(after.maps, again.maps)
    assert len(after.score) == 2


@pytest.mark.parametrize("backend", RUNNERS)
def test_frames_that_are_a_view_with_gaps_score_as_their_copy(
    onnx_file: Path, backend: Backend
) -> None:
    wide = pictures(6)[::2, :, ::-1]
    view = scored(onnx_file, wide, backend=backend)
    copy = scored(onnx_file, np.ascontiguousarray(wide), backend=backend)
    np.testing.assert_array_equal(view.maps, copy.maps)


@pytest.mark.parametrize("backend", RUNNERS)
def test_a_graph_without_prototypes_gives_none(tmp_path: Path, backend: Backend) -> None:
    path = tmp_path / "plain.onnx"
    write_graph(path, small_graph(*SIZE, prototypes=False), *SIZE)
    scores = scored(path, pictures(2), backend=backend)
    assert scores.nearest is None
    assert scores.distance is None


def test_openvino_computes_every_frame_alone_even_where_the_graph_mixes_them(
    tmp_path: Path,
) -> None:
    path = tmp_path / "mixed.onnx"
    write_graph(path, neighbour_graph(*SIZE), *SIZE)
    frames = pictures(4)
    frames[1:] //= 4
    scores = scored(path, frames, backend="openvino")
    np.testing.assert_allclose(
        scores.score, frames.mean(axis=(1, 2, 3)) / 255, atol=SCORE_TOLERANCE
    )


@pytest.mark.parametrize("backend", [*RUNNERS, "fixed"])
@pytest.mark.parametrize(
    "frames",
    [
        pictures(0),
        pictures(9),
        pictures(2, (31, 32)),
        pictures(2)[..., :2],
        pictures(1)[0],
        pictures(1).astype(np.float32),
    ],
    ids=["none", "too many", "too narrow", "two channels", "no batch axis", "float"],
)
def test_frames_that_do_not_fit_are_refused(
    tmp_path: Path, backend: Backend, frames: Pixels
) -> None:
    if backend == "fixed":
        path = tmp_path / "small.fixed"
        write_fixed_engine(path, FixedPlan(height=31, width=33), max_batch=8)
    else:
        path = tmp_path / "small.onnx"
        write_graph(path, small_graph(*SIZE), *SIZE)
    with open_engine(path, backend) as opened, pytest.raises(ShapeError, match=r"takes"):
        opened.engine.score(frames)


@pytest.mark.parametrize("backend", RUNNERS)
def test_a_closed_engine_says_so(onnx_file: Path, backend: Backend) -> None:
    opened = open_engine(onnx_file, backend)
    opened.engine.close()
    opened.engine.close()
    with pytest.raises(ScoringError, match="closed"):
        opened.engine.score(pictures(1))


def test_an_onnx_file_runs_on_openvino_by_default(onnx_file: Path) -> None:
    with open_engine(onnx_file, threads=2) as opened:
        assert opened.backend.startswith("openvino")
        assert opened.backend.endswith("cpu, 2 streams, f32")
        assert opened.manifest.model == "small"
        assert opened.engine.max_batch == 8
        assert opened.engine.input_size == SIZE


def test_a_file_that_changed_after_its_manifest_is_refused(onnx_file: Path) -> None:
    onnx_file.write_bytes(onnx_file.read_bytes() + b"\0")
    with pytest.raises(ManifestError, match="sha256"):
        open_engine(onnx_file)


def test_a_manifest_of_another_schema_version_is_refused(onnx_file: Path) -> None:
    fields = json.loads(manifest_path(onnx_file).read_text())
    manifest_path(onnx_file).write_text(json.dumps(fields | {"schema_version": 2}))
    with pytest.raises(ManifestError, match="schema version 2"):
        open_engine(onnx_file)


@pytest.mark.parametrize(
    "change",
    [
        {"cost": []},
        {"cost": [{"batch": 2, "median_ms": 1, "p99_ms": 1}] * 2},
        {"x" * 100_000: 1},
        {"created": 5},
    ],
)
def test_an_admission_that_is_none_is_refused_in_one_short_line(
    tmp_path: Path, change: dict[str, object]
) -> None:
    path = tmp_path / "tiny.onnx"
    write_tiny_engine(path)
    fields = json.loads(manifest_path(path).read_text())
    fields["admission"] |= change
    manifest_path(path).write_text(json.dumps(fields))
    with pytest.raises(ManifestError) as refused:
        open_engine(path)
    assert len(str(refused.value)) < 1000


def test_a_schema_version_without_end_is_not_repeated(onnx_file: Path) -> None:
    manifest_path(onnx_file).write_text(json.dumps({"schema_version": "1" * 100_000}))
    with pytest.raises(ManifestError, match="schema version") as refused:
        open_engine(onnx_file)
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize("backend", RUNNERS)
def test_a_graph_of_another_size_than_its_manifest_is_refused(
    tmp_path: Path, backend: Backend
) -> None:
    path = tmp_path / "small.onnx"
    write_graph(path, small_graph(31, 33), 31, 35)
    with pytest.raises(ManifestError, match=r"'frames' is uint8 \[\?, 31, 33, 3\].*31, 35, 3"):
        open_engine(path, backend)


@pytest.mark.parametrize("backend", RUNNERS)
def test_a_graph_with_other_output_names_is_refused(tmp_path: Path, backend: Backend) -> None:
    graph = small_graph(*SIZE, prototypes=False)
    graph.graph.output[0].name = "smooth"
    path = tmp_path / "small.onnx"
    write_graph(path, graph, *SIZE)
    with pytest.raises((ManifestError, BackendError), match="score"):
        open_engine(path, backend)


@pytest.mark.parametrize("backend", RUNNERS)
def test_bytes_that_are_no_graph_are_refused(tmp_path: Path, backend: Backend) -> None:
    path = tmp_path / "broken.onnx"
    manifest = write_graph(path, small_graph(*SIZE), *SIZE)
    path.write_bytes(path.read_bytes()[:300])
    write_manifest(path, manifest.model_copy(update={"sha256": file_sha256(path)}))
    with pytest.raises(BackendError, match=r"broken\.onnx"):
        open_engine(path, backend)


@pytest.mark.parametrize("backend", RUNNERS)
def test_weights_in_another_file_are_refused_because_no_hash_covers_them(
    tmp_path: Path, backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "outside.onnx"
    onnx.save_model(
        small_graph(*SIZE), path, save_as_external_data=True, location="weights", size_threshold=0
    )
    write_graph(path, onnx.load_model(path, load_external_data=False), *SIZE)
    monkeypatch.chdir(tmp_path)  # where a runtime would look for them
    with pytest.raises(ManifestError, match="another file"):
        open_engine(path, backend)


@pytest.mark.parametrize(
    ("missing", "suffix", "says"),
    [
        ("openvino", ".fixed", "opened fixed"),
        ("onnxruntime", ".onnx", "opened openvino"),
        ("openvino", ".onnx", "pip install 'prn-line[worker]'"),
    ],
)
def test_a_missing_runtime_hurts_only_the_files_that_need_it(
    onnx_file: Path, fixed_file: Path, missing: str, suffix: str, says: str
) -> None:
    path = fixed_file if suffix == ".fixed" else onnx_file
    program = (
        f"import sys; sys.modules[{missing!r}] = None\n"
        "from pathlib import Path\n"
        "from engines.open import open_engine\n"
        "print('opened', open_engine(Path(sys.argv[1])).backend)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=False
    )
    assert says in ended.stdout + ended.stderr


@pytest.mark.parametrize("name", ["prn.engine", "prn.xml", "prn", "prn.onnx.bak"])
def test_a_file_that_no_backend_runs_is_refused_with_what_is_supported(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(BackendError, match=r"\.onnx, \.openvino, \.plan, \.fixed"):
        open_engine(tmp_path / name)


def test_a_renamed_file_is_refused(fixed_file: Path) -> None:
    path = fixed_file.with_suffix(".onnx")
    fixed_file.rename(path)
    manifest_path(fixed_file).rename(manifest_path(path))
    with pytest.raises(ManifestError, match="format fixed"):
        open_engine(path)


def test_a_backend_that_cannot_run_the_file_is_refused(onnx_file: Path, fixed_file: Path) -> None:
    with pytest.raises(BackendError, match="fixed cannot run"):
        open_engine(onnx_file, "fixed")
    with pytest.raises(BackendError, match="openvino cannot run"):
        open_engine(fixed_file, "openvino")
    with pytest.raises(BackendError, match="onnxruntime for a GPU"):
        open_engine(onnx_file, "openvino", "cuda")


def test_a_file_built_for_another_device_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "small.onnx"
    write_graph(path, small_graph(*SIZE), *SIZE, device="NVIDIA L4 8.9")
    with pytest.raises(BackendError, match="built for NVIDIA L4"):
        open_engine(path)


def test_a_device_that_is_unknown_is_refused(onnx_file: Path) -> None:
    with pytest.raises(BackendError, match="tpu"):
        open_engine(onnx_file, device="tpu")


def test_a_missing_cuda_is_an_error_and_no_silent_cpu(onnx_file: Path) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this machine's ONNX Runtime has CUDA")
    with pytest.raises(BackendError, match="onnxruntime-gpu"):
        open_engine(onnx_file, device="cuda:0")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no engine file"):
        open_engine(tmp_path / "none.onnx")


def test_a_fixed_score_can_be_matched_to_its_frame(fixed_file: Path) -> None:
    frames = pictures(32)
    scores = scored(fixed_file, frames)
    assert len(set(scores.score.tolist())) == 32
    np.testing.assert_array_equal(scores.score, fixed_scores(frames))
    np.testing.assert_array_equal(scores.score[4:5], fixed_scores(frames[4:5]))
    assert scores.maps.shape == (32, *SIZE)
    assert scores.maps.dtype == np.float32


def test_a_fixed_map_is_bright_where_the_frame_is(fixed_file: Path) -> None:
    frames = np.zeros((1, *SIZE, 3), np.uint8)
    frames[0, 8:16, 16:24] = 255
    maps = scored(fixed_file, frames).maps
    np.testing.assert_array_equal(maps[0], frames[0, :, :, 1] * np.float32(1 / 255))


def test_each_nth_call_of_a_failing_fixed_engine_fails(tmp_path: Path) -> None:
    path = tmp_path / "bad.fixed"
    write_fixed_engine(path, FixedPlan(height=4, width=4, fail_every=3))
    failed = []
    with open_engine(path) as opened:
        for call in range(1, 8):
            try:
                opened.engine.score(pictures(1, (4, 4)))
            except ScoringError:
                failed.append(call)
    assert failed == [3, 6]


@pytest.mark.parametrize(
    "plan", [b"[]", b"{}", b'{"height": 0, "width": 4}', b"\xff", b'{"height": 4, "width": 5}']
)
def test_a_fixed_file_that_says_nonsense_is_refused(tmp_path: Path, plan: bytes) -> None:
    path = tmp_path / "bad.fixed"
    manifest = write_fixed_engine(path, FixedPlan(height=4, width=4))
    path.write_bytes(plan)
    write_manifest(path, manifest.model_copy(update={"sha256": file_sha256(path)}))
    with pytest.raises(ManifestError, match=r"bad\.fixed"):
        open_engine(path)
