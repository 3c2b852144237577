import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from fakes.labels import FIRST_MS, archived, entry, names, store

from engines.files import locked
from pipeline.archive import Archive
from pipeline.errors import SettingsError

AGE_S = 1e9
NOW = FIRST_MS / 1e3 + 10_000


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path, "line-1")


def kept(archive: Archive) -> list[str]:
    return list(archive.entries())


def test_frame_is_found_as_it_was_stored(archive: Archive) -> None:
    frame = archived(entry())
    archive.store(frame, by_chance=False)
    found = archive.find(entry())
    assert found is not None
    assert np.array_equal(found.pixels, frame.pixels)
    assert found.verdict == json.loads(json.dumps(frame.verdict))
    assert names(archive.folder) == [f"{entry()}.json", f"{entry()}.png"]
    assert (archive.folder / "20251126T07" / f"{entry()}.png").is_file()


def test_entries_come_oldest_first_across_hours(archive: Archive) -> None:
    ids = [entry(), entry(number=2), entry(number=11), entry(61), entry(600)]
    for entry_id in reversed(ids):
        store(archive, entry_id)
    assert kept(archive) == ids


def test_frame_is_none_before_its_verdict_is_written(archive: Archive) -> None:
    store(archive, entry())
    (archive.folder / "20251126T07" / f"{entry()}.json").unlink()
    assert archive.find(entry()) is None
    assert kept(archive) == []


@pytest.mark.parametrize("foreign", ["", "7", "x-1", "../../etc-0", "1-1/..", "9" * 15 + "-0", "-"])
def test_no_text_leads_out_of_the_archive(archive: Archive, foreign: str) -> None:
    assert archive.find(foreign) is None
    assert not archive.pin(foreign)
    archive.unpin(foreign)
    with pytest.raises(SettingsError):
        Archive(archive.folder, "../line")


def test_frames_are_found_by_part_and_by_seq(archive: Archive) -> None:
    store(archive, entry(1), part="cup/1", seq=7)
    store(archive, entry(2), part="cup/1", seq=7, camera="top")
    assert archive.find_part("cup/1") == [entry(1), entry(2)]
    assert archive.find_seq("top", 7) == [entry(2)]
    store(archive, entry(0), part="cup/1", seq=8)  # another process wrote meanwhile
    assert archive.find_part("cup/1") == [entry(0), entry(1), entry(2)]
    archive.trim(0, AGE_S, NOW)
    assert archive.find_part("cup/1") == archive.find_seq("cam", 7) == []


