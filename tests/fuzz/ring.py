"""Damaged ring files: read or refused, whatever is cut off meanwhile."""

import struct
import sys
import tempfile
from contextlib import closing, suppress
from pathlib import Path

import numpy as np

from fuzz.mutation import run_target
from pipeline.errors import SettingsError, UnreadableFrame
from pipeline.ring.files import find_rings
from pipeline.ring.ring import RingReader, RingWriter
from pipeline.wire import RingPlace

NAME = "prn-fuzzed"
SLOTS, SIDE = 3, 8
SLOT_BYTES = SIDE * SIDE * 3
_TEMPORARY = tempfile.TemporaryDirectory(prefix="fuzz-ring-")
FOLDER = Path(_TEMPORARY.name)
WORDS = [struct.pack("<Q", word) for word in (0, 1, SLOTS, SLOTS + 1, SLOT_BYTES, 1 << 16, 1 << 34)]
WORDS += [b"PRNRING\0", b"\xff" * 8]
PLACES: list[RingPlace] = []


def corpus() -> list[bytes]:
    """Rings with some frames in them."""
    rings = []
    for frames in range(SLOTS + 1):
        writer = RingWriter.create(NAME, SLOTS, SLOT_BYTES, FOLDER)
        for seq in range(frames):
            place = writer.write(np.full((SIDE, SIDE, 3), seq, np.uint8), seq)
            assert place is not None
            PLACES.append(place)
        rings.append((FOLDER / NAME).read_bytes())
        writer.close()
    return rings


def check(content: bytes) -> None:
    """Use the content as a ring: whole, and cut while it is open."""
    path = FOLDER / NAME
    path.write_bytes(content)
    assert all(ring.name == NAME for ring in find_rings(FOLDER))
    with suppress(UnreadableFrame), closing(RingReader.attach(NAME, FOLDER)) as reader:
        for left in (len(content), len(content) // 2, 70, 0):
            with path.open("r+b") as file:
                file.truncate(left)
            _use(reader)
    path.write_bytes(content)
    with suppress(SettingsError):
        writer = RingWriter.create(NAME, SLOTS, SLOT_BYTES, FOLDER)
        for place in writer.holds():
            writer.release(place)
        assert writer.write(np.zeros((SIDE, SIDE, 3), np.uint8), 1) is not None
        writer.close()


def _use(reader: RingReader) -> None:
    for place in PLACES:
        with suppress(UnreadableFrame):
            assert reader.read(place, (SIDE, SIDE)).shape == (SIDE, SIDE, 3)
        reader.release(place)


if __name__ == "__main__":
    with _TEMPORARY:
        sys.exit(run_target(check, corpus(), WORDS, __doc__))
