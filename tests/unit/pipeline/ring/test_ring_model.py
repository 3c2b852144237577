"""The frame ring against a model: camera and workers in any order, kills included."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)
from numpy.typing import NDArray

from pipeline.errors import RingStale
from pipeline.ring.ring import RingReader, RingWriter
from pipeline.ring.segment import GENERATION
from pipeline.wire import RingPlace

NAME = "prn-model"


def picture(seed: int, height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


class RingModel(RuleBasedStateMachine):
    """Camera and workers in any order, kills included, against a dict of what is held."""

    places = Bundle("places")

    @initialize(slots=st.integers(1, 4))
    def start(self, slots: int) -> None:
        self.folder = TemporaryDirectory()
        self.directory = Path(self.folder.name)
        self.slots = slots
        self.writer = RingWriter.create(NAME, slots, 192, self.directory)
        self.readers = [RingReader.attach(NAME, self.directory) for _ in range(2)]
        self.pixels: dict[RingPlace, NDArray[np.uint8]] = {}
        self.held: dict[RingPlace, int] = {}
        self.seq = 0

    @rule(target=places, height=st.integers(1, 8), width=st.integers(1, 8))
    def write(self, height: int, width: int) -> object:
        self.seq += 1
        pixels = picture(self.seq, height, width)
        place = self.writer.write(pixels, self.seq)
        assert (place is None) == (len(self.held) == self.slots)
        if place is None:
            return multiple()
        assert place not in self.pixels
        self.pixels[place] = pixels
        self.held[place] = self.seq
        return place

    @rule(place=places, worker=st.integers(0, 1))
    def read(self, place: RingPlace, worker: int) -> None:
        shape = self.pixels[place].shape[:2]
        try:
            pixels = self.readers[worker].read(place, (shape[0], shape[1]))
        except RingStale:
            assert place not in self.held
        else:
            assert np.array_equal(pixels, self.pixels[place])

    @rule(place=places, worker=st.integers(0, 1))
    def release(self, place: RingPlace, worker: int) -> None:
        self.readers[worker].release(place)
        self.held.pop(place, None)

    @rule(place=consumes(places))
    def shed(self, place: RingPlace) -> None:
        self.writer.release(place)
        self.held.pop(place, None)

    @rule(torn=st.integers(0, 3))
    def kill_the_camera(self, torn: int) -> None:
        """Before a frame, or in the middle of writing a free slot."""
        words = self.writer._segment.words
        if torn < self.slots and torn not in {place.slot for place in self.held}:
            words[torn, GENERATION] += 1
            self.writer._segment.pixels[torn] = 0
        self.writer.leave()
        self.writer = RingWriter.create(NAME, self.slots, 192, self.directory)

    @rule(worker=st.integers(0, 1))
    def kill_a_worker(self, worker: int) -> None:
        self.readers[worker].close()
        self.readers[worker] = RingReader.attach(NAME, self.directory)

    @invariant()
    def what_is_held_is_known(self) -> None:
        if hasattr(self, "writer"):
            assert self.writer.holds() == self.held

    def teardown(self) -> None:
        if hasattr(self, "writer"):
            for reader in self.readers:
                reader.close()
            self.writer.close()
            self.folder.cleanup()


RingModel.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestRingAgreesWithItsModel = RingModel.TestCase
