"""The file behind a frame ring: layout, making, taking over, mapping.

    offset 0                 header, 64 bytes: magic, version, slots, slot bytes  (uint64 each)
    offset 64                per slot 64 bytes: generation, released, length, seq  (uint64 each)
    next multiple of 4096    the slots, each a multiple of 64 bytes

It is a file in /dev/shm and not a `multiprocessing.shared_memory` segment: that one's resource
tracker unlinks what merely attached processes hold when they exit (Python < 3.13), and it hides the
descriptor that reserving and locking need.
"""

import contextlib
import errno
import mmap
import os
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.files import locked, try_lock, unlock, wait_for_lock
from pipeline.errors import RingStale, SettingsError, UnreadableFrame
from pipeline.wire import RingPlace

MAX_RING_BYTES = 16 << 30
MAX_SLOTS = 1 << 16
GENERATION, RELEASED, LENGTH, SEQ = range(4)  # the words of a slot's header
_MAGIC = int.from_bytes(b"PRNRING\0", "little")
_VERSION = 1
_HEADER_BYTES = 64
_HEADER_WORDS = 4
_SLOT_WORDS = 8
_WORD_BYTES = 8
_PAGE_BYTES = 4096
_Words = NDArray[np.uint64]
_Bytes = NDArray[np.uint8]


def ring_bytes(slots: int, slot_bytes: int) -> int:
    """How much shared memory a ring takes."""
    return _pixels_offset(slots) + slots * _up_to(slot_bytes, 64)


