import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from rigs.processes import WAIT_S, Plant, plan, plant_in

from pipeline.archive import Archive
from pipeline.commands.subprocesses import ChildProcess, wait_until
from pipeline.labels import LabelBook, LabelKind

COMMAND = [sys.executable, "-c", "from pipeline.cli import label; label()"]


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    with plant_in(tmp_path) as opened:
        yield opened


def archiving(plant: Plant, name: str = "worker") -> tuple[ChildProcess, Archive]:
    folder = plant.folder / "archive"
    worker = plant.worker(plan(), "--archive", str(folder), "--archive-share", "0.5", name=name)
    return worker, Archive(folder, "line-1")


def label(plant: Plant, *flags: str, given: str | None = None) -> str:
    where = ["--state-dir", str(plant.folder / "redis"), "--archive", str(plant.folder / "archive")]
    done = subprocess.run(
        [*COMMAND, *where, *flags], capture_output=True, text=True, check=False, input=given
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_part_is_labelled_after_its_verdict_and_its_frame_outlives_the_archive(
    plant: Plant,
) -> None:
    worker, archive = archiving(plant)
    plant.camera("--count", "200").wait(WAIT_S)
    plant.wait_for(200)
    assert worker.stop() == 0
    kept = list(archive.entries())
    assert 50 < len(kept) < 150
    waiting = [json.loads(line) for line in label(plant, "--list", "--json").splitlines()]
    assert len(waiting) == 20
    wishes = [{"entry": frame["entry_id"], "as": "normal"} for frame in waiting[:5]]
    label(plant, "--from", "-", given="\n".join(map(json.dumps, wishes)))
    with LabelBook("line-1", state_dir=plant.folder / "redis", redis_url="") as book:
        labels = [found for _, found in book.since()]
    assert [found.entry_id for found in labels] == [wish["entry"] for wish in wishes]
    assert {found.kind for found in labels} == {LabelKind.NORMAL}
    archive.trim(0, 0.0, 1e12)
    assert sorted(archive.entries()) == sorted(found.entry_id for found in labels)


def test_worker_killed_while_it_archives_leaves_whole_frames_only(plant: Plant) -> None:
    worker, archive = archiving(plant)
    camera = plant.camera("--rate", "300", "--live")
    wait_until(lambda: len(list(archive.entries())) > 20, WAIT_S, "some archived frames")
    worker.process.send_signal(signal.SIGKILL)
    worker.process.wait()
    successor, _ = archiving(plant, "successor")
    before = len(list(archive.entries()))
    wait_until(lambda: len(list(archive.entries())) > before + 20, WAIT_S, "the successor's frames")
    camera.stop()
    assert successor.stop() == 0
    assert all(archive.find(entry_id) is not None for entry_id in archive.entries())


def test_worker_says_at_its_start_whether_it_archives(plant: Plant) -> None:
    plant.worker(plan())
    archiving(plant, "archiving")
    for name, event in (("worker", "archive.none"), ("archiving", "archive.ready")):
        log = plant.folder / "logs" / f"{name}.log"
        wait_until(lambda log=log: "worker.started" in log.read_text(), WAIT_S, "its start")  # type: ignore[misc]
        said = {line["event"] for line in plant.log(name)}
        assert said & {"archive.none", "archive.ready"} == {event}
