"""A watched folder: each picture is one part, once it is whole, in the order of arrival."""

import os
import time as time_of_day
from pathlib import Path

import pytest
from fakes.camera import FakeTime, values, write_flat
from fakes.odd_files import make_odd

from pipeline.camera.pace import FramePacer
from pipeline.camera.source import PartNames, Shot
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


def test_a_picture_that_stays_damaged_is_a_part_without_picture_and_holds_up_nobody_for_long(
    tmp_path: Path,
) -> None:
    dropping = Dropping(tmp_path)
    (tmp_path / "1.png").write_bytes(b"damaged")
    write_flat(tmp_path / "2.png", 2)
    bad, good = dropping.shots_within(5, "")
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
