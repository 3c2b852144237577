import os
from collections.abc import Iterator

import numpy as np
import pytest
from rigs.line import Plant

from pipeline.camera.offer import RingSender
from pipeline.codecs import Codec
from pipeline.frames import FrameMeta
from pipeline.ring.files import find_rings
from pipeline.ring.ring import RING_DIRECTORY, ring_name
from pipeline.streams.connect import Client
from pipeline.wire import FrameHeader, encode_frame_header

SIDE = 64


@pytest.fixture
def plant(client: Client, line: str) -> Iterator[Plant]:
    plant = Plant(client, f"{line}-{os.getpid()}")
    yield plant
    for camera in ("old", "waiting", "new", "foreign"):
        (RING_DIRECTORY / ring_name(plant.name, camera)).unlink(missing_ok=True)


def sender(plant: Plant, camera: str) -> RingSender:
    return RingSender.create(plant.name, camera, SIDE * SIDE * 3, 1, plant.ledger())


def offer_in_ring(plant: Plant, ring: RingSender, camera: str) -> None:
    place = ring.write(np.zeros((SIDE, SIDE, 3), np.uint8), 0)
    assert place is not None
    meta = FrameMeta(camera, 0, "part", 1, 1 << 62)
    header = encode_frame_header(FrameHeader(meta, Codec.RING, (SIDE, SIDE), place))
    plant.camera(camera).offer(0, header, b"", 100, 10**12, "", shed=False)


def rings(plant: Plant) -> set[str]:
    names = {ring_name(plant.name, name): name for name in ("old", "waiting", "new", "foreign")}
    return {names[ring.name] for ring in find_rings() if ring.name in names}


def test_ring_of_a_camera_that_is_gone_is_removed_by_the_next_camera_of_the_line(
    plant: Plant,
) -> None:
    """One ring waits for its verdict, one is of no camera of this line: both stay."""
    old, waiting, foreign = (sender(plant, name) for name in ("old", "waiting", "foreign"))
    offer_in_ring(plant, old, "old")
    plant.judge()
    offer_in_ring(plant, waiting, "waiting")
    for left in (old, waiting, foreign):
        left._writer.leave()  # killed
    new = sender(plant, "new")
    new.free_left(plant.name)
    assert rings(plant) == {"waiting", "new", "foreign"}
    new.leave()
    assert rings(plant) == {"waiting", "foreign"}
