"""PRN from pictures to an engine file that serves, as a person trains it; killed and resumed."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import safetensors.numpy

from engines.manifest import read_manifest
from engines.open import open_engine
from trainer.training.prn.training import CHECKPOINT_NAME

SIDE = 64
STEPS = 12
TRAIN = "from trainer.cli import train; train()"
EVALUATE = "from trainer.cli import evaluate; evaluate()"


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def plate(rng: np.random.Generator) -> np.ndarray:
    picture = np.full((SIDE, SIDE, 3), 60, np.uint8)
    cv2.rectangle(picture, (10, 10), (54, 54), (150, 160, 150), cv2.FILLED)
    return np.clip(picture + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def plates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plates")
    rng = np.random.default_rng(2)
    for number in range(20):
        write(folder / "train" / "good" / f"{number}.png", plate(rng))
    for number in range(4):
        write(folder / "test" / "good" / f"{number}.png", plate(rng))
        picture, mask = plate(rng), np.zeros((SIDE, SIDE), np.uint8)
        place = tuple(int(each) for each in rng.integers(20, 44, 2))
        cv2.circle(mask, place, 6, 255, cv2.FILLED)
        picture[mask > 0] = (20, 20, 220)
        write(folder / "test" / "spot" / f"{number}.png", picture)
        write(folder / "ground_truth" / "spot" / f"{number}_mask.png", mask)
    return folder


def command(plates: Path, out: Path, *more: str) -> list[str]:
    flags = ["--model", "prn-s", "--data", str(plates), "--out", str(out), "--size", str(SIDE)]
    return [sys.executable, "-c", TRAIN, *flags, "--seen", "2", "--steps", str(STEPS), *more]


def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def trained(plates: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("prn")
    done = run(command(plates, out))
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_run_folder_holds_engine_seen_defects_checkpoint_and_pictures(
    trained: tuple[Path, str],
) -> None:
    out, said = trained
    manifest = read_manifest(out / "prn-s.onnx")
    assert (manifest.model, manifest.height) == ("prn-s", SIDE)
    assert manifest.snapshot is not None
    assert (manifest.snapshot.normals, manifest.snapshot.defects) == (20, 2)
    seen = json.loads((out / "seen.json").read_text("utf-8"))
    assert len(seen["pictures"]) == 2
    assert all(name in said for name in seen["pictures"])
    for name in ("losses.png", "held_out_scores.png", "examples.jpg"):
        assert cv2.imread(str(out / name)) is not None
    assert f"{STEPS} of {STEPS} steps" in said


def test_both_cpu_engines_serve_it_and_agree(trained: tuple[Path, str], plates: Path) -> None:
    out, _ = trained
    frames = np.stack([cv2.imread(str(path)) for path in (plates / "test/spot").glob("*.png")])
    found = []
    for backend in ("openvino", "onnxruntime"):
        with open_engine(out / "prn-s.onnx", backend) as opened:
            scores = opened.engine.score(frames)
            found.append((scores.score.copy(), scores.maps.copy(), scores.nearest.copy()))
    np.testing.assert_allclose(found[0][0], found[1][0], atol=1e-4)
    np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-3)
    np.testing.assert_array_equal(found[0][2], found[1][2])
    assert found[0][2].shape == (4, 3)


def test_seen_defects_are_not_tested_with(trained: tuple[Path, str], plates: Path) -> None:
    out, _ = trained
    engine = ["--engine", str(out / "prn-s.onnx"), "--data", str(plates), "--json"]
    done = run([sys.executable, "-c", EVALUATE, *engine])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["plant"]["escapes"]["of"] == 2


def test_training_that_is_killed_goes_on_to_the_same_weights(
    trained: tuple[Path, str], plates: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    process = subprocess.Popen(
        command(plates, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while not (out / CHECKPOINT_NAME).exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = run(command(plates, out))
    assert done.returncode == 0, done.stderr
    wanted = safetensors.numpy.load_file(trained[0] / CHECKPOINT_NAME)
    got = safetensors.numpy.load_file(out / CHECKPOINT_NAME)
    assert wanted.keys() == got.keys()
    for name, tensor in wanted.items():
        np.testing.assert_array_equal(got[name], tensor, err_msg=name)


def test_checkpoint_of_another_training_is_refused(trained: tuple[Path, str], plates: Path) -> None:
    done = run(command(plates, trained[0], "--without", "msa"))
    assert done.returncode != 0
    assert "parts.attention" in done.stderr
    assert "Traceback" not in done.stderr


def test_more_seen_defects_than_there_are_is_refused(plates: Path, tmp_path: Path) -> None:
    done = run(command(plates, tmp_path, "--seen", "9"))
    assert done.returncode != 0
    assert "4 readable defects, 9 are wanted: ask for fewer" in done.stderr


def test_table_of_the_paper_is_made_and_goes_on_where_it_stopped(
    plates: Path, tmp_path: Path
) -> None:
    flags = ["--data", str(plates), "--out", str(tmp_path), "--size", str(SIDE)]
    flags += ["--seen", "2", "--seeds", "1"]
    program = [sys.executable, "-c", "from trainer.cli import reproduce; reproduce()", "datasets"]
    done = run([*program, *flags, "--steps", "2"])
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in ("untrained residual map", "ProtoAD", "99.4"))
    found = json.loads((tmp_path / "datasets.json").read_text("utf-8"))
    assert [len(each) for each in found.values()] == [1, 1, 1]
    assert [each["steps"] for each in found["PRN, all of it"]] == [2]
    judged = {each["defects"] for results in found.values() for each in results}
    assert judged == {2}  # four, less the two seen: the same for all

    results = sorted(tmp_path.rglob("result.json"))
    assert len(results) == 3
    results[-1].unlink()
    written = {path: path.stat().st_mtime_ns for path in results[:-1]}
    again = run([*program, *flags, "--steps", "2"])
    assert again.returncode == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in results[:-1]} == written
    assert json.loads((tmp_path / "datasets.json").read_text("utf-8")) == found

    other = run([*program, *flags, "--steps", "3"])
    assert other.returncode == 1
    assert "another budget.amount: give another --out" in other.stderr
