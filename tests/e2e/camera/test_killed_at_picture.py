"""A camera process that is killed while it decodes a picture; the picture stays what it was."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.camera import write_flat
from inputs.bombs import large_tiff
from rigs.processes import SIZE, WAIT_S, Plant, plan, plant_in

from pipeline.camera.picture_guard import MOST_DEATHS
from pipeline.commands.reconcile import reconcile
from pipeline.commands.subprocesses import ChildProcess, wait_until
from pipeline.streams.frame_producer import FrameProducer
from pipeline.streams.keys import LineLimits


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    with plant_in(tmp_path) as opened:
        yield opened


def children_of(camera: ChildProcess) -> list[int]:
    pid = camera.process.pid
    return [
        int(child)
        for thread in Path(f"/proc/{pid}/task").iterdir()
        for child in (thread / "children").read_text("ascii").split()
    ]


@pytest.mark.parametrize("kind", ["folder", "watch"])
def test_picture_at_which_two_processes_were_killed_is_unreadable(plant: Plant, kind: str) -> None:
    pictures = plant.folder / "pictures"
    for name in ("a", "c"):
        write_flat(pictures / f"{name}.png", 1)
    (pictures / "b.tiff").write_bytes(large_tiff(8000, 16))
    producer = FrameProducer(plant.connection.client, "line-1", "cam-1", LineLimits())
    plant.worker(plan())
    flags = ("--source", f"{kind}:{pictures}", "--size", f"{SIZE}x{SIZE}")

    for deaths in range(MOST_DEATHS):
        camera = plant.camera(*flags, name=f"camera-{deaths}")
        wait_until(
            lambda deaths=deaths, camera=camera: (
                producer.reading()[0].endswith("b.tiff")
                and producer.reading()[1] == deaths
                and bool(children_of(camera))
            ),
            WAIT_S,
            "the camera decodes the large picture",
        )
        decoders = children_of(camera)
        camera.kill()
        for decoder in decoders:
            wait_until(lambda pid=decoder: not Path(f"/proc/{pid}").exists(), WAIT_S, "it ends")

    last = plant.camera(*flags, name="camera-last")
    plant.wait_for(3)
    if kind == "folder":
        last.wait(WAIT_S)  # it ends with the last picture
    else:
        assert last.stop() == 0
    assert sorted(plant.answers()) == ["OK", "OK", "UNREADABLE"]
    assert producer.reading() == ("", 0)
    unreadable = [row for row in plant.log("camera-last") if row["event"] == "picture.unreadable"]
    assert [f"ended {MOST_DEATHS} times" in str(row["why"]) for row in unreadable] == [True]
    assert reconcile(plant.ledger).broken() == []
