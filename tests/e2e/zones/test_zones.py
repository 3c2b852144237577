"""Zones from a drawn product to verdicts: trained, evaluated, judged by, changed while it runs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rigs.processes import WAIT_S, plant_in

from engines.files import write_atomic
from engines.manifest import read_manifest
from engines.zones.read import read_zones
from pipeline.commands.subprocesses import wait_until
from pipeline.product.product import draw_part
from pipeline.product.shapes import PartType
from pipeline.verdicts import read_verdict, verdict_fields

SIDE = 96
NORMALS = 24
LEFT = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]
RIGHT = [[0.5, 0], [1, 0], [1, 1], [0.5, 1]]
IGNORE_LEFT = {"name": "fixture", "kind": "ignore", "points": LEFT}
STRICT_RIGHT = {"name": "seal", "kind": "inspect", "points": RIGHT, "image_factor": 0.01}
REST = {"name": "rest", "kind": "inspect"}


def good(number: int) -> np.ndarray:
    return draw_part(np.random.default_rng([7, number]), PartType.WASHER, None, (SIDE, SIDE))[0]


def write(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture[..., ::-1])


def defective(number: int, column: int) -> tuple[np.ndarray, np.ndarray]:
    """Paint a violet blob onto a good part: nothing of its kind is normal anywhere."""
    picture, mask = good(number).copy(), np.zeros((SIDE, SIDE), np.uint8)
    cv2.circle(mask, (column, SIDE // 2), 7, 255, cv2.FILLED)
    picture[mask > 0] = (210, 0, 230)
    return picture, mask


def put(path: Path, *zones: dict[str, Any]) -> str:
    write_atomic(path, json.dumps({"zones": zones}).encode())
    return read_zones(path).sha256


def run(command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = f"from trainer.cli import {command}; {command}()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zones")
    for number in range(NORMALS):
        write(folder / "parts" / "train" / "good" / f"{number:03}.png", good(number))
    for name, column in (("left", 20), ("right", 76)):
        for number in range(3):
            picture, mask = defective(100 + number, column)
            write(folder / "parts" / "test" / name / f"{number}.png", picture)
            kind = folder / "parts" / "ground_truth" / name
            write(kind / f"{number}_mask.png", np.repeat(mask[..., None], 3, axis=2))
    for number in range(4):
        write(folder / "parts" / "test" / "good" / f"{number}.png", good(200 + number))
    put(folder / "zones.json", IGNORE_LEFT)
    flags = ["--data", str(folder / "parts"), "--out", str(folder / "run"), "--size", str(SIDE)]
    done = run("train", *flags, "--zones", str(folder / "zones.json"))
    assert done.returncode == 0, done.stderr
    assert "fixture (ignore, 4 points)" in done.stdout
    return folder


def test_training_keeps_its_zones_and_a_threshold_for_them(trained: Path) -> None:
    manifest = read_manifest(trained / "run" / "protoad.onnx")
    assert manifest.zones == read_zones(trained / "zones.json")
    assert manifest.peak_threshold is not None
    assert cv2.imread(str(trained / "run" / "examples.jpg")) is not None


def test_evaluation_reports_ignored_defects_apart(trained: Path) -> None:
    engine, data = str(trained / "run" / "protoad.onnx"), str(trained / "parts")
    done = run("evaluate", "--engine", engine, "--data", data, "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["ignored"] == [f"test/left/{number}.png" for number in range(3)]
    assert [kind["kind"] for kind in figures["kinds"]] == ["good", "right"]
    assert figures["plant"]["escapes"] == figures["plant"]["escapes"] | {"count": 0, "of": 3}
    assert figures["threshold"] == read_manifest(Path(engine)).peak_threshold


def test_zones_are_drawn_over_a_folder_before_they_are_used(trained: Path, tmp_path: Path) -> None:
    plain, drawn = tmp_path / "plain.png", tmp_path / "drawn.png"
    for out, flags in ((plain, []), (drawn, ["--zones", str(trained / "zones.json")])):
        done = run("samples", "check", str(trained / "parts"), "--out", str(out), *flags)
        assert done.returncode == 0, done.stderr
    before, after = cv2.imread(str(plain)), cv2.imread(str(drawn))
    assert before.shape == after.shape
    assert (before[:160, :60] != after[:160, :60]).any()
    assert np.array_equal(before[:160, 100:160], after[:160, 100:160])


def test_bad_zones_end_a_training_with_one_sentence(trained: Path, tmp_path: Path) -> None:
    zones = tmp_path / "zones.json"
    write_atomic(zones, json.dumps({"zones": [{"name": "all", "kind": "ignore"}]}).encode())
    flags = ["--data", str(trained / "parts"), "--out", str(tmp_path / "out"), "--size", "96"]
    done = run("train", *flags, "--zones", str(zones))
    assert done.returncode == 1
    assert "the zones leave nothing to inspect" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_line_judges_by_zones_and_takes_a_changed_file(trained: Path, tmp_path: Path) -> None:
    zones = tmp_path / "zones.json"
    first = put(zones, IGNORE_LEFT)
    engine = str(trained / "run" / "protoad.onnx")
    for name, picture in (
        ("a-good", good(300)),
        ("b-left", defective(300, 20)[0]),
        ("c-right", defective(300, 76)[0]),
    ):
        write(tmp_path / "before" / f"{name}.png", picture)
        write(tmp_path / "after" / f"{name}.png", picture)
    camera = ("--size", f"{SIDE}x{SIDE}")
    with plant_in(tmp_path / "plant") as plant:

        def verdicts() -> dict[str, dict[str, Any]]:
            found = [read_verdict("line-1", each) for each in plant.ledger.results("-", 100)]
            return {f"{each.meta.seq}": verdict_fields(each, with_mask=False) for each in found}

        words = ("--engine", engine, "--skip-admission", "--zones", str(zones))
        plant.processes.start("worker", "pipeline-worker", *words)
        source = str(tmp_path / "before")
        plant.processes.start("one", "pipeline-camera", "--source", source, *camera).wait(WAIT_S)
        plant.wait_for(3)
        before = verdicts()
        assert [before[seq]["decision"] for seq in sorted(before)] == ["OK", "OK", "NG"]
        assert {each["zones"] for each in before.values()} == {first}

        second = put(zones, REST, STRICT_RIGHT)
        wait_until(
            lambda: sum(each["event"] == "zones.taken" for each in plant.log("worker")) > 1,
            WAIT_S,
            "the new zones",
        )
        source = str(tmp_path / "after")
        plant.processes.start("two", "pipeline-camera", "--source", source, *camera).wait(WAIT_S)
        plant.wait_for(6)
        after = {seq: each for seq, each in verdicts().items() if seq not in before}
        assert {each["zones"] for each in after.values()} == {second}
        assert [each["decision"] for each in after.values()] == ["NG"] * 3
        accepted = next(iter(after.values()))
        assert accepted["zone"] == "seal"
