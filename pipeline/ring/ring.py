"""Shared-memory frame ring between one camera process and the workers of the same machine.

A slot's generation is odd while it is written and rises by two with every frame (a seqlock). A slot
is free when its released generation equals its generation. Only the camera raises generations; a
worker releases by storing the generation that it read, so a late release of an older frame can
never free a newer one. At worst it hides a newer release, and the camera frees that slot by
`holds()`. A new ring's generations start from the clock, so no place of an older ring matches.

A camera that was killed leaves its ring behind; its successor goes on in it, with every frame that
waits for a worker still in place. The camera maps the file. A worker reads it by system calls, for
a map of a file that its owner cuts short would end the worker. Order of stores: x86 keeps it;
elsewhere the camera's copy of the pixels drops and retakes the interpreter lock, which is a fence,
the worker's system calls are fences too, and places travel by Redis.
"""

import contextlib
import hashlib
import re
import threading
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import RingStale, SettingsError, UnreadableFrame
from pipeline.ring.segment import (
    GENERATION,
    LENGTH,
    RELEASED,
    SEQ,
    Segment,
    SegmentFile,
    attach,
    make_or_adopt,
)
from pipeline.wire import RingPlace

RING_DIRECTORY = Path("/dev/shm")  # noqa: S108  # shared memory, not a place for temporary files
_MAX_PART_CHARS = 60
_NAME = re.compile(r"prn-[A-Za-z0-9_.-]{1,180}")


def ring_name(line: str, camera: str) -> str:
    """Name the ring of a camera; the hash keeps `a/b` and `a_b` apart."""
    parts = [re.sub(r"[^A-Za-z0-9_.]", "_", part)[:_MAX_PART_CHARS] for part in (line, camera)]
    digest = hashlib.sha256(f"{line}\0{camera}".encode()).hexdigest()[:8]
    return f"prn-{parts[0]}-{parts[1]}-{digest}"


def is_ring_name(name: str) -> bool:
    """Return whether a file of that name may be a ring."""
    return _NAME.fullmatch(name) is not None


def _check_name(name: str) -> None:
    if not is_ring_name(name):
        raise UnreadableFrame(f"{name!r:.80} is no name of a frame ring")


class RingWriter:
    """The camera's end. One process a name, kept by a lock that dies with the process."""

    def __init__(self, name: str, path: Path, segment: Segment) -> None:
        self.name = name
        self._path = path
        self._segment = segment
        self._next = 0

    @classmethod
    def create(
        cls, name: str, slots: int, slot_bytes: int, directory: Path = RING_DIRECTORY
    ) -> Self:
        """Make the ring, or go on in the one that a killed camera left.

        A left-over ring of other sizes is replaced: frames that wait in it become stale.

        Raises:
            SettingsError: a camera of this name runs, or there is no room in shared memory.
        """
        _check_name(name)
        path = directory / name
        return cls(name, path, make_or_adopt(path, slots, slot_bytes))

    def write(self, pixels: NDArray[np.uint8], seq: int) -> RingPlace | None:
        """Copy a picture into a free slot; None when every slot waits for a worker.

        Args:
            pixels: uint8 [H, W, 3].
            seq: the frame's number, given back by `holds`.

        Raises:
            SettingsError: the picture is larger than a slot.
        """
        segment = self._segment
        if pixels.nbytes > segment.slot_bytes:
            raise SettingsError(
                f"picture of {pixels.nbytes} bytes, ring slots have {segment.slot_bytes}: "
                "make the ring for the size that the camera sends"
            )
        slot = self._free_slot()
        if slot is None:
            return None
        words = segment.words[slot]
        generation = segment.generation(slot) + 2
        words[GENERATION] = generation - 1
        np.copyto(segment.pixels[slot, : pixels.nbytes].reshape(pixels.shape), pixels)
        words[LENGTH] = pixels.nbytes
        words[SEQ] = seq
        words[GENERATION] = generation
        self._next = (slot + 1) % segment.slots
        return RingPlace(self.name, slot, generation)

    def _free_slot(self) -> int | None:
        words = self._segment.words
        if words[self._next, GENERATION] == words[self._next, RELEASED]:
            return self._next
        free = np.flatnonzero(words[:, GENERATION] == words[:, RELEASED])
        return int(free[0]) if free.size else None

    def release(self, place: RingPlace) -> None:
        """Free a slot whose frame needs no worker any more: shed, refused or answered."""
        self._segment.release(place)

    def holds(self) -> dict[RingPlace, int]:
        """Return every place that is not released, with its frame's seq.

        Those of a killed predecessor are among them. A worker killed between publishing and
        releasing leaves its place held: ask Redis which seqs are answered, and release those.
        """
        words = self._segment.words
        held = np.flatnonzero(words[:, GENERATION] != words[:, RELEASED]).tolist()
        return {
            RingPlace(self.name, slot, self._segment.generation(slot)): int(words[slot, SEQ])
            for slot in held
        }

    def leave(self) -> None:
        """Detach from the ring but keep it, with the frames that wait in it."""
        self._segment.close()

    def close(self) -> None:
        """Unlink the ring and free its memory, which workers that have it open would keep.

        So close when `holds()` is empty, or `leave` the ring to the next camera of this name.
        """
        self._path.unlink(missing_ok=True)
        if not self.holds():
            self._segment.free_pixels()
        self._segment.close()


