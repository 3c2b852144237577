"""Entries of the frame stream -> frames with pixels. Nothing that comes in is trusted."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.codecs import Codec, decode_pixels
from pipeline.errors import RingStale, UnreadableFrame, WrongSize
from pipeline.streams.frame_consumer import Entry
from pipeline.wire import FrameHeader, RingPlace, decode_frame_header

DEPARTED_KEPT_S = 60.0  # since its last frame: longer than frames wait
_log = logging.getLogger(__name__)


class Ring(Protocol):
    """What this module needs of a shared-memory ring."""

    def read(self, place: RingPlace, shape: tuple[int, int]) -> NDArray[np.uint8]:
        """Copy the pixels out."""
        ...

    def release(self, place: RingPlace) -> None:
        """Free the slot for the camera."""
        ...

    def is_departed(self) -> bool:
        """Return whether its camera has removed it."""
        ...

    def close(self) -> None:
        """Detach."""
        ...


class RingReaders:
    """The rings of the cameras that send frames to this process."""

    def __init__(
        self, attach: Callable[[str], Ring], clock_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._attach = attach
        self._clock_s = clock_s
        self._open: dict[str, Ring] = {}
        self._read_s: dict[str, float] = {}
        self._attaching = threading.Lock()

    def read(self, place: RingPlace, shape: tuple[int, int]) -> NDArray[np.uint8]:
        """Copy a frame out of its ring.

        Raises:
            RingStale: the slot was written again, or the ring is gone.
        """
        with self._attaching:
            ring = self._open.get(place.name)
            if ring is None:
                ring = self._open[place.name] = self._attach(place.name)
            self._read_s[place.name] = self._clock_s()
        return ring.read(place, shape)

    def release(self, place: RingPlace) -> None:
        """Free the slot once its frame is answered."""
        if ring := self._open.get(place.name):
            ring.release(place)

    def close_departed(self) -> None:
        """Close rings that their cameras have removed: open ones keep their memory.

        One that was removed by hand may still hold frames that wait, so it is kept for a while.
        """
        with self._attaching:
            until_s = self._clock_s() - DEPARTED_KEPT_S
            idle = [name for name, read_s in self._read_s.items() if read_s <= until_s]
            for name in idle:
                if self._open[name].is_departed():
                    self._open.pop(name).close()
                    del self._read_s[name]
                    _log.info("ring.departed", extra={"ring": name})

    def close(self) -> None:
        """Detach from all."""
        for ring in self._open.values():
            ring.close()
        self._open.clear()
        self._read_s.clear()


def decode_entry(
    entry: Entry, input_size: tuple[int, int], ring_readers: RingReaders
) -> tuple[FrameHeader, NDArray[np.uint8]]:
    """Read head and pixels of an entry, uint8 [H, W, 3] RGB of the engine's size.

    Raises:
        UnreadableFrame: foreign, truncated, or its ring slot is gone.
        WrongSize: of another size than the engine's.
    """
    header = decode_frame_header(entry.header)
    if header.shape != input_size:
        raise WrongSize(
            f"frame of {header.shape[0]}x{header.shape[1]}, the engine takes "
            f"{input_size[0]}x{input_size[1]} (height x width): set the camera's --size",
            header.shape,
        )
    if header.codec is Codec.RING:
        if header.ring is None:
            raise RingStale("a ring frame without its place in the ring")
        return header, ring_readers.read(header.ring, header.shape)
    if entry.payload is None:
        raise UnreadableFrame(f"a {header.codec} frame without payload")
    return header, decode_pixels(entry.payload, header.codec, header.shape)