def _up_to(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def _pixels_offset(slots: int) -> int:
    return _up_to(_HEADER_BYTES + slots * _SLOT_WORDS * 8, _PAGE_BYTES)


class Segment:
    """One mapping of a ring: owns the descriptor, its lock if it has one, and the map."""

    def __init__(self, descriptor: int, slots: int, slot_bytes: int) -> None:
        self.slots = slots
        self.slot_bytes = slot_bytes
        self._descriptor = descriptor
        self._map = mmap.mmap(descriptor, ring_bytes(slots, slot_bytes))
        words = np.frombuffer(self._map, np.uint64, slots * _SLOT_WORDS, _HEADER_BYTES)
        self.words: _Words = words.reshape(slots, _SLOT_WORDS)
        pixels = np.frombuffer(self._map, np.uint8, offset=_pixels_offset(slots))
        self.pixels: _Bytes = pixels.reshape(slots, -1)

    def generation(self, slot: int) -> int:
        """Which frame the slot holds; odd while it is written."""
        return int(self.words[slot, GENERATION])

    def holds(self, place: RingPlace) -> bool:
        """Return whether the slot still holds the frame of `place`."""
        return place.slot < self.slots and self.generation(place.slot) == place.generation

    def release(self, place: RingPlace) -> None:
        """Free the slot for the camera, unless it was written again already."""
        if self.holds(place):
            self.words[place.slot, RELEASED] = place.generation

    def free_pixels(self) -> None:
        """Free the memory of all pixels, whoever has the ring open; its size stays.

        A file that was cut short instead would end a worker that still maps it with SIGBUS.
        """
        start = _pixels_offset(self.slots)
        with contextlib.suppress(OSError):  # no holes here: freed with its last user
            self._map.madvise(mmap.MADV_REMOVE, start, len(self._map) - start)

    def is_at(self, path: Path) -> bool:
        """Return whether `path` still names this very file."""
        return path.stat().st_ino == os.fstat(self._descriptor).st_ino

    def close(self) -> None:
        """Release the lock and the memory."""
        self.words = np.empty((0, _SLOT_WORDS), np.uint64)
        self.pixels = np.empty((0, 0), np.uint8)
        unlock(self._descriptor)
        os.close(self._descriptor)
        with contextlib.suppress(BufferError):  # a view lives on in a traceback: unmapped with it
            self._map.close()


class SegmentFile:
    """A ring as a worker uses it: read and written by system calls, never mapped.

    A camera may cut its file short at any time. Whoever touches a page that is gone is ended by
    SIGBUS; a read of it only comes up short. An aligned word changes as a whole in the kernel too.
    """

    def __init__(self, descriptor: int, slots: int, slot_bytes: int) -> None:
        self._descriptor = descriptor
        self._slots = slots
        self._stride = _up_to(slot_bytes, 64)
        self._pixels_offset = _pixels_offset(slots)

    @property
    def is_closed(self) -> bool:
        """Return whether it was let go."""
        return self._descriptor < 0

    def word(self, slot: int, word: int) -> int:
        """Return a word of a slot's header; 0 where the file ends before it."""
        packed = os.pread(self._descriptor, _WORD_BYTES, _word_offset(slot, word))
        return int.from_bytes(packed, sys.byteorder) if len(packed) == _WORD_BYTES else 0

    def holds(self, place: RingPlace) -> bool:
        """Return whether the slot still holds the frame of `place`."""
        if self.is_closed or place.slot >= self._slots:
            return False
        return self.word(place.slot, GENERATION) == place.generation

    def copy_pixels(self, slot: int, pixels: _Bytes) -> bool:
        """Fill `pixels` from a slot; False where the file ends before it."""
        offset = self._pixels_offset + slot * self._stride
        return os.preadv(self._descriptor, [pixels.reshape(-1).data], offset) == pixels.nbytes

    def release(self, place: RingPlace) -> None:
        """Free the slot for the camera, unless it was written again already."""
        if self.holds(place):
            packed = place.generation.to_bytes(_WORD_BYTES, sys.byteorder)
            os.pwrite(self._descriptor, packed, _word_offset(place.slot, RELEASED))

    def is_at(self, path: Path) -> bool:
        """Return whether `path` still names this very file."""
        return path.lstat().st_ino == os.fstat(self._descriptor).st_ino

    def close(self) -> None:
        """Close the file."""
        if not self.is_closed:
            os.close(self._descriptor)
            self._descriptor = -1


def _word_offset(slot: int, word: int) -> int:
    return _HEADER_BYTES + (slot * _SLOT_WORDS + word) * _WORD_BYTES


def attach(path: Path) -> SegmentFile:
    """Open the ring at `path`.

    Raises:
        RingStale: there is none.
        UnreadableFrame: a file that is no ring, or that this user may not open.
    """
    try:
        descriptor = _open(path)
    except FileNotFoundError as error:
        raise RingStale(f"no frame ring {path}: its camera is gone, or elsewhere") from error
    except OSError as error:
        raise UnreadableFrame(f"cannot open the frame ring {path}: {error.strerror}") from error
    geometry = read_geometry(descriptor)
    if geometry is None:
        os.close(descriptor)
        raise UnreadableFrame(f"{path} is no frame ring of version {_VERSION}")
    return SegmentFile(descriptor, *geometry)


def make_or_adopt(path: Path, slots: int, slot_bytes: int) -> Segment:
    """Map the ring at `path` as its only writer, made new unless one of the same sizes lies there.

    Raises:
        SettingsError: another writer holds it, sizes out of bounds, or no room.
    """
    _check_sizes(slots, slot_bytes)
    with directory_locked(path.parent):
        return _adopt(path, slots, slot_bytes) or _make(path, slots, slot_bytes)


def _open(path: Path) -> int:
    """Open a file that may be a ring; a FIFO or device is refused by `read_geometry`."""
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)


