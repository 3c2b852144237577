"""The frame ring: no place ever gives another frame's pixels, and no slot is lost."""

import contextlib
import os
import resource
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from inputs.odd_files import make_odd
from numpy.typing import NDArray

from pipeline.errors import RingStale, SettingsError, UnreadableFrame
from pipeline.ring.ring import RingReader, RingWriter, ring_name
from pipeline.ring.segment import GENERATION, SegmentFile, ring_bytes
from pipeline.wire import RingPlace

NAME = "prn-test"


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[tuple[RingWriter, RingReader]]:
    writer = RingWriter.create(NAME, 3, 48, tmp_path)
    reader = RingReader.attach(NAME, tmp_path)
    yield writer, reader
    reader.close()
    writer.close()


def picture(seed: int, height: int = 4, width: int = 4) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def written(writer: RingWriter, pixels: NDArray[np.uint8], seq: int = 1) -> RingPlace:
    place = writer.write(pixels, seq)
    assert place is not None
    return place


@pytest.mark.parametrize(("height", "width"), [(4, 4), (1, 1), (1, 16), (16, 1), (3, 5)])
def test_what_is_written_is_read(
    ring: tuple[RingWriter, RingReader], height: int, width: int
) -> None:
    writer, reader = ring
    pixels = picture(height, height, width)
    assert np.array_equal(reader.read(written(writer, pixels), (height, width)), pixels)


def test_the_copy_belongs_to_the_caller(ring: tuple[RingWriter, RingReader]) -> None:
    writer, reader = ring
    place = written(writer, picture(1))
    pixels = reader.read(place, (4, 4))
    for seq in range(6):
        for held in writer.holds():
            reader.release(held)
        written(writer, picture(seq + 2))
    assert np.array_equal(pixels, picture(1))


def test_a_view_with_gaps_is_written_whole(ring: tuple[RingWriter, RingReader]) -> None:
    writer, reader = ring
    wide = picture(3, 4, 8)
    assert np.array_equal(reader.read(written(writer, wide[:, ::2]), (4, 4)), wide[:, ::2])


def test_a_full_ring_takes_nothing_until_a_worker_releases(
    ring: tuple[RingWriter, RingReader],
) -> None:
    writer, reader = ring
    places = [written(writer, picture(seq), seq) for seq in range(3)]
    assert writer.write(picture(9), 9) is None
    assert writer.holds() == {place: seq for seq, place in enumerate(places)}
    reader.release(places[1])
    assert written(writer, picture(9), 9).slot == places[1].slot
    assert writer.holds() == {
        places[0]: 0,
        places[2]: 2,
        replace(places[1], generation=places[1].generation + 2): 9,
    }


def test_a_place_whose_slot_was_written_again_is_stale(ring: tuple[RingWriter, RingReader]) -> None:
    writer, reader = ring
    old = written(writer, picture(1))
    writer.release(old)
    for seq in range(3):
        written(writer, picture(seq))
    with pytest.raises(RingStale, match="written again"):
        reader.read(old, (4, 4))


def test_a_late_release_of_an_older_frame_frees_nothing(
    ring: tuple[RingWriter, RingReader],
) -> None:
    writer, reader = ring
    old = written(writer, picture(1))
    writer.release(old)
    for seq in range(3):
        written(writer, picture(seq))
    reader.release(old)
    assert len(writer.holds()) == 3


def test_a_slot_that_is_being_written_is_stale(ring: tuple[RingWriter, RingReader]) -> None:
    writer, reader = ring
    place = written(writer, picture(1))
    writer._segment.words[place.slot, GENERATION] += 1
    with pytest.raises(RingStale):
        reader.read(place, (4, 4))


class Interrupted:
    """A slot's memory; something happens whenever somebody is about to copy from or to it."""

    def __init__(self, pixels: NDArray[np.uint8], happens: Callable[[], object]) -> None:
        self.pixels = pixels
        self.happens = happens

    def __getitem__(self, key: tuple[int, slice]) -> NDArray[np.uint8]:
        self.happens()
        return np.asarray(self.pixels[key], np.uint8)


