"""The rings that a worker holds open: those of cameras that are there, and no others."""

import numpy as np
from numpy.typing import NDArray

from pipeline.wire import RingPlace
from pipeline.worker.decode import DEPARTED_KEPT_S, RingReaders


class FakeRing:
    """A ring whose camera may depart."""

    def __init__(self) -> None:
        self.departed = False
        self.closed = False

    def read(self, place: RingPlace, shape: tuple[int, int]) -> NDArray[np.uint8]:
        assert not self.closed
        return np.full((*shape, 3), place.slot, np.uint8)

    def release(self, place: RingPlace) -> None:
        assert place.slot >= 0

    def is_departed(self) -> bool:
        return self.departed

    def close(self) -> None:
        self.closed = True


class Rig:
    """Readers with a clock of their own."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.rings: dict[str, list[FakeRing]] = {}
        self.readers = RingReaders(self.attach, lambda: self.now_s)

    def attach(self, name: str) -> FakeRing:
        ring = FakeRing()
        self.rings.setdefault(name, []).append(ring)
        return ring

    def read(self, name: str) -> None:
        self.readers.read(RingPlace(name, 0, 2), (1, 1))


def test_ring_of_a_departed_camera_is_let_go_after_a_while() -> None:
    rig = Rig()
    rig.read("prn-a")
    rig.read("prn-b")
    rig.rings["prn-a"][0].departed = True
    rig.readers.close_departed()
    assert not rig.rings["prn-a"][0].closed  # frames in it may still wait
    rig.now_s += DEPARTED_KEPT_S
    rig.readers.close_departed()
    assert rig.rings["prn-a"][0].closed
    assert not rig.rings["prn-b"][0].closed
    rig.readers.release(RingPlace("prn-a", 0, 2))


def test_ring_that_is_read_or_still_there_is_kept() -> None:
    rig = Rig()
    rig.read("prn-a")
    rig.read("prn-b")
    rig.rings["prn-a"][0].departed = True
    rig.now_s += DEPARTED_KEPT_S - 1
    rig.read("prn-a")
    rig.now_s += DEPARTED_KEPT_S - 1
    rig.readers.close_departed()
    assert [ring.closed for rings in rig.rings.values() for ring in rings] == [False, False]


def test_camera_that_comes_back_gets_its_ring_opened_again() -> None:
    rig = Rig()
    rig.read("prn-a")
    rig.rings["prn-a"][0].departed = True
    rig.now_s += DEPARTED_KEPT_S
    rig.readers.close_departed()
    rig.read("prn-a")
    assert len(rig.rings["prn-a"]) == 2
    rig.readers.close()
    assert [ring.closed for ring in rig.rings["prn-a"]] == [True, True]
