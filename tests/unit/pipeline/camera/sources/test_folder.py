"""Folders as cameras: every file that is meant as a picture becomes one part, in order."""

import re
import shutil
import struct
import zlib
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes.camera import FakeTime, flat, values, write_flat
from hypothesis import given
from hypothesis import strategies as st
from inputs.odd_files import make_odd

from pipeline.camera.pace import FramePacer
from pipeline.camera.source import PartNames
from pipeline.camera.sources.folder import FolderSource, list_pictures, natural_key
from pipeline.errors import CameraLost, SettingsError


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


def folder_source(
    folder: Path, time: FakeTime, passes: int | None = 1, pattern: str | None = None
) -> FolderSource:
    pacer = FramePacer(None, time.clock, time.wait)
    return FolderSource(folder, pacer, time.clock_ns, passes, PartNames(pattern))


def png(width: int, height: int, depth: int, colour: int) -> bytes:
    """A PNG with that header and hardly any pixels behind it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content))
            + kind
            + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 64)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def test_pictures_come_in_natural_order_with_their_subfolders(
    tmp_path: Path, time: FakeTime
) -> None:
    for name, value in {"b/2.png": 4, "a10.png": 3, "a2.png": 2, "a1.PNG": 1}.items():
        write_flat(tmp_path / name.replace("PNG", "png"), value)
    (tmp_path / "a1.png").rename(tmp_path / "a1.PNG")
    (tmp_path / ".hidden.png").write_bytes(b"half")
    (tmp_path / "notes.txt").write_text("no picture")
    shots = list(folder_source(tmp_path, time).shots(""))
    assert values(iter(shots)) == [1, 2, 3, 4]
    assert [shot.cursor for shot in shots] == ["0/a1.PNG", "0/a2.png", "0/a10.png", "0/b/2.png"]
    assert shots[0].pixels.dtype == np.uint8
    assert shots[0].pixels.shape == (8, 8, 3)


@given(st.lists(st.text(st.characters(exclude_characters="/\0"), max_size=12), max_size=12))
def test_natural_order_is_an_order_of_any_names(names: list[str]) -> None:
    in_order = sorted(names, key=natural_key)
    backwards = sorted(names, key=natural_key, reverse=True)
    assert backwards[::-1] == in_order


@given(st.lists(st.integers(0, 10**12), unique=True, max_size=12))
def test_natural_order_is_the_order_of_numbers(numbers: list[int]) -> None:
    names = sorted((f"part {number}.png" for number in numbers), key=natural_key)
    assert [int(re.findall("[0-9]+", name)[0]) for name in names] == sorted(numbers)


@given(given_before=st.integers(0, 9), passes=st.integers(1, 3))
def test_a_killed_camera_goes_on_after_its_last_shot(
    tmp_path_factory: pytest.TempPathFactory, given_before: int, passes: int
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    for value in (1, 2, 3):
        write_flat(folder / f"{value}.png", value)
    whole = list(folder_source(folder, FakeTime(), passes).shots(""))
    before = whole[:given_before]
    cursor = before[-1].cursor if before else ""
    after = list(folder_source(folder, FakeTime(), passes).shots(cursor))
    assert [shot.cursor for shot in before + after] == [shot.cursor for shot in whole]
    shutil.rmtree(folder)


def test_a_loop_begins_again_and_takes_in_new_pictures(tmp_path: Path, time: FakeTime) -> None:
    write_flat(tmp_path / "1.png", 1)
    shots = folder_source(tmp_path, time, passes=None).shots("")
    assert values(islice(shots, 2)) == [1, 1]
    write_flat(tmp_path / "0.png", 0)
    assert values(islice(shots, 2)) == [0, 1]


def test_the_cursor_of_a_deleted_picture_still_tells_where_to_go_on(
    tmp_path: Path, time: FakeTime
) -> None:
    for value in (1, 2, 3):
        write_flat(tmp_path / f"{value}.png", value)
    (tmp_path / "2.png").unlink()
    assert values(folder_source(tmp_path, time).shots("0/2.png")) == [3]


def unreadable_files() -> dict[str, tuple[bytes, str]]:
    _, jpeg = cv2.imencode(".jpg", flat(9, 64, 64))
    _, deep = cv2.imencode(".png", np.full((8, 8), 3_000, np.uint16))
    see_through = np.zeros((8, 8, 4), np.uint8)
    _, clear = cv2.imencode(".png", see_through)
    return {
        "huge.png": (png(30_000, 30_000, 8, 2), "30000x30000, limit"),
        "deep.png": (deep.tobytes(), "12 bits"),
        "clear.png": (clear.tobytes(), "transparent"),
        "cut.jpg": (jpeg.tobytes()[: jpeg.size // 2], "damaged"),
        "cut.png": (png(8, 8, 8, 2)[:40], "truncated"),
        "empty.png": (b"", "convert it"),
        "text.png": (b"this is no picture at all", "convert it"),
        "zero.png": (png(0, 8, 8, 2), "0"),
    }


@pytest.mark.parametrize("name", unreadable_files())
def test_a_file_that_is_no_picture_is_a_part_without_picture(
    tmp_path: Path, time: FakeTime, name: str
) -> None:
    content, reason = unreadable_files()[name]
    (tmp_path / name).write_bytes(content)
    write_flat(tmp_path / "zz.png", 7)
    bad, good = folder_source(tmp_path, time).shots("")
    assert reason in bad.unreadable
    assert name in bad.unreadable
    assert bad.pixels.max() == 0
    assert good.unreadable == ""
    assert good.pixels.max() == 7


def test_grey_pictures_become_rgb_and_an_opaque_alpha_is_dropped(
    tmp_path: Path, time: FakeTime
) -> None:
    cv2.imwrite(str(tmp_path / "1grey.png"), np.full((8, 8), 50, np.uint8))
    cv2.imwrite(str(tmp_path / "2bgra.png"), np.full((8, 8, 4), (10, 20, 30, 255), np.uint8))
    grey, opaque = folder_source(tmp_path, time).shots("")
    assert grey.pixels[0, 0].tolist() == [50, 50, 50]
    assert opaque.pixels[0, 0].tolist() == [30, 20, 10]


@pytest.mark.parametrize("passes", [1, None])
def test_a_folder_without_pictures_is_told(
    tmp_path: Path, time: FakeTime, passes: int | None
) -> None:
    with pytest.raises(SettingsError, match="no pictures"):
        next(folder_source(tmp_path, time, passes).shots(""))


def test_a_folder_that_is_not_there_is_told(tmp_path: Path, time: FakeTime) -> None:
    with pytest.raises(SettingsError, match="no folder"):
        folder_source(tmp_path / "none", time)


@pytest.mark.parametrize("passes", [1, None])
def test_a_folder_that_vanishes_is_a_lost_camera(
    tmp_path: Path, time: FakeTime, passes: int | None
) -> None:
    folder = tmp_path / "parts"
    for value in (1, 2):
        write_flat(folder / f"{value}.png", value)
    source = folder_source(folder, time, passes)
    shots = source.shots("")
    first = next(shots)
    folder.rename(tmp_path / "away")
    with pytest.raises(CameraLost, match="gone"):
        next(shots)
    (tmp_path / "away").rename(folder)
    assert values(islice(source.shots(first.cursor), 1)) == [2]


def test_a_picture_that_vanishes_is_still_a_part(tmp_path: Path, time: FakeTime) -> None:
    for value in (1, 2):
        write_flat(tmp_path / f"{value}.png", value)
    shots = folder_source(tmp_path, time).shots("")
    next(shots)
    (tmp_path / "2.png").unlink()
    assert "2.png" in next(shots).unreadable


@pytest.mark.parametrize("cursor", ["x", "x/y", "-1/a", "7"])
def test_a_cursor_of_another_source_is_refused(tmp_path: Path, time: FakeTime, cursor: str) -> None:
    write_flat(tmp_path / "1.png", 1)
    with pytest.raises(SettingsError, match="cursor"):
        next(folder_source(tmp_path, time).shots(cursor))


@pytest.mark.parametrize(
    ("pattern", "name", "part"),
    [
        (None, "a/4711.png", ""),
        (r"[0-9]+", "a/4711.png", "4711"),
        (r"serial_([0-9]+)", "serial_4711_top.png", "4711"),
        (r"(x)?(?P<part>[0-9]+)", "4711.png", "4711"),
        (r"(x)?[0-9]+", "4711.png", ""),
        (r"serial_([0-9]+)", "other.png", ""),
    ],
)
def test_part_ids_come_from_file_names(pattern: str | None, name: str, part: str) -> None:
    assert PartNames(pattern).find(name) == part


def test_a_pattern_that_is_no_regular_expression_is_told() -> None:
    with pytest.raises(SettingsError, match="pattern"):
        PartNames("(")


def test_a_shot_is_captured_when_it_is_due(tmp_path: Path, time: FakeTime) -> None:
    for value in (1, 2, 3):
        write_flat(tmp_path / f"{value}.png", value)
    source = FolderSource(tmp_path, FramePacer(10, time.clock, time.wait), time.clock_ns)
    captured = [shot.captured_ns for shot in source.shots("")]
    assert captured == [100_000_000_000, 100_100_000_000, 100_200_000_000]


def test_list_pictures_of_a_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert list_pictures(tmp_path / "none") == []


@pytest.mark.parametrize("kind", ["fifo", "loop", "/dev/zero"])
def test_what_is_no_file_is_a_part_without_picture(
    tmp_path: Path, time: FakeTime, kind: str
) -> None:
    write_flat(tmp_path / "1.png", 1)
    make_odd(kind, tmp_path / "2.png")
    write_flat(tmp_path / "3.png", 3)
    shots = list(folder_source(tmp_path, time).shots(""))
    assert [bool(shot.unreadable) for shot in shots] == [False, True, False]
