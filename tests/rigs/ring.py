"""The two ends of a ring, each to be run in a process of its own."""

import time
from multiprocessing.connection import Connection

import numpy as np

from pipeline.errors import RingStale
from pipeline.ring.ring import RingReader, RingWriter
from pipeline.wire import RingPlace

SIDE = 96
SLOTS = 8
SLOT_BYTES = SIDE * SIDE * 3


def run_camera(name: str, first_seq: int, tell: Connection) -> None:
    """Write frames of one value (seq modulo 256) as fast as slots come free; tell each place."""
    ring = RingWriter.create(name, SLOTS, SLOT_BYTES)
    seq = first_seq
    while True:
        place = ring.write(np.full((SIDE, SIDE, 3), seq % 256, np.uint8), seq)
        if place is None:
            time.sleep(0.0005)
            continue
        tell.send((place.slot, place.generation, seq))
        seq += 1


def run_worker(name: str, take: Connection, tell: Connection) -> None:
    """Read every place that is told, say what was seen, release."""
    ring = RingReader.attach(name)
    while True:
        slot, generation, seq = take.recv()
        place = RingPlace(name, slot, generation)
        try:
            pixels = ring.read(place, (SIDE, SIDE))
        except RingStale:
            tell.send((seq, "stale"))
            continue
        whole = bool(np.all(pixels == seq % 256))
        tell.send((seq, "whole" if whole else "torn"))
        ring.release(place)


def attach_and_exit(name: str) -> None:
    """Attach and end without closing."""
    RingReader.attach(name)
