"""A watched folder: each picture is one part, once it is whole, in the order of arrival."""

import os
import struct
import time as time_of_day
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes.camera import FakeTime, values, write_flat
from hypothesis import given
from hypothesis import strategies as st
from inputs.odd_files import make_odd

from engines.pictures.read import decode_picture
from pipeline.camera.pace import FramePacer
from pipeline.camera.source import PartNames, Shot
from pipeline.camera.sources import folder_scan
from pipeline.camera.sources.folder_scan import FileStamp, FolderScan
from pipeline.camera.sources.taken_files import ProcessStore, TakenFile, TakenFiles
from pipeline.camera.sources.watched_folder import WatchedFolderSource
from pipeline.errors import CameraLost, SettingsError


class Dropping:
    """A watched folder, its time, and what somebody does in it meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.time = FakeTime()
        self.source = WatchedFolderSource(
            folder,
            FramePacer(None, self.time.clock, self.time.wait),
            self.time.clock,
            self.time.clock_ns,
            self.time.wait,
            PartNames("[0-9]+"),
        )

    def shots_within(self, seconds: float, cursor: str) -> list[Shot]:
        self.time.stop_at = self.time.now + seconds
        return list(self.source.shots(cursor))

    def after(self, seconds: float, action: Callable[[], object]) -> None:
        """Plan what somebody does while the folder is watched."""
        self.time.plans.append((self.time.now + seconds, action))


def drop(path: Path, value: int, written_at: int = 5) -> None:
    """Write a picture with an old date, a moment after whatever was dropped before."""
    time_of_day.sleep(0.02)  # the kernel tells changes a tick apart
    write_flat(path, value)
    os.utime(path, (written_at, written_at))


def test_a_watched_folder_gives_each_picture_once_in_the_order_in_which_they_came(
    tmp_path: Path,
) -> None:
    dropping = Dropping(tmp_path)
    for value in (3, 1, 2):
        drop(tmp_path / f"{value}.png", value)
    shots = dropping.shots_within(2, "")
    assert values(iter(shots)) == [3, 1, 2]
    assert [shot.part_id for shot in shots] == ["3", "1", "2"]
    assert dropping.shots_within(2, shots[-1].cursor) == []
    drop(tmp_path / "0.png", 9)
    assert values(iter(dropping.shots_within(2, shots[-1].cursor))) == [9]


def test_a_watching_camera_that_was_killed_goes_on_after_its_last_shot(tmp_path: Path) -> None:
    for value in (3, 1, 2):
        drop(tmp_path / f"{value}.png", value)
    first = Dropping(tmp_path).shots_within(2, "")[0]
    assert values(iter(Dropping(tmp_path).shots_within(2, first.cursor))) == [1, 2]


def test_a_picture_that_still_grows_waits_until_it_is_whole(tmp_path: Path) -> None:
    dropping = Dropping(tmp_path)
    write_flat(tmp_path / "whole.png", 5)
    content = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "whole.png").unlink()
    growing = tmp_path / "1.png"
    growing.write_bytes(content[:20])
    assert dropping.shots_within(0.25, "") == []
    growing.write_bytes(content[:40])
    assert dropping.shots_within(1.0, "") == []  # settled, but it may still be copied
    growing.write_bytes(content)
    assert values(iter(dropping.shots_within(1.0, ""))) == [5]


def test_a_picture_that_stays_damaged_is_a_part_without_picture_and_holds_up_nobody(
    tmp_path: Path,
) -> None:
    dropping = Dropping(tmp_path)
    (tmp_path / "1.png").write_bytes(b"damaged")
    write_flat(tmp_path / "2.png", 2)
    good, bad = dropping.shots_within(12, "")
    assert "1.png" in bad.unreadable
    assert bad.part_id == "1"
    assert good.pixels.max() == 2


def test_a_picture_that_is_written_over_is_a_new_part_and_one_whose_rights_change_is_not(
    tmp_path: Path,
) -> None:
    dropping = Dropping(tmp_path)
    write_flat(tmp_path / "latest.png", 1)
    assert values(iter(dropping.shots_within(2, ""))) == [1]
    (tmp_path / "latest.png").chmod(0o600)
    assert dropping.shots_within(2, "") == []
    drop(tmp_path / "latest.png", 2, written_at=6)
    assert values(iter(dropping.shots_within(2, ""))) == [2]


def test_a_renamed_in_picture_is_given(tmp_path: Path) -> None:
    folder = tmp_path / "watched"
    folder.mkdir()
    dropping = Dropping(folder)
    drop(tmp_path / "old.png", 4)
    drop(folder / "1.png", 1)
    shots = dropping.shots_within(2, "")
    time_of_day.sleep(0.02)
    (tmp_path / "old.png").rename(folder / "old.png")
    assert values(iter(dropping.shots_within(2, shots[-1].cursor))) == [4]


def test_a_watched_folder_that_vanishes_is_a_lost_camera(tmp_path: Path) -> None:
    folder = tmp_path / "watched"
    folder.mkdir()
    dropping = Dropping(folder)
    assert dropping.shots_within(1, "") == []
    folder.rmdir()
    with pytest.raises(CameraLost, match="gone"):
        dropping.shots_within(1, "")
    folder.mkdir()
    write_flat(folder / "1.png", 1)
    assert values(iter(dropping.shots_within(2, ""))) == [1]


@pytest.mark.parametrize("cursor", ["x", "x/y", "7"])
def test_a_cursor_of_another_source_is_refused_by_a_watched_folder(
    tmp_path: Path, cursor: str
) -> None:
    with pytest.raises(SettingsError, match="cursor"):
        Dropping(tmp_path).shots_within(1, cursor)


def bmp(value: int, *, black_rows: int = 0) -> bytes:
    pixels = np.full((64, 64, 3), value, np.uint8)
    pixels[:black_rows] = 0  # BMP begins with the lowest row, so these are the end of the file
    return cv2.imencode(".bmp", pixels)[1].tobytes()


def tiff_with_directory_first(value: int) -> bytes:
    strip = bytes([value]) * (64 * 64 * 3)
    entries = {256: 64, 257: 64, 258: 8, 259: 1, 262: 2, 273: 0, 277: 3, 278: 64, 279: len(strip)}
    depths_at = 8 + 2 + 12 * len(entries) + 4
    packed = b"II*\0" + struct.pack("<IH", 8, len(entries))
    for tag, number in entries.items():
        at = {258: depths_at, 273: depths_at + 6}.get(tag, number)
        packed += struct.pack("<HHII", tag, 3 if tag == 258 else 4, 3 if tag == 258 else 1, at)
    return packed + struct.pack("<I3H", 0, 8, 8, 8) + strip


def pictures() -> dict[str, bytes]:
    pixels = np.random.default_rng(1).integers(1, 255, (64, 64, 3), dtype=np.uint8)
    encoded = {
        suffix: cv2.imencode(suffix, pixels)[1].tobytes()
        for suffix in (".bmp", ".png", ".jpg", ".tif")
    }
    return {**encoded, ".tiff": tiff_with_directory_first(9)}


@pytest.fixture(params=["watched", "polled"])
def watching(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Dropping:
    """A folder on a local file system, and one on a network share."""
    if request.param == "polled":
        monkeypatch.setattr(folder_scan, "network_file_system", lambda _: "cifs")
    return Dropping(tmp_path)


@pytest.mark.parametrize("suffix", pictures())
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("sized_first", [True, False])
@pytest.mark.parametrize("restarted", [True, False])
def test_half_copied_picture_is_judged_once_and_whole(
    watching: Dropping, suffix: str, share: float, *, sized_first: bool, restarted: bool
) -> None:
    content = pictures()[suffix]
    begun = int(len(content) * share)
    with (watching.folder / f"1{suffix}").open("wb") as file:

        def begin() -> None:
            if sized_first:
                file.truncate(len(content))
            file.write(content[:begun])
            file.flush()

        def finish() -> None:
            file.write(content[begun:])
            file.close()

        if restarted:  # then nobody saw the copy begin
            begin()
            assert watching.shots_within(6, "") == []
            finish()
        else:
            watching.after(1, begin)
            watching.after(7, finish)
        (shot,) = watching.shots_within(9, "")
    assert shot.unreadable == ""
    assert np.array_equal(shot.pixels, decode_picture(content, "whole"))
    assert watching.shots_within(20, shot.cursor) == []


@pytest.mark.parametrize("fill", [0, 77])
def test_copy_that_stalls_in_a_file_full_of_other_bytes_waits_for_its_writer(
    tmp_path: Path, fill: int
) -> None:
    """Only the kernel can tell: the file has its size, its date is old, and it decodes."""
    content = pictures()[".bmp"]
    dropping = Dropping(tmp_path)
    with (tmp_path / "1.bmp").open("wb") as file:

        def begin() -> None:
            file.write(content[:6000] + bytes([fill]) * (len(content) - 6000))
            file.flush()

        def finish() -> None:
            file.seek(6000)
            file.write(content[6000:])
            file.close()

        dropping.after(1, begin)
        dropping.after(7, finish)
        (shot,) = dropping.shots_within(9, "")
    assert np.array_equal(shot.pixels, decode_picture(content, "whole"))


def test_black_picture_of_which_nothing_is_known_is_judged_when_patience_ends(
    watching: Dropping,
) -> None:
    (watching.folder / "1.bmp").write_bytes(bmp(9, black_rows=60))
    (shot,) = watching.shots_within(12, "")
    assert shot.unreadable == ""
    assert shot.pixels.max() == 9


def test_black_picture_that_its_writer_closed_is_judged_at_once(tmp_path: Path) -> None:
    dropping = Dropping(tmp_path)
    black = bmp(9, black_rows=60)
    dropping.after(0.5, lambda: (tmp_path / "1.bmp").write_bytes(black))
    assert len(dropping.shots_within(1.5, "")) == 1


def test_picture_that_is_never_finished_is_unreadable_and_has_one_verdict_when_it_is(
    watching: Dropping, caplog: pytest.LogCaptureFixture
) -> None:
    content = pictures()[".bmp"]
    assert watching.shots_within(1, "") == []
    with (watching.folder / "1.bmp").open("wb") as file:
        file.truncate(len(content))
        file.write(content[:6000])
        file.flush()
        (shot,) = watching.shots_within(12, "")
        assert "never written" in shot.unreadable
        file.write(content[6000:9000])
        file.flush()
        assert watching.shots_within(12, shot.cursor) == []
        file.write(content[9000:])
    assert watching.shots_within(12, shot.cursor) == []
    assert "picture.late" in [record.message for record in caplog.records]
    drop(watching.folder / "1.bmp", 7)
    assert values(watching.shots_within(2, shot.cursor)) == [7]


def test_date_that_is_set_afterwards_makes_no_new_part(watching: Dropping) -> None:
    drop(watching.folder / "1.png", 5)
    (shot,) = watching.shots_within(2, "")
    os.utime(watching.folder / "1.png", (9, 9))
    assert watching.shots_within(12, shot.cursor) == []
    assert Dropping(watching.folder).shots_within(12, shot.cursor) == []


def test_new_pictures_are_taken_when_the_clock_of_the_file_server_steps_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder's first files are an hour ahead, the camera is started again."""
    ahead_ns = 3600 * 10**9
    real = FolderScan._stamp

    def stamp(self: FolderScan, name: str) -> FileStamp | None:
        found = real(self, name)
        if found is None or not name.startswith("ahead"):
            return found
        return replace(found, changed_ns=found.changed_ns + ahead_ns)

    monkeypatch.setattr(FolderScan, "_stamp", stamp)
    for value in (1, 2):
        drop(tmp_path / f"ahead{value}.png", value)
    *_, last = Dropping(tmp_path).shots_within(2, "")
    for value in (3, 4, 5):
        drop(tmp_path / f"{value}.png", value)
    shots = Dropping(tmp_path).shots_within(2, last.cursor)
    assert values(shots) == [3, 4, 5]
    assert Dropping(tmp_path).shots_within(2, shots[-1].cursor) == []