def read_geometry(descriptor: int) -> tuple[int, int] | None:
    """Return (slots, slot bytes), or None where the file is no whole ring of this version."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return None
    packed = os.pread(descriptor, _HEADER_WORDS * 8, 0)
    if len(packed) < _HEADER_WORDS * 8:
        return None
    magic, version, slots, slot_bytes = (int(word) for word in np.frombuffer(packed, np.uint64))
    if magic != _MAGIC or version != _VERSION or not 1 <= slots <= MAX_SLOTS or slot_bytes < 1:
        return None
    whole = ring_bytes(slots, slot_bytes)
    fits = whole <= MAX_RING_BYTES and os.fstat(descriptor).st_size == whole
    return (slots, slot_bytes) if fits else None


def count_waiting(descriptor: int, slots: int) -> int:
    """Count the frames of a ring that nobody has released, without mapping it."""
    packed = os.pread(descriptor, slots * _SLOT_WORDS * 8, _HEADER_BYTES)
    if len(packed) < slots * _SLOT_WORDS * 8:  # cut short since its size was looked at
        return 0
    words = np.frombuffer(packed, np.uint64).reshape(slots, _SLOT_WORDS)
    return int(np.count_nonzero(words[:, GENERATION] != words[:, RELEASED]))


def _check_sizes(slots: int, slot_bytes: int) -> None:
    asked = f"a ring of {slots} slots of {slot_bytes} bytes"
    if not 1 <= slots <= MAX_SLOTS or slot_bytes < 1:
        raise SettingsError(f"{asked}: 1 to {MAX_SLOTS} slots of at least 1 byte are possible")
    if (needed := ring_bytes(slots, slot_bytes)) > MAX_RING_BYTES:
        raise SettingsError(
            f"{asked} takes {needed >> 20} MiB, limit {MAX_RING_BYTES >> 20} MiB: lower --budget-mb"
        )


@contextlib.contextmanager
def directory_locked(directory: Path) -> Iterator[None]:
    """Keep two processes from making, taking over or removing a ring at the same moment.

    Raises:
        SettingsError: no such directory.
    """
    with contextlib.ExitStack() as held:
        try:
            if not directory.is_dir():
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            held.enter_context(locked(directory))
        except OSError as error:
            raise SettingsError(
                f"no shared memory at {directory} ({error.strerror}): "
                "send frames as raw, JPEG or PNG"
            ) from error
        yield


def _adopt(path: Path, slots: int, slot_bytes: int) -> Segment | None:
    """Take over what a killed camera left; unlink it where its sizes are others."""
    try:
        descriptor = _open(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError(f"cannot open the frame ring {path}: {error.strerror}") from error
    if not try_lock(descriptor):
        os.close(descriptor)
        raise SettingsError(
            f"a camera process already writes the frame ring {path}: "
            "stop it, or give this camera another name"
        )
    if read_geometry(descriptor) != (slots, slot_bytes):
        path.unlink()
        os.close(descriptor)
        return None
    segment = Segment(descriptor, slots, slot_bytes)
    _free_torn_slots(segment)
    return segment


def _free_torn_slots(segment: Segment) -> None:
    """Free the slot that the killed camera was writing: nobody was told its place."""
    for torn in np.flatnonzero(segment.words[:, GENERATION] % 2):
        generation = segment.generation(int(torn)) + 1
        segment.words[torn, RELEASED] = generation
        segment.words[torn, GENERATION] = generation


def _make(path: Path, slots: int, slot_bytes: int) -> Segment:
    """Make a ring without a name and name it when it is whole: nobody attaches to half of one."""
    descriptor = os.open(path.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        wait_for_lock(descriptor)  # nobody else can know this file yet
        _reserve(descriptor, slots, slot_bytes, path.parent)
        header = np.array([_MAGIC, _VERSION, slots, slot_bytes], np.uint64)
        os.pwrite(descriptor, header.tobytes(), 0)
        segment = Segment(descriptor, slots, slot_bytes)
        segment.words[:, [GENERATION, RELEASED]] = time.time_ns() & ~1
        # src_dir_fd, meaningless for an absolute path, is what makes Python follow the link.
        os.link(f"/proc/self/fd/{descriptor}", path, src_dir_fd=descriptor)
    except BaseException:
        os.close(descriptor)
        raise
    return segment


def _reserve(descriptor: int, slots: int, slot_bytes: int, directory: Path) -> None:
    """Claim every page now: a file that was only made long ends in SIGBUS when memory is full."""
    needed = ring_bytes(slots, slot_bytes)
    try:
        os.posix_fallocate(descriptor, 0, needed)
    except OSError as error:
        found = os.statvfs(directory)
        raise SettingsError(
            f"a ring of {slots} slots of {slot_bytes} bytes needs {_up_to(needed, 1 << 20) >> 20} "
            f"MiB in {directory}, {(found.f_bavail * found.f_frsize) >> 20} MiB are free "
            f"({error.strerror}): lower --budget-mb, or enlarge it: docker run --shm-size=256m "
            "(Docker gives 64 MB, and --budget-mb 64 needs a little more), in Compose a tmpfs "
            "volume or shm_size, in Kubernetes an emptyDir with medium Memory"
        ) from error
