"""The trainer's commands as a person runs them, on parts drawn here."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.manifest import read_manifest
from trainer.layouts import find_samples
from trainer.seen import draw_seen, seen_record, write_seen

SIDE = 96
NORMALS = 30


def part(rng: np.random.Generator, scratch: bool) -> tuple[np.ndarray, np.ndarray]:  # noqa: FBT001
    """A round part on a dark table, and the mask of a bright scratch on it, if there is one."""
    picture = np.full((SIDE, SIDE, 3), 40, np.uint8)
    centre = (SIDE // 2 + int(rng.integers(-4, 5)), SIDE // 2 + int(rng.integers(-4, 5)))
    cv2.circle(picture, centre, 30, (120, 130, 150), cv2.FILLED)
    cv2.circle(picture, centre, 12, (70, 60, 60), cv2.FILLED)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    if scratch:
        start = (centre[0] - 22, centre[1] - int(rng.integers(4, 10)))
        end = (centre[0] - 14, centre[1] + 12)
        cv2.line(mask, start, end, 255, 4)
        picture[mask > 0] = (240, 240, 230)
    noise = rng.normal(0, 3, picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8), mask


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    rng = np.random.default_rng(4)
    for number in range(NORMALS):
        write(folder / "train" / "good" / f"{number:03}.png", part(rng, False)[0])  # noqa: FBT003
    for number in range(6):
        write(folder / "test" / "good" / f"{number:03}.png", part(rng, False)[0])  # noqa: FBT003
        picture, mask = part(rng, True)  # noqa: FBT003
        write(folder / "test" / "scratch" / f"{number:03}.png", picture)
        write(folder / "ground_truth" / "scratch" / f"{number:03}_mask.png", mask)
    (folder / "train" / "good" / "broken.png").write_bytes(b"no picture")
    return folder


def run(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = f"from trainer.cli import {command}; {command}()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def trained(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("run")
    done = run("train", "--data", str(parts), "--out", str(out), "--size", "96", "--seed", "3")
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def test_run_folder_holds_a_verified_engine_and_pictures(trained: tuple[Path, str]) -> None:
    out, said = trained
    manifest = read_manifest(out / "protoad.onnx")
    assert (manifest.height, manifest.width, manifest.model) == (96, 96, "protoad")
    assert manifest.snapshot is not None
    assert manifest.snapshot.normals == NORMALS
    assert manifest.thresholds.normals == 7  # a fifth of 30, and what is nearly the same picture
    for name in ("held_out_scores.png", "examples.jpg"):
        assert cv2.imread(str(out / name)) is not None
    assert "broken.png" in said
    assert "needs 99 held-out groups" in said


def test_engine_file_finds_the_defects(trained: tuple[Path, str], parts: Path) -> None:
    out, _ = trained
    engine = str(out / "protoad.onnx")
    done = run("evaluate", "--engine", engine, "--data", str(parts), "--json", "--out", str(out))
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["image_auroc"] == 1.0
    assert figures["pixel"]["auroc"] > 0.95
    scratches = next(kind for kind in figures["kinds"] if kind["kind"] == "scratch")
    assert scratches == {"kind": "scratch", "pictures": 6, "rejected": 6}
    assert figures["plant"]["escapes"]["count"] == 0
    assert figures["plant"]["at_rate"]["resolved"] is False
    assert sum(size["escapes"]["of"] for size in figures["plant"]["sizes"]) == 6
    assert (figures["apart"], figures["seen"]) == (None, 0)
    for name in ("normal_highest.jpg", "defects_lowest.jpg"):
        assert cv2.imread(str(out / name)) is not None


def test_sheet_of_anomalies_is_drawn_and_names_the_seen_defects(
    parts: Path, tmp_path: Path
) -> None:
    out = tmp_path / "sheet.png"
    flags = ["--data", str(parts), "--out", str(out), "--size", "96", "--rows", "3", "--seen", "2"]
    done = run("anomalies", *flags)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("test/scratch/") == 2
    assert cv2.imread(str(out)).shape == (20 + 3 * 96, 7 * 96, 3)


def test_defects_that_the_engine_learned_from_are_not_tested_with(
    trained: tuple[Path, str], parts: Path, tmp_path: Path
) -> None:
    for path in trained[0].glob("protoad.onnx*"):
        shutil.copy(path, tmp_path)
    seen, _ = draw_seen(find_samples(parts), 2, 1)
    write_seen(tmp_path, seen_record("parts", 1, ["dent"], seen))
    arguments = ["--engine", str(tmp_path / "protoad.onnx"), "--data", str(parts)]
    done = run("evaluate", *arguments)
    assert done.returncode == 0, done.stderr
    assert "2 of the 2 defects that the engine learned from lie in this folder" in done.stdout
    assert "it never saw: dent" in done.stdout
    assert "defects that escape: 0 of 4 (0.0%), with 95 % confidence at most 52.7%" in done.stdout
    assert "6 good test pictures are too few to tell, that takes 1,000" in done.stdout
    assert "unlike seen: overlap with every mask learned from" in done.stdout
    done = run("evaluate", *arguments, "--with-seen", "--json")
    assert json.loads(done.stdout)["plant"]["escapes"]["of"] == 6


@pytest.mark.parametrize(
    ("command", "arguments", "sentence"),
    [
        ("train", ["--data", "nowhere", "--out", "o"], "nowhere: No such file or directory"),
        ("train", ["--data", "nowhere", "--out", "o", "--size", "100"], "not a multiple of 16"),
        ("train", ["--out", "o"], "--data is needed"),
        ("train", ["--data", "d", "--out", "o", "--colour", "red"], "--colour"),
        ("evaluate", ["--engine", "gone.onnx", "--data", "{parts}"], "no engine file gone.onnx"),
    ],
)
def test_wrong_use_ends_with_a_sentence(
    parts: Path, command: str, arguments: list[str], sentence: str
) -> None:
    done = run(command, *(each.format(parts=parts) for each in arguments))
    assert done.returncode in {1, 2}
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