def test_cursor_of_an_older_release_still_tells_what_was_taken(tmp_path: Path) -> None:
    for value in (1, 2, 3):
        drop(tmp_path / f"{value}.png", value)
    cursor = f"{(tmp_path / '2.png').stat().st_ctime_ns}/2.png"
    (shot,) = Dropping(tmp_path).shots_within(2, cursor)
    assert int(shot.pixels.max()) == 3
    assert Dropping(tmp_path).shots_within(2, shot.cursor) == []


@given(killed_after=st.lists(st.integers(1, 400), min_size=1, max_size=6))
def test_killed_camera_takes_nothing_twice_and_misses_nothing_over_checkpoints(
    killed_after: list[int],
) -> None:
    names = [f"{number}.png" for number in range(sum(killed_after))]
    store, cursor, offered = ProcessStore(), "", []
    for admitted in killed_after:
        memory = TakenFiles(store)
        memory.restore(cursor)
        new = [name for name in names if memory.find(name) is None]
        for name in new[:admitted]:
            cursor = memory.add(name, TakenFile(1, 2), names)
            offered.append(name)
        memory.add("never-admitted.png", TakenFile(1, 2), names)  # the kill comes before the offer
    assert offered == names


def test_records_of_files_that_are_gone_are_forgotten_but_for_the_last() -> None:
    store = ProcessStore()
    memory = TakenFiles(store)
    for number in range(11_000):
        memory.add(f"{number}.png", TakenFile(1, 2), [])
    assert memory.find("0.png") is None
    assert memory.find("10999.png") is not None


