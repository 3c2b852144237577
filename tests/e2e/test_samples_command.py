"""`trainer-samples` as a person runs it, on parts drawn here."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

NORMALS = 27


def part(seed: int, scratch: bool = False) -> np.ndarray:  # noqa: FBT001, FBT002
    rng = np.random.default_rng(seed)
    picture = np.full((128, 128, 3), 40, np.uint8)
    centre = (64 + int(rng.integers(-6, 7)), 64 + int(rng.integers(-6, 7)))
    cv2.circle(picture, centre, 44, (120, 130, 150), cv2.FILLED)
    if scratch:
        cv2.line(picture, (centre[0] - 30, centre[1]), (centre[0] + 9, centre[1]), (240,) * 3, 5)
    return np.clip(picture + rng.normal(0, 3, picture.shape), 0, 255).astype(np.uint8)


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = "from trainer.cli import samples; samples()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("samples")
    for seed in range(NORMALS):
        write(folder / "data" / "train" / "good" / f"{seed}.png", part(seed))
    for seed in range(90, 93):  # called good, and are not
        write(folder / "data" / "train" / "good" / f"{seed}.png", part(seed, scratch=True))
    write(folder / "data" / "test" / "dent" / "1.png", part(200))
    done = run("import", str(folder / "data"), "--store", str(folder / "store"))
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_mislabelled_parts_wait_are_drawn_and_are_released_as_what_they_are(
    imported: tuple[Path, str],
) -> None:
    folder, said = imported
    store = ["--store", str(folder / "store")]
    assert "31 new, 0 known" in said
    assert "1 defects without a mask" in said
    assert "wait for you" in said
    waiting = json.loads(run("list", *store, "--json").stdout)["waiting"]
    assert len(waiting) >= 3
    sheet = folder / "waiting.png"
    done = run("quarantine", *store, "--out", str(sheet))
    assert f"{len(waiting)} pictures wait: wrote {sheet}" in done.stdout
    assert cv2.imread(str(sheet)) is not None
    hashes = [each["sha"][:12] for each in waiting]
    done = run("release", *hashes, *store, "--as", "scratch", "--by", "anna")
    assert (done.returncode, done.stdout.count("release: ")) == (0, len(waiting))
    done = run("release", hashes[0], *store, "--as", "scratch")
    assert done.returncode == 1
    assert "only what waits is released" in done.stderr
    counts = json.loads(run("list", *store, "--json").stdout)
    assert (counts["quarantine"], counts["incoming"]) == (0, 0)
    done = run("export", str(folder / "out"), *store)
    assert done.returncode == 0, done.stderr
    assert len(list((folder / "out").rglob("*.png"))) == NORMALS + 4


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["list", "--store", "nowhere"], "no sample store"),
        (["import", "--store", "s"], "import needs one DIR, got 0"),
        (["import", "nowhere", "--store", "s"], "nowhere: No such file or directory"),
        (["release", "ab", "--store", "s"], "release needs --as good"),
        (["reject", "--store", "s"], "reject needs at least one HASH"),
        (["melt", "--store", "s"], "'import', 'list'"),
    ],
)
def test_wrong_use_ends_with_a_sentence(arguments: list[str], sentence: str) -> None:
    done = run(*arguments)
    assert done.returncode in {1, 2}
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_help_does_without_torch() -> None:
    code = (
        "import sys\n"
        "from trainer.cli import samples\n"
        "try:\n    samples()\n"
        "except SystemExit:\n    sys.exit(int('torch' in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "quarantine: draw those that wait" in done.stdout
