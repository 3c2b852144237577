"""Rings that cameras left: found, told apart from those in use, removed without harm to others."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.commands.doctor import check_rings, check_unlinked_rings
from pipeline.commands.machine_checks import CheckStatus
from pipeline.errors import RingStale
from pipeline.ring.files import UnlinkedRing, find_rings, find_unlinked_rings, remove_left_rings
from pipeline.ring.ring import RING_DIRECTORY, RingReader, RingWriter, ring_name
from pipeline.ring.segment import ring_bytes

BLACK = np.zeros((4, 4, 3), np.uint8)


def left_ring(name: str, directory: Path, frames: int) -> None:
    writer = RingWriter.create(name, 3, 48, directory)
    for seq in range(frames):
        writer.write(BLACK, seq)
    writer.leave()


def test_rings_are_listed_with_size_age_holder_and_frames(tmp_path: Path) -> None:
    left_ring("prn-gone", tmp_path, frames=2)
    writer = RingWriter.create("prn-lives", 3, 48, tmp_path)
    gone, lives = find_rings(tmp_path)
    assert (gone.name, gone.alive, gone.waiting) == ("prn-gone", False, 2)
    assert (lives.name, lives.alive, lives.waiting) == ("prn-lives", True, 0)
    assert gone.size_bytes == ring_bytes(3, 48)
    assert time.time() - 60 < gone.made_s <= time.time() + 1
    writer.close()


def test_looking_at_a_ring_does_not_keep_its_camera_from_it(tmp_path: Path) -> None:
    left_ring("prn-a", tmp_path, frames=1)
    find_rings(tmp_path)
    writer = RingWriter.create("prn-a", 3, 48, tmp_path)
    assert list(writer.holds().values()) == [0]
    assert [ring.alive for ring in find_rings(tmp_path)] == [True]
    writer.close()


def test_only_rings_without_a_camera_are_removed(tmp_path: Path) -> None:
    left_ring("prn-gone", tmp_path, frames=1)
    writer = RingWriter.create("prn-lives", 3, 48, tmp_path)
    assert [ring.name for ring in remove_left_rings(tmp_path)] == ["prn-gone"]
    assert [ring.name for ring in find_rings(tmp_path)] == ["prn-lives"]
    with pytest.raises(RingStale):
        RingReader.attach("prn-gone", tmp_path)
    place = writer.write(BLACK, 1)
    assert place is not None
    reader = RingReader.attach("prn-lives", tmp_path)
    assert np.array_equal(reader.read(place, (4, 4)), BLACK)
    reader.close()
    writer.close()


def test_worker_goes_on_reading_a_ring_that_is_removed_under_it(tmp_path: Path) -> None:
    writer = RingWriter.create("prn-a", 3, 48, tmp_path)
    place = writer.write(BLACK, 1)
    reader = RingReader.attach("prn-a", tmp_path)
    writer.leave()
    remove_left_rings(tmp_path)
    assert place is not None
    assert np.array_equal(reader.read(place, (4, 4)), BLACK)
    reader.close()


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    others = {
        "prn-no-ring": b"something else",
        "prn-empty": b"",
        "other": bytes(ring_bytes(3, 48)),
    }
    for name, content in others.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "prn-folder").mkdir()
    os.mkfifo(tmp_path / "prn-pipe")
    (tmp_path / "prn-link").symlink_to(tmp_path / "other")
    assert remove_left_rings(tmp_path) == find_rings(tmp_path) == []
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*others, "prn-folder", "prn-link", "prn-pipe"}


def test_machine_without_shared_memory_has_no_rings(tmp_path: Path) -> None:
    assert find_rings(tmp_path / "none") == remove_left_rings(tmp_path / "none") == []


def test_left_ring_wants_a_look_and_is_told_how_it_goes(tmp_path: Path) -> None:
    left_ring("prn-gone", tmp_path, frames=1)
    (ring,) = find_rings(tmp_path)
    (check,) = check_rings([], [ring], ring.made_s + 5400)
    assert check.state is CheckStatus.WARNING
    assert "prn-gone, 0.0 MB, 1.5 h old, 1 frames wait in it, no camera" in check.found
    assert "--remove-rings" in check.found
    (check,) = check_rings([ring], [], ring.made_s)
    assert check.state is CheckStatus.OK
    assert check.found.endswith("removed")


def test_closed_ring_gives_its_memory_back_although_a_worker_has_it_open(tmp_path: Path) -> None:
    directory = RING_DIRECTORY  # holes are freed where rings lie
    name = ring_name(f"test-{tmp_path.name}", "cam")
    writer = RingWriter.create(name, 4, 1 << 20)
    reader = RingReader.attach(name)
    used = (directory / name).stat().st_blocks * 512
    place = writer.write(np.ones((64, 64, 3), np.uint8), 1)
    assert place is not None
    reader.release(place)
    file = (directory / name).open("rb")
    writer.close()
    assert used > 4 << 20
    assert os.fstat(file.fileno()).st_blocks * 512 < 1 << 20
    file.close()
    reader.close()


def test_ring_that_is_closed_with_frames_in_it_keeps_them_for_its_workers(tmp_path: Path) -> None:
    name = ring_name(f"test-{tmp_path.name}", "cam")
    writer = RingWriter.create(name, 4, 1 << 20)
    reader = RingReader.attach(name)
    place = writer.write(np.ones((64, 64, 3), np.uint8), 1)
    assert place is not None
    writer.close()
    assert reader.read(place, (64, 64)).min() == 1
    unlinked = {ring.name: ring for ring in find_unlinked_rings()}
    assert unlinked[name].pids == (os.getpid(),)
    assert unlinked[name].size_bytes > 4 << 20
    reader.close()
    assert name not in {ring.name for ring in find_unlinked_rings()}


def test_only_the_named_rings_are_removed(tmp_path: Path) -> None:
    for name in ("prn-a", "prn-b"):
        RingWriter.create(name, 1, 64, tmp_path).leave()
    held = RingWriter.create("prn-c", 1, 64, tmp_path)
    removed = remove_left_rings(tmp_path, {"prn-b", "prn-c"})
    assert [ring.name for ring in removed] == ["prn-b"]
    assert [ring.name for ring in find_rings(tmp_path)] == ["prn-a", "prn-c"]
    held.close()


def test_removed_ring_that_still_takes_memory_is_named_with_its_process() -> None:
    (check,) = check_unlinked_rings([UnlinkedRing("prn-a", 24 << 20, (7, 8))])
    assert check.state is CheckStatus.WARNING
    assert "prn-a, 24.0 MB, removed but still open in process 7, 8" in check.found
