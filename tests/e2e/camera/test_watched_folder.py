"""A watched folder over real processes: restarts, and a camera that ended in between."""

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from rigs.processes import SIZE, WAIT_S, Plant, plan, plant_in

from pipeline.commands.reconcile import reconcile
from pipeline.commands.subprocesses import ChildProcess


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    with plant_in(tmp_path) as opened:
        yield opened


def watch(plant: Plant, folder: Path, name: str) -> ChildProcess:
    size = f"{SIZE}x{SIZE}"
    return plant.processes.start(
        name, "pipeline-camera", "--source", f"watch:{folder}", "--size", size
    )


def drop(folder: Path, first: int, count: int) -> None:
    rng = np.random.default_rng(first)
    for number in range(first, first + count):
        picture = rng.integers(0, 80, (SIZE, SIZE, 3), dtype=np.uint8)
        assert cv2.imwrite(str(folder / f"{number:05d}.png"), picture)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_pictures_are_judged_once_across_restarts_of_their_camera(
    plant: Plant, tmp_path: Path, how: signal.Signals
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    plant.worker(plan())
    drop(folder, 0, 600)
    first = watch(plant, folder, "first")
    plant.wait_for(300)
    first.process.send_signal(how)
    first.process.wait(WAIT_S)
    drop(folder, 600, 100)
    shutil.copystat(folder / "00000.png", folder / "00600.png")
    second = watch(plant, folder, "second")
    plant.wait_for(700)
    drop(folder, 700, 1)
    plant.wait_for(701)
    assert second.stop() == 0
    assert len(plant.answers()) == 701
    assert reconcile(plant.ledger).broken() == []