def test_damaged_frame_is_logged_and_hurts_nobody(
    archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    for minute in range(4):
        store(archive, entry(minute))
    hour = archive.folder / "20251126T07"
    (hour / f"{entry(0)}.json").write_text("[" * 100_000)
    (hour / f"{entry(1)}.json").write_bytes((hour / f"{entry(2)}.json").read_bytes())
    (hour / f"{entry(2)}.png").write_bytes(b"no picture")
    (hour / "notes.txt").write_text("mine")
    assert [archive.find(entry(minute)) is None for minute in range(4)] == [True] * 3 + [False]
    assert [record.msg for record in caplog.records] == ["archive.damaged"] * 3
    assert archive.find_part("part-1") == [entry(2), entry(3)]
    archive.trim(0, AGE_S, NOW)
    assert names(archive.folder) == ["notes.txt"]


def test_frame_that_cannot_be_read_now_is_not_taken_for_expired(archive: Archive) -> None:
    store(archive, entry())
    archive.picture_path(entry()).unlink()
    assert archive.find(entry()) is None
    archive.picture_path(entry()).mkdir()
    with pytest.raises(IsADirectoryError):
        archive.find(entry())


def test_what_is_too_old_goes(archive: Archive) -> None:
    for minute in range(5):
        store(archive, entry(minute))
    trimmed = archive.trim(1 << 30, 150.0, FIRST_MS / 1e3 + 300)
    assert kept(archive) == [entry(3), entry(4)]
    assert trimmed.removed == 3
    assert trimmed.kept_bytes == sum(path.stat().st_size for path in archive.folder.rglob("*.*"))


def test_what_was_kept_by_chance_makes_room_before_what_is_older(archive: Archive) -> None:
    sizes = [store(archive, entry(minute), by_chance=minute in {1, 3}) for minute in range(5)]
    assert archive.trim(sum(sizes) - 1, AGE_S, NOW).removed == 1
    assert kept(archive) == [entry(0), entry(2), entry(3), entry(4)]
    archive.trim(sizes[2] + sizes[4], AGE_S, NOW)
    assert kept(archive) == [entry(2), entry(4)]


def test_pinned_frame_stays_until_it_is_unpinned(archive: Archive) -> None:
    for minute in range(3):
        store(archive, entry(minute), by_chance=True)
    assert archive.pin(entry(1))
    trimmed = archive.trim(0, 1.0, NOW)
    assert kept(archive) == [entry(1)]
    assert trimmed.pinned_bytes == trimmed.kept_bytes > 0
    archive.unpin(entry(1))
    archive.unpin(entry(1))
    archive.trim(0, 1.0, NOW)
    assert names(archive.folder) == []
    assert list(archive.folder.iterdir()) == []  # no empty hours are left


def test_frame_that_is_gone_cannot_be_pinned(archive: Archive) -> None:
    assert not archive.pin(entry())
    store(archive, entry())
    store(archive, entry(1))
    archive.trim(1 << 30, 30.0, FIRST_MS / 1e3 + 60)
    assert not archive.pin(entry())
    assert names(archive.folder) == [f"{entry(1)}.json", f"{entry(1)}.png"]


def test_frame_that_a_trim_is_about_to_remove_cannot_be_pinned(archive: Archive) -> None:
    store(archive, entry())
    pinned: list[bool] = []
    pinning = threading.Thread(target=lambda: pinned.append(archive.pin(entry())))
    with locked(archive.folder):
        pinning.start()
        pinning.join(0.3)
        (archive.folder / "20251126T07" / f"{entry()}.json").unlink()
    pinning.join()
    assert pinned == [False]


def test_frame_that_is_pinned_as_a_trim_begins_stays(archive: Archive) -> None:
    store(archive, entry())
    trimming = threading.Thread(target=archive.trim, args=(0, AGE_S, NOW))
    with locked(archive.folder):
        trimming.start()
        trimming.join(0.3)
        (archive.folder / "20251126T07" / f"{entry()}.pin").touch()
    trimming.join()
    assert kept(archive) == [entry()]


def test_hour_is_looked_at_again_once_it_has_changed(archive: Archive) -> None:
    store(archive, entry(0))
    hour = archive.folder / "20251126T07"
    os.utime(hour, (1, 1))
    first = archive.trim(1 << 30, AGE_S, NOW).kept_bytes
    size = store(archive, entry(1))
    assert archive.trim(1 << 30, AGE_S, NOW).kept_bytes == first + size
    assert archive.trim(size, AGE_S, NOW).removed == 1
    assert kept(archive) == [entry(1)]


def test_what_a_killed_writer_left_goes_but_not_what_is_being_written(archive: Archive) -> None:
    store(archive, entry())
    hour = archive.folder / "20251126T07"
    left = [f"{entry(1)}.png", f"{entry(2)}.chance", f".{entry(3)}.png.0123456789abcdef"]
    for name in left:
        (hour / name).write_bytes(b"half")
    archive.trim(1 << 30, AGE_S, time.time())
    assert len(names(archive.folder)) == 5
    for name in left:
        os.utime(hour / name, (0, 0))
    assert archive.trim(1 << 30, AGE_S, time.time()).removed == 0
    assert names(archive.folder) == [f"{entry()}.json", f"{entry()}.png"]


def test_lines_share_a_folder_and_not_their_frames(tmp_path: Path) -> None:
    first, second = Archive(tmp_path, "line-1"), Archive(tmp_path, "line-2")
    store(first, entry())
    assert second.find(entry()) is None
    second.trim(0, 0.0, NOW)
    assert first.find(entry()) is not None