def test_memory_that_redis_lost_is_said() -> None:
    memory = TakenFiles(ProcessStore())
    with pytest.raises(SettingsError, match="checkpoint 3"):
        memory.restore("taken:3:")


@pytest.mark.parametrize("kind", ["fifo", "loop"])
def test_what_is_no_file_is_a_part_without_picture_and_stops_nobody(
    tmp_path: Path, kind: str
) -> None:
    drop(tmp_path / "1.png", 1)
    time_of_day.sleep(0.02)
    make_odd(kind, tmp_path / "2.png")
    drop(tmp_path / "3.png", 3)
    shots = Dropping(tmp_path).shots_within(9, "")
    assert [shot.part_id for shot in shots] == ["1", "2", "3"]
    assert [bool(shot.unreadable) for shot in shots] == [False, True, False]


@pytest.mark.parametrize("target", ["/dev/zero", "/dev/full"])
def test_link_to_an_endless_device_is_never_read(tmp_path: Path, target: str) -> None:
    make_odd(target, tmp_path / "2.png")
    drop(tmp_path / "3.png", 3)
    shots = Dropping(tmp_path).shots_within(9, "")
    assert [shot.unreadable.rpartition(": ")[2] for shot in shots][-1:] == [""]
    assert all("not a regular file" in shot.unreadable for shot in shots[:-1])
    assert len(shots) == 2