class Overtaken(SegmentFile):
    """A ring in which something happens whenever a worker is about to copy pixels."""

    def __init__(self, segment: SegmentFile, happens: Callable[[], object]) -> None:
        self.__dict__.update(segment.__dict__)
        self.happens = happens

    def copy_pixels(self, slot: int, pixels: NDArray[np.uint8]) -> bool:
        self.happens()
        return super().copy_pixels(slot, pixels)


def test_a_slot_that_is_written_while_it_is_read_is_stale(
    ring: tuple[RingWriter, RingReader],
) -> None:
    writer, reader = ring
    place = written(writer, picture(1))

    def overtake() -> None:
        writer.release(place)
        for seq in range(3):
            written(writer, picture(seq))

    reader._segment = Overtaken(reader._segment, overtake)
    with pytest.raises(RingStale):
        reader.read(place, (4, 4))


def test_nobody_reads_a_slot_from_the_moment_in_which_it_is_written(
    ring: tuple[RingWriter, RingReader],
) -> None:
    writer, reader = ring
    place = written(writer, picture(1))
    writer.release(place)
    for seq in range(2):
        written(writer, picture(seq))
    refused = []

    def look() -> None:
        with pytest.raises(RingStale):
            reader.read(place, (4, 4))
        refused.append(place)

    writer._segment.pixels = Interrupted(writer._segment.pixels, look)  # type: ignore[assignment]
    assert written(writer, picture(9)).slot == place.slot
    assert refused == [place]


@pytest.mark.parametrize("shape", [(4, 5), (1, 1), (1 << 20, 1 << 20), (0, 4)])
def test_a_shape_that_does_not_fit_the_frame_is_refused(
    ring: tuple[RingWriter, RingReader], shape: tuple[int, int]
) -> None:
    writer, reader = ring
    with pytest.raises(UnreadableFrame, match="does not hold"):
        reader.read(written(writer, picture(1)), shape)


def test_a_slot_outside_the_ring_is_stale(ring: tuple[RingWriter, RingReader]) -> None:
    writer, reader = ring
    place = replace(written(writer, picture(1)), slot=3)
    with pytest.raises(RingStale):
        reader.read(place, (4, 4))
    reader.release(place)


def test_a_picture_larger_than_a_slot_is_a_setting_to_mend(
    ring: tuple[RingWriter, RingReader],
) -> None:
    with pytest.raises(SettingsError, match="51 bytes, ring slots have 48"):
        ring[0].write(picture(1, 1, 17), 1)


def test_the_successor_of_a_killed_camera_keeps_the_frames_that_wait(tmp_path: Path) -> None:
    killed = RingWriter.create(NAME, 3, 48, tmp_path)
    place = written(killed, picture(1), 17)
    torn = written(killed, picture(2), 18)
    killed._segment.words[torn.slot, GENERATION] += 1
    killed.leave()
    writer = RingWriter.create(NAME, 3, 48, tmp_path)
    reader = RingReader.attach(NAME, tmp_path)
    assert writer.holds() == {place: 17}
    assert np.array_equal(reader.read(place, (4, 4)), picture(1))
    assert writer.write(picture(3), 19) is not None
    assert writer.write(picture(4), 20) is not None
    with pytest.raises(RingStale):
        reader.read(torn, (4, 4))
    reader.close()
    writer.close()


def test_a_ring_of_other_sizes_is_replaced_and_readers_follow(tmp_path: Path) -> None:
    killed = RingWriter.create(NAME, 3, 48, tmp_path)
    old = written(killed, picture(1))
    reader = RingReader.attach(NAME, tmp_path)
    killed.leave()
    writer = RingWriter.create(NAME, 2, 75, tmp_path)
    assert np.array_equal(reader.read(old, (4, 4)), picture(1))
    new = written(writer, picture(2, 5, 5))
    assert np.array_equal(reader.read(new, (5, 5)), picture(2, 5, 5))
    with pytest.raises(RingStale):
        reader.read(old, (4, 4))
    reader.close()
    writer.close()


