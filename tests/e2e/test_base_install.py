"""Programs of a plant with the base install only, and as far as it goes as on Windows."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rigs.base_install import hidden_modules, run_base
from rigs.other_systems import POSIX_MODULES, WINDOWS
from rigs.processes import SIZE, WAIT_S, Plant, plan, plant_in

from pipeline.codecs import Codec, encode_pixels

PARTS = 6
SYSTEMS = {
    "this system": (hidden_modules(), ""),
    "Windows": (hidden_modules() | POSIX_MODULES, WINDOWS),
}


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """A line whose parts are judged."""
    folder = tmp_path_factory.mktemp("plant")
    with plant_in(folder) as opened:
        opened.worker(plan())
        opened.camera("--count", str(PARTS)).wait(WAIT_S)
        opened.wait_for(PARTS)
        yield opened


class Base:
    """Commands of the base install beside the line."""

    def __init__(self, plant: Plant, system: str) -> None:
        self.system = system
        self._hidden, self._before = SYSTEMS[system]
        url = f"unix://{plant.folder / 'redis' / 'redis.sock'}"
        self._environment = {"PRN_REDIS_URL": url, "PRN_LOG_FORMAT": "json"}

    def run(self, command: str, *words: str) -> tuple[int, str, str]:
        done = run_base(
            command,
            *words,
            hidden=self._hidden,
            before=self._before,
            environment=self._environment,
        )
        return done.returncode, done.stdout, done.stderr


@pytest.fixture(params=sorted(SYSTEMS))
def base(plant: Plant, request: pytest.FixtureRequest) -> Base:
    return Base(plant, request.param)


def consume(base: Base, program: str, *words: str) -> tuple[int, list[dict[str, object]], str]:
    status, out, err = base.run(
        "pipeline-consume", "--from-start", "--program", program, "--count", str(PARTS), *words
    )
    return status, [json.loads(line) for line in out.splitlines()], err


def test_program_reads_every_verdict(base: Base) -> None:
    status, verdicts, err = consume(base, base.system.replace(" ", "-"), "--mask")
    assert status == 0, err
    assert [verdict["seq"] for verdict in verdicts] == list(range(PARTS))


def test_overlays_name_the_extra_that_they_need(base: Base, tmp_path: Path) -> None:
    status, verdicts, err = consume(base, "overlays", "--overlay-dir", str(tmp_path / "overlays"))
    assert (status, verdicts) == (2, [])
    assert err == "pipeline-consume: cv2 is not installed: pip install 'prn-line[camera]'\n"


def test_frame_is_labelled(base: Base) -> None:
    _, verdicts, _ = consume(base, base.system.replace(" ", "-") + "-labels")
    entry = str(verdicts[0]["entry_id"])
    status, out, err = base.run("pipeline-label", "--entry", entry, "--as", "normal")
    assert (status, out) == (0, f"{entry}: normal\n"), err


def test_mask_of_a_label_names_the_extra_that_it_needs(base: Base, tmp_path: Path) -> None:
    mask = tmp_path / "mask.png"
    mask.write_bytes(encode_pixels(np.full((SIZE, SIZE, 3), 255, np.uint8), Codec.PNG))
    status, _, err = base.run(
        "pipeline-label", "--entry", "1-0", "--as", "defect", "--mask", str(mask)
    )
    assert status == 2
    assert err.endswith("pipeline-label: cv2 is not installed: pip install 'prn-line[camera]'\n")


def test_line_is_shown_and_steered(base: Base) -> None:
    status, out, err = base.run("pipeline-control", "--show")
    assert status == 0, err
    assert "taking frames" in out


def test_line_is_reconciled(plant: Plant) -> None:
    status, out, err = Base(plant, "this system").run("pipeline-reconcile")
    assert status == 0, out + err


def test_registry_is_listed(plant: Plant, tmp_path: Path) -> None:
    status, out, err = Base(plant, "this system").run(
        "engine-registry", "list", "--registry", str(tmp_path / "registry")
    )
    assert status == 0, err
    assert "no version" in out
