from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes.labels import SIZE, entry, store

from pipeline.archive import Archive
from pipeline.commands.label import LabellingSettings
from pipeline.commands.label_requests import (
    MAX_LINE_CHARS,
    find_entry,
    find_frame,
    make_label,
    marked_px,
    read_request,
)
from pipeline.errors import LabelError
from pipeline.label_rules import box
from pipeline.labels import LabelKind


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path, "line-1")


def test_line_of_a_script_says_what_flags_say() -> None:
    line = (
        '{"part": "cup/1", "as": "defect", "defect": "hole", "box": [[1, 2, 3, 4], [5, 6, 7, 8]], '
        '"polygon": [[[0, 0], [0, 9], [9, 9.5]]], "by": "anna"}'
    )
    flags = LabellingSettings(
        part="cup/1",
        as_kind=LabelKind.DEFECT,
        defect="hole",
        box=[1, 2, 3, 4, 5, 6, 7, 8],
        polygon="0,0 0,9 9,9.5",
        by="anna",
    )
    assert read_request(line) == flags.request()
    label = make_label(read_request(line), entry())
    assert label.outlines == (box(1, 2, 3, 4), box(5, 6, 7, 8), ((0, 0), (0, 9), (9, 9.5)))
    assert (label.kind, label.defect, label.by) == (LabelKind.DEFECT, "hole", "anna")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("no JSON", "JSON"),
        ("[]", "object"),
        ('{"as": "normal"}', "name one frame"),
        ('{"entry": "1-0", "part": "a", "as": "normal"}', "name one frame"),
        ('{"entry": "1-0", "seq": 7, "as": "normal"}', "name one frame"),
        ('{"camera": "cam", "as": "normal"}', "name one frame"),
        ('{"entry": "1-0"}', "as: Field required"),
        ('{"entry": "1-0", "as": "great"}', "as: .*'normal', 'defect' or 'unsure'"),
        ('{"entry": "1-0", "as": "defect", "box": [[1, 2, 3]]}', "box"),
        ('{"entry": "1-0", "as": "defect", "box": [[1, 2, 0, 3]]}', "one pixel"),
        ('{"entry": "1-0", "as": "defect", "polygon": [[[NaN, 2]]]}', "polygon|JSON"),
        ('{"entry": "1-0", "as": "normal", "colour": "red"}', "colour"),
        (" " * (MAX_LINE_CHARS + 1), "draw masks in files"),
    ],
)
def test_line_that_says_nothing_is_refused_with_the_reason(line: str, why: str) -> None:
    with pytest.raises(LabelError, match=why):
        read_request(line)


@pytest.mark.parametrize(
    "flags",
    [
        {},
        {"entry": "1-0"},
        {"as_kind": "normal"},
        {"as_kind": "normal", "part": "a", "entry": "1-0"},
        {"as_kind": "normal", "entry": "1-0", "list_frames": True},
        {"list_frames": True},
        {"as_kind": "defect", "entry": "1-0", "box": [1, 2, 3]},
        {"as_kind": "defect", "entry": "1-0", "polygon": "1 2 3"},
    ],
)
def test_flags_that_say_nothing_are_refused(flags: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"say one of|name one frame|needs --archive|box|polygon"):
        LabellingSettings(**flags)  # type: ignore[arg-type]  # wrong on purpose


def test_frame_is_found_by_any_of_its_names(archive: Archive) -> None:
    store(archive, entry(), part="cup/1", seq=7)
    for named in ('"part": "cup/1"', '"camera": "cam", "seq": 7', f'"entry": "{entry()}"'):
        assert find_entry(read_request(f'{{{named}, "as": "normal"}}'), archive) == entry()


def test_part_of_many_frames_asks_which(archive: Archive) -> None:
    store(archive, entry(1), part="cup/1")
    store(archive, entry(2), part="cup/1", camera="top")
    with pytest.raises(LabelError, match=f"2 frames of part 'cup/1'.*{entry(1)}, {entry(2)}"):
        find_entry(read_request('{"part": "cup/1", "as": "normal"}'), archive)


def test_frame_that_is_not_there_says_why_it_may_be_gone(archive: Archive) -> None:
    request = read_request('{"part": "cup/1", "as": "normal"}')
    with pytest.raises(LabelError, match="archive is empty"):
        find_entry(request, archive)
    store(archive, entry())
    with pytest.raises(LabelError, match=f"'cup/1'.*expired.*{entry()}"):
        find_entry(request, archive)
    with pytest.raises(LabelError, match=f"'{entry(1)}'.*expired"):
        find_frame(entry(1), archive)
    with pytest.raises(LabelError, match="give --archive"):
        find_entry(request, None)


def test_mask_file_is_read_and_held_against_the_picture(archive: Archive, tmp_path: Path) -> None:
    store(archive, entry())
    drawn = np.zeros(SIZE, np.uint8)
    drawn[1:3, 2] = 255
    for name, mask in (("right.png", drawn), ("turned.png", drawn.T), ("ones.png", drawn // 255)):
        cv2.imwrite(str(tmp_path / name), mask)

    def marks(name: str) -> int:
        line = f'{{"entry": "{entry()}", "as": "defect", "mask": "{tmp_path / name}"}}'
        return marked_px(make_label(read_request(line), entry()), find_frame(entry(), archive))

    assert marks("right.png") == marks("ones.png") == 2
    with pytest.raises(LabelError, match=r"mask of 9x6.*6x9.*draw it on that picture"):
        marks("turned.png")
    with pytest.raises(LabelError, match=r"mask .*none.png: No such file"):
        marks("none.png")