class RingReader:
    """A worker's end: any number of processes, any of which may be killed at any time.

    Its threads may share it: one may go over to a newer ring while another gives a slot back.
    """

    def __init__(self, name: str, path: Path, segment: SegmentFile) -> None:
        self.name = name
        self._path = path
        self._segment = segment
        self._using = threading.Lock()

    @classmethod
    def attach(cls, name: str, directory: Path = RING_DIRECTORY) -> Self:
        """Open the ring of that name.

        Raises:
            RingStale: there is none (the camera is gone, or on another machine).
            UnreadableFrame: no name of a ring, or a file that is none.
        """
        _check_name(name)
        path = directory / name
        return cls(name, path, attach(path))

    def read(self, place: RingPlace, shape: tuple[int, int]) -> NDArray[np.uint8]:
        """Copy the picture at `place`: uint8 [H, W, 3] of `shape` (height, width), the caller's.

        Raises:
            RingStale: the slot was freed and written again.
            UnreadableFrame: the shape does not fit what lies there.
        """
        with self._using:
            return self._read(place, shape)

    def _read(self, place: RingPlace, shape: tuple[int, int]) -> NDArray[np.uint8]:
        if not self._segment.holds(place):
            self._follow()
        self._check_holds(place)
        length = shape[0] * shape[1] * 3
        if length < 1 or length != self._segment.word(place.slot, LENGTH):
            raise UnreadableFrame(
                f"slot {place.slot} of ring {self.name} does not hold {shape[0]}x{shape[1]} pixels"
            )
        pixels = np.empty((*shape, 3), np.uint8)
        if not self._segment.copy_pixels(place.slot, pixels):
            raise RingStale(f"ring {self.name} was cut short by its camera")
        self._check_holds(place)
        return pixels

    def _check_holds(self, place: RingPlace) -> None:
        if not self._segment.holds(place):
            raise RingStale(f"slot {place.slot} of ring {self.name} was freed and written again")

    def _follow(self) -> None:
        """Open the ring that has taken this one's name since, if one has."""
        if self._segment.is_closed:
            return
        with contextlib.suppress(FileNotFoundError, RingStale):
            if not self._segment.is_at(self._path):
                newer = attach(self._path)
                self._segment.close()
                self._segment = newer

    def release(self, place: RingPlace) -> None:
        """Free the slot once the verdict is published; of no effect on a newer frame."""
        with self._using:
            self._segment.release(place)

    def is_departed(self) -> bool:
        """Return whether its camera has removed it: no new frame can come in it."""
        with self._using:
            try:
                return self._segment.is_closed or not self._segment.is_at(self._path)
            except FileNotFoundError:
                return True

    def close(self) -> None:
        """Detach from the ring; it stays for the others."""
        with self._using:
            self._segment.close()
