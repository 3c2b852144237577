"""The frame ring between real processes that are killed with SIGKILL."""

import multiprocessing as mp
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

import numpy as np
import pytest
from rigs.ring import SIDE, SLOT_BYTES, SLOTS, attach_and_exit, run_camera, run_worker

from pipeline.ring.ring import RING_DIRECTORY, RingReader, RingWriter, ring_name


@dataclass
class Started:
    process: SpawnProcess
    pipes: list[Connection]

    def kill(self) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()
        for pipe in self.pipes:
            pipe.close()


@pytest.fixture
def name() -> Iterator[str]:
    made = ring_name(f"test-{os.getpid()}", "cam")
    yield made
    (RING_DIRECTORY / made).unlink(missing_ok=True)


@pytest.fixture
def started() -> Iterator[list[Started]]:
    running: list[Started] = []
    yield running
    for one in running:
        if one.process.is_alive():
            one.kill()


def start_camera(name: str, first_seq: int, running: list[Started]) -> tuple[Started, Connection]:
    take, tell = mp.Pipe(duplex=False)
    process = mp.get_context("spawn").Process(target=run_camera, args=(name, first_seq, tell))
    process.start()
    tell.close()
    running.append(Started(process, [take]))
    return running[-1], take


def start_worker(name: str, running: list[Started]) -> tuple[Started, Connection, Connection]:
    context = mp.get_context("spawn")
    take, give = mp.Pipe(duplex=False)
    hear, tell = mp.Pipe(duplex=False)
    process = context.Process(target=run_worker, args=(name, take, tell))
    process.start()
    take.close()
    tell.close()
    running.append(Started(process, [give, hear]))
    return running[-1], give, hear


def test_frames_survive_the_kill_of_their_camera_and_no_slot_is_lost(
    name: str, started: list[Started]
) -> None:
    """The camera dies with a full ring; its successor and a late worker find every frame."""
    camera, places = start_camera(name, 1000, started)
    told = [places.recv() for _ in range(SLOTS)]
    time.sleep(0.05)  # the ring is full now
    camera.kill()
    _, places = start_camera(name, 2000, started)
    _, give, hear = start_worker(name, started)
    for place in told:
        give.send(place)
        assert hear.recv() == (place[2], "whole")
    for seq in range(2000, 2000 + 5 * SLOTS):
        place = places.recv()
        assert place[2] == seq
        give.send(place)
        assert hear.recv() == (seq, "whole")


def test_a_camera_killed_again_and_again_never_gives_a_torn_frame(
    name: str, started: list[Started]
) -> None:
    """Kills fall into the middle of writes; what is told is whole, generations only rise."""
    highest = 0
    for life in range(4):
        camera, places = start_camera(name, 10_000 * life, started)
        first = places.recv()
        _, give, hear = start_worker(name, started)
        told = [first]
        for _ in range(200):
            give.send(told[-1])
            seq, seen = hear.recv()
            assert (seq, seen) == (told[-1][2], "whole")
            told.append(places.recv())
        camera.kill()
        generations = [generation for _, generation, _ in told]
        assert len({(slot, generation) for slot, generation, _ in told}) == len(told)
        assert min(generations) > 0
        assert max(generations) > highest
        highest = max(generations)
        after = RingWriter.create(name, SLOTS, SLOT_BYTES)
        for place in after.holds():
            after.release(place)
        assert after.holds() == {}
        after.leave()


def test_the_place_of_a_killed_worker_is_found_and_freed(name: str, started: list[Started]) -> None:
    ring = RingWriter.create(name, 2, SLOT_BYTES)
    place = ring.write(np.full((SIDE, SIDE, 3), 7, np.uint8), 7)
    assert place is not None
    worker, give, hear = start_worker(name, started)
    give.send((place.slot, place.generation, 7))
    assert hear.recv() == (7, "whole")
    worker.kill()
    for held in ring.holds():
        ring.release(held)
    assert [ring.write(np.zeros((SIDE, SIDE, 3), np.uint8), seq) is None for seq in range(3)] == [
        False,
        False,
        True,
    ]
    ring.close()


def test_a_worker_that_exits_does_not_take_the_ring_with_it(
    name: str, started: list[Started]
) -> None:
    ring = RingWriter.create(name, 2, SLOT_BYTES)
    process = mp.get_context("spawn").Process(target=attach_and_exit, args=(name,))
    process.start()
    started.append(Started(process, []))
    process.join()
    assert process.exitcode == 0
    assert Path(RING_DIRECTORY / name).exists()
    RingReader.attach(name).close()
    ring.close()
