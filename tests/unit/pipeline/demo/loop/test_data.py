"""How the pictures of the learning-line show are divided."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.demo.loop.data import kind_of_picture, lay_out, mask_of, pictures_of, split_pictures
from pipeline.errors import SettingsError

NAMES = [
    *(f"train/good/{number:03}.png" for number in range(20)),
    *(f"test/good/{number:03}.png" for number in range(4)),
    *(f"test/broken/{number:03}.png" for number in range(8)),
    *(f"test/stain/{number:03}.png" for number in range(6)),
]


def test_nothing_that_the_first_engine_knows_comes_down_the_line() -> None:
    split = split_pictures(NAMES, "stain", 30, 5, seed=1)
    assert not set(split.known) & set(split.parts)


def test_the_new_kind_is_unknown_and_passes_as_often_as_asked() -> None:
    split = split_pictures(NAMES, "stain", 30, 5, seed=1)
    assert "stain" not in {kind_of_picture(name) for name in split.known}
    assert len(split.parts) == 30
    assert sum(kind_of_picture(name) == "stain" for name in split.parts) == 5


def test_good_parts_come_again_where_there_are_too_few() -> None:
    split = split_pictures(NAMES, "stain", 60, 5, seed=1)
    assert len(split.parts) == 60
    repeated = {name for name in split.parts if split.parts.count(name) > 1}
    assert {kind_of_picture(name) for name in repeated} == {"good"}


def test_the_same_seed_gives_the_same_division() -> None:
    assert split_pictures(NAMES, "stain", 30, 5, seed=3) == split_pictures(
        NAMES, "stain", 30, 5, seed=3
    )
    assert split_pictures(NAMES, "stain", 30, 5, seed=3) != split_pictures(
        NAMES, "stain", 30, 5, seed=4
    )


@pytest.mark.parametrize(
    ("kind", "parts", "of_kind", "said"),
    [
        ("stain", 30, 7, "6 pictures of stain"),
        ("scratch", 30, 1, "0 pictures of scratch"),
        ("stain", 8, 5, "fewer than the 9"),
    ],
)
def test_a_division_that_cannot_be_is_refused(
    kind: str, parts: int, of_kind: int, said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        split_pictures(NAMES, kind, parts, of_kind, seed=1)


def _folder(where: Path) -> Path:
    picture = np.zeros((8, 8, 3), np.uint8)
    masks = [
        f"ground_truth/{kind_of_picture(name)}/{Path(name).stem}_mask.png"
        for name in NAMES
        if kind_of_picture(name) != "good"
    ]
    for name in (*NAMES, *masks):
        (where / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(where / name), picture)
    return where


def test_parts_lie_in_the_order_in_which_they_pass(tmp_path: Path) -> None:
    data = _folder(tmp_path / "data")
    split = split_pictures(pictures_of(data), "stain", 30, 5, seed=1)
    names = lay_out(data, split, tmp_path / "known", tmp_path / "parts")
    assert list(names.values()) == list(split.parts)
    assert sorted(path.stem for path in (tmp_path / "parts").iterdir()) == list(names)
    assert sorted(pictures_of(tmp_path / "known")) == list(split.known)


def test_known_defects_bring_their_masks(tmp_path: Path) -> None:
    data = _folder(tmp_path / "data")
    split = split_pictures(pictures_of(data), "stain", 30, 5, seed=1)
    lay_out(data, split, tmp_path / "known", tmp_path / "parts")
    for name in split.known:
        assert kind_of_picture(name) == "good" or mask_of(tmp_path / "known", name)


def test_a_defect_without_mask_is_named(tmp_path: Path) -> None:
    data = _folder(tmp_path / "data")
    gone = data / "ground_truth" / "stain" / "003_mask.png"
    gone.unlink()
    with pytest.raises(SettingsError, match=r"test/stain/003\.png has no mask"):
        mask_of(data, "test/stain/003.png")