def test_two_cameras_of_one_name_cannot_write_one_ring(tmp_path: Path) -> None:
    writer = RingWriter.create(NAME, 3, 48, tmp_path)
    with pytest.raises(SettingsError, match="already writes"):
        RingWriter.create(NAME, 3, 48, tmp_path)
    writer.close()


def test_a_closed_ring_leaves_nothing_behind(tmp_path: Path) -> None:
    RingWriter.create(NAME, 3, 48, tmp_path).close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(RingStale, match="camera is gone"):
        RingReader.attach(NAME, tmp_path)


def test_a_worker_reads_on_after_its_camera_has_closed_the_ring(tmp_path: Path) -> None:
    writer = RingWriter.create(NAME, 3, 48, tmp_path)
    reader = RingReader.attach(NAME, tmp_path)
    place = written(writer, picture(1))
    writer.close()
    assert np.array_equal(reader.read(place, (4, 4)), picture(1))
    with pytest.raises(RingStale):
        reader.read(replace(place, generation=place.generation + 2), (4, 4))
    reader.close()


def test_too_little_shared_memory_is_told_with_the_size_needed(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(SettingsError, match=r"needs 13 MiB .* MiB are free .*--shm-size"):
            RingWriter.create(NAME, 64, 196_608, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_the_memory_of_a_ring_is_there_from_the_start(tmp_path: Path) -> None:
    writer = RingWriter.create(NAME, 4, 1 << 20, tmp_path)
    stat = (tmp_path / NAME).stat()
    assert stat.st_size == ring_bytes(4, 1 << 20)
    assert stat.st_blocks * 512 >= stat.st_size
    assert stat.st_mode & 0o777 == 0o600
    writer.close()


@pytest.mark.parametrize(
    ("slots", "slot_bytes"), [(0, 48), (-1, 48), (1 << 17, 48), (3, 0), (1 << 16, 1 << 20)]
)
def test_impossible_sizes_are_refused(tmp_path: Path, slots: int, slot_bytes: int) -> None:
    with pytest.raises(SettingsError, match="slots of"):
        RingWriter.create(NAME, slots, slot_bytes, tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"PRNRING\0", b"\xff" * 8192, b"PRNRING\0" + b"\1" + b"\0" * 8000]
)
def test_a_file_that_is_no_ring_is_refused_by_workers_and_replaced_by_the_camera(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(UnreadableFrame, match="no frame ring"):
        RingReader.attach(NAME, tmp_path)
    writer = RingWriter.create(NAME, 3, 48, tmp_path)
    RingReader.attach(NAME, tmp_path).close()
    writer.close()


def test_a_truncated_ring_is_refused(tmp_path: Path) -> None:
    RingWriter.create(NAME, 3, 48, tmp_path).leave()
    os.truncate(tmp_path / NAME, 4000)
    with pytest.raises(UnreadableFrame):
        RingReader.attach(NAME, tmp_path)


@pytest.mark.parametrize("name", ["", "prn-", "../etc/passwd", "prn-a/b", "other", "prn-" * 99])
def test_a_name_from_the_wire_opens_nothing_but_rings(tmp_path: Path, name: str) -> None:
    with pytest.raises(UnreadableFrame, match="no name"):
        RingReader.attach(name, tmp_path)


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"precious")
    (tmp_path / NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingsError, match="cannot open"):
        RingWriter.create(NAME, 3, 48, tmp_path)
    assert (tmp_path / "elsewhere").read_bytes() == b"precious"


def test_names_are_safe_and_differ() -> None:
    pairs = [("a/b", "c"), ("a_b", "c"), ("a", "b-c"), ("a-b", "c"), ("Ä" * 300, ".."), ("", "")]
    names = {ring_name(line, camera) for line, camera in pairs}
    assert len(names) == len(pairs)
    assert all("/" not in name and len(name) < 200 for name in names)


def test_a_machine_without_shared_memory_is_told_what_else_works(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="raw, JPEG or PNG"):
        RingWriter.create(NAME, 3, 48, tmp_path / "none")


def test_no_read_is_torn_while_the_camera_writes_as_fast_as_it_can(tmp_path: Path) -> None:
    """Frames of one value each; a mixed frame would have come through torn."""
    side = 1024  # so large that copies drop the interpreter lock
    writer = RingWriter.create(NAME, 2, side * side * 3, tmp_path)
    reader = RingReader.attach(NAME, tmp_path)
    newest: list[RingPlace] = [written(writer, np.zeros((side, side, 3), np.uint8))]
    stop = threading.Event()

    def write_on() -> None:
        value = 0
        while not stop.is_set():
            value = (value + 1) % 256
            writer.release(newest[0])
            newest[0] = written(writer, np.full((side, side, 3), value, np.uint8), value)

    camera = threading.Thread(target=write_on)
    camera.start()
    seen = 0
    try:
        for _ in range(200):
            try:
                pixels = reader.read(newest[0], (side, side))
            except RingStale:
                continue
            assert pixels.min() == pixels.max()
            seen += 1
    finally:
        stop.set()
        camera.join()
        reader.close()
        writer.close()
    assert seen > 0


def test_a_ring_may_be_replaced_while_threads_read_and_release(tmp_path: Path) -> None:
    """As in a worker: its reader follows to the new ring while its writer releases in the old."""
    writer = RingWriter.create(NAME, 2, 48, tmp_path)
    reader = RingReader.attach(NAME, tmp_path)
    place = written(writer, picture(0))
    ended = threading.Event()
    failures: list[BaseException] = []

    def release() -> None:
        try:
            while not ended.is_set():
                reader.release(place)
                with contextlib.suppress(RingStale):
                    reader.read(place, (4, 4))
        except BaseException as error:  # noqa: BLE001  # a thread's edge
            failures.append(error)

    threads = [threading.Thread(target=release) for _ in range(2)]
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    for thread in threads:
        thread.start()
    try:
        for seq in range(300):
            writer.close()
            writer = RingWriter.create(NAME, 2, 48, tmp_path)
            pixels = picture(seq)
            assert np.array_equal(reader.read(written(writer, pixels), (4, 4)), pixels)
    finally:
        sys.setswitchinterval(before_s)
        ended.set()
        for thread in threads:
            thread.join()
        reader.close()
        writer.close()
    assert failures == []


@pytest.mark.parametrize("left", [0, 8, 64, 100, 4096, 4100])
def test_a_ring_that_its_camera_cuts_short_ends_no_worker(tmp_path: Path, left: int) -> None:
    writer = RingWriter.create(NAME, 3, 6000, tmp_path)
    reader = RingReader.attach(NAME, tmp_path)
    places = [written(writer, picture(seq, 40, 50), seq) for seq in range(3)]
    os.truncate(tmp_path / NAME, left)
    for place in places:
        with pytest.raises(UnreadableFrame):
            reader.read(place, (40, 50))
        reader.release(place)
    reader.close()


@pytest.mark.parametrize("kind", ["fifo", "folder", "loop", "/dev/zero", "/dev/null"])
def test_what_is_no_ring_file_holds_no_worker_up(tmp_path: Path, kind: str) -> None:
    make_odd(kind, tmp_path / NAME)
    with pytest.raises(UnreadableFrame):
        RingReader.attach(NAME, tmp_path)


def test_a_reader_knows_when_its_ring_was_removed_or_replaced(
    ring: tuple[RingWriter, RingReader], tmp_path: Path
) -> None:
    writer, reader = ring
    assert not reader.is_departed()
    (tmp_path / NAME).unlink()
    assert reader.is_departed()
    with contextlib.closing(RingWriter.create(NAME, 4, 48, tmp_path)):
        assert reader.is_departed()
    assert writer.holds() == {}


def test_a_reader_that_was_closed_says_stale(ring: tuple[RingWriter, RingReader]) -> None:
    writer, reader = ring
    place = written(writer, picture(1))
    reader.close()
    with pytest.raises(RingStale):
        reader.read(place, (4, 4))
    reader.release(place)
    assert reader.is_departed()
