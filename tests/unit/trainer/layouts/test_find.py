from pathlib import Path

import cv2
import numpy as np
import pytest

from trainer.dataset import GOOD, Dataset, resize_mask
from trainer.errors import DatasetError
from trainer.layouts import DEFECT, find_datasets, find_samples
from trainer.truth import truth_at


def draw(path: Path, spot: tuple[int, int, int, int] | None = None) -> None:
    """Write a black picture of 20 x 30; `spot` (top, bottom, left, right) is white."""
    pixels = np.zeros((20, 30), np.uint8)
    if spot:
        pixels[spot[0] : spot[1], spot[2] : spot[3]] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def draw_ellipse(path: Path) -> None:
    pixels = np.zeros((20, 30), np.uint8)
    cv2.ellipse(pixels, (15, 10), (9, 4), 20, 0, 360, 255, cv2.FILLED)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def names(samples: tuple[object, ...]) -> list[str]:
    return [sample.name for sample in samples]


def dagm(folder: Path) -> Path:
    for part, first in (("Train", 10), ("Test", 20)):
        for number in range(first, first + 4):
            draw(folder / part / f"{number:04}.PNG")
        draw_ellipse(folder / part / "Label" / f"{first + 1:04}_label.PNG")
        (folder / part / "Label" / "Labels.txt").write_text("1\n")
        (folder / part / "Thumbs.db").write_bytes(b"no picture")
    return folder


def ksdd2(folder: Path) -> Path:
    for part, first in (("train", 10000), ("test", 20000)):
        for number in range(first, first + 3):
            draw(folder / part / f"{number}.png")
            draw(folder / part / f"{number}_GT.png", (2, 9, 3, 4) if number == first else None)
    return folder


def btad(folder: Path) -> Path:
    for number in range(3):
        draw(folder / "train" / "ok" / f"{number:04}.bmp")
    draw(folder / "test" / "ok" / "0000.bmp")
    draw(folder / "test" / "ko" / "0000.bmp")
    draw(folder / "ground_truth" / "ko" / "0000.png", (4, 8, 4, 8))
    return folder


def test_dagm_has_defects_in_both_parts_and_ellipses_for_masks(tmp_path: Path) -> None:
    dataset = find_samples(dagm(tmp_path / "Class1"))
    assert dataset.name == "Class1"
    assert names(dataset.normals) == ["Train/0010.PNG", "Train/0012.PNG", "Train/0013.PNG"]
    assert names(dataset.defects) == ["Train/0011.PNG"]
    assert [(s.name, s.kind) for s in dataset.test] == [
        ("Test/0020.PNG", GOOD),
        ("Test/0022.PNG", GOOD),
        ("Test/0023.PNG", GOOD),
        ("Test/0021.PNG", DEFECT),
    ]
    mask = truth_at(dataset.defects[0], (20, 30), (20, 30))
    assert 60 < mask.sum() < 160


def test_ksdd2_is_good_where_its_mask_is_empty(tmp_path: Path) -> None:
    dataset = find_samples(ksdd2(tmp_path))
    assert names(dataset.normals) == ["train/10001.png", "train/10002.png"]
    assert names(dataset.defects) == ["train/10000.png"]
    assert [s.kind for s in dataset.test] == [GOOD, GOOD, DEFECT]
    assert dataset.test[2].mask == tmp_path / "test" / "20000_GT.png"


def test_ksdd2_picture_of_unknown_label_is_named_and_in_no_part(tmp_path: Path) -> None:
    ksdd2(tmp_path)
    (tmp_path / "train" / "10001_GT.png").unlink()
    (tmp_path / "test" / "20001_GT.png").write_bytes(b"broken")
    dataset = find_samples(tmp_path)
    assert names(dataset.normals) == ["train/10002.png"]
    assert len(dataset.test) == 2
    assert len(dataset.unreadable) == 2
    assert "no 10001_GT.png beside it" in dataset.unreadable[0]
    assert "20001_GT.png" in dataset.unreadable[1]


def test_btad_masks_may_have_another_suffix(tmp_path: Path) -> None:
    dataset = find_samples(btad(tmp_path / "01"))
    assert len(dataset.normals) == 3
    assert dataset.defects == ()
    good, defect = dataset.test
    assert (good.name, good.kind) == ("test/ok/0000.bmp", GOOD)
    assert (defect.name, defect.kind) == ("test/ko/0000.bmp", DEFECT)
    assert defect.mask == tmp_path / "01" / "ground_truth" / "ko" / "0000.png"


def test_folder_of_several_categories_says_which_ones(tmp_path: Path) -> None:
    btad(tmp_path / "01")
    btad(tmp_path / "02")
    with pytest.raises(DatasetError, match="holds 2 categories, give the folder of one: 01, 02"):
        find_samples(tmp_path)
    assert [each.name for each in find_datasets(tmp_path)] == ["01", "02"]
    assert [each.name for each in find_datasets(tmp_path / "02")] == ["02"]


def test_folder_of_neither_pictures_nor_categories_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="holds neither train/good"):
        find_datasets(tmp_path)


@pytest.mark.parametrize("layout", [dagm, ksdd2, btad])
def test_no_sample_is_in_two_parts(tmp_path: Path, layout: object) -> None:
    dataset: Dataset = find_samples(layout(tmp_path))
    found = [*names(dataset.normals), *names(dataset.test), *names(dataset.defects)]
    assert len(found) == len(set(found))
    assert all(sample.kind == GOOD for sample in dataset.normals)


def test_thin_defect_survives_being_resized() -> None:
    mask = np.zeros((1000, 1000), bool)
    mask[333, 100:900] = True
    small = resize_mask(mask, (64, 64))
    assert small.sum(axis=0).max() == 1
    assert small.sum() == 52
    assert not resize_mask(np.zeros((100, 100), bool), (8, 8)).any()


def mvtec(folder: Path) -> Path:
    for part in ("train", "test"):
        for kind in (GOOD, "dent", "ant"):
            draw(folder / part / kind / f"{part}.png")
            if kind != GOOD:
                draw(folder / "ground_truth" / kind / f"{part}_mask.png", (2, 5, 2, 5))
    return folder


def test_mvtec_folder_may_hold_defects_to_learn_from(tmp_path: Path) -> None:
    dataset = find_samples(mvtec(tmp_path))
    assert names(dataset.normals) == ["train/good/train.png"]
    assert names(dataset.defects) == ["train/ant/train.png", "train/dent/train.png"]
    assert names(dataset.test) == ["test/good/test.png", "test/ant/test.png", "test/dent/test.png"]
    assert all(sample.mask for sample in (*dataset.defects, *dataset.test[1:]))


def test_mask_of_two_pictures_is_refused(tmp_path: Path) -> None:
    mvtec(tmp_path)
    draw(tmp_path / "train" / "dent" / "test.png")
    with pytest.raises(DatasetError, match=r"share the mask test_mask.png: rename one"):
        find_samples(tmp_path)