def test_look_at_a_full_folder_touches_only_what_is_new(
    watching: Dropping, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(200):
        (watching.folder / f"{number}.png").write_bytes(b"old")
    scan = FolderScan(watching.folder, watching.time.clock)
    assert len(scan.look(set())) == 200
    stamped: list[str] = []
    real = FolderScan._stamp

    def stamp(self: FolderScan, name: str) -> FileStamp | None:
        stamped.append(name)
        return real(self, name)

    monkeypatch.setattr(FolderScan, "_stamp", stamp)
    (watching.folder / "new.png").write_bytes(b"new")
    assert scan.look(set()) == {"new.png"}
    assert stamped == ["new.png"]
    watching.time.now += 3
    assert scan.look(set()) == set()
    scan.close()


def test_picture_in_a_new_subfolder_is_taken(watching: Dropping) -> None:
    assert watching.shots_within(1, "") == []
    drop(watching.folder / "a" / "b" / "1.png", 4)
    assert values(watching.shots_within(8, "")) == [4]


@pytest.mark.parametrize(
    ("kind", "network"), [("ext4", ""), ("nfs4", "nfs4"), ("cifs", "cifs"), ("overlay", "")]
)
def test_kind_of_file_system_is_that_of_the_nearest_mount(
    tmp_path: Path, kind: str, network: str
) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        f"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 0:9 / {tmp_path} rw shared:1 - {kind} x rw\n"
    )
    assert folder_scan.network_file_system(tmp_path, mounts) == network
