"""Folders in the form of public data sets that the documentation does not name.

Pictures are drawn. Each folder is read with its masks, or refused by a sentence that says why.
"""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from inputs.data_folders import bad, good, masks, picture, save, truth

from trainer.dataset import GOOD, Dataset
from trainer.errors import DatasetError
from trainer.group_rules import GroupRule, name_groups, name_groups_of_all
from trainer.layouts import find_datasets, find_samples
from trainer.truth import read_truth

OUTLINE = [[20, 8], [34, 8], [34, 16], [20, 16]]
BLACK = np.zeros((40, 60), np.uint8)


def kinds(dataset: Dataset) -> tuple[int, dict[str, int]]:
    return len(dataset.normals), dict(Counter(sample.kind for sample in dataset.test))


def check_accounts(folder: Path, *datasets: Dataset) -> None:
    """Every file is taken as a picture or mask, or left out by name; masks are as drawn."""
    accounts = [dataset.files for dataset in datasets]
    left = [name for files in accounts for names in files.left_out.values() for name in names]
    taken = sum(files.pictures + files.masks for files in accounts)
    assert taken + len(left) == sum(path.is_file() for path in folder.rglob("*"))
    for dataset in datasets:
        for sample in (*dataset.normals, *dataset.defects, *dataset.test):
            if sample.mask is not None and sample.kind != GOOD:
                assert np.array_equal(read_truth(sample, truth().shape), truth())


def dtd_synthetic(folder: Path) -> Path:
    """DTD-Synthetic: textures with drawn defects, all called bad, each texture a folder."""
    for texture in ("Blotchy_099", "Fibrous_183", "Woven_001"):
        good(folder / texture / "train" / "good", 12)
        good(folder / texture / "test" / "good", 3, start=100)
        bad(folder / texture / "test" / "bad", 4)
        masks(folder / texture / "ground_truth" / "bad", 4, "{}_mask.png")
    return folder


def test_dtd_synthetic_is_three_data_sets(tmp_path: Path) -> None:
    datasets = find_datasets(dtd_synthetic(tmp_path))
    assert [dataset.name for dataset in datasets] == ["Blotchy_099", "Fibrous_183", "Woven_001"]
    assert [kinds(dataset) for dataset in datasets] == [(12, {"good": 3, "bad": 4})] * 3
    check_accounts(tmp_path, *datasets)


def real_iad(folder: Path) -> Path:
    """Real-IAD: each part in five views, masks of the views on which the defect shows."""
    for product in ("audiojack", "toy brick"):
        for part in range(1, 11):
            for view in range(1, 6):
                name = f"{product}_{part:04}_OK_C{view}_20231021.jpg"
                save(folder / product / "OK" / f"S{part:04}" / name, picture(10 * part + view))
        for kind, part in (("BX", 11), ("HS", 12)):
            inner = folder / product / "NG" / kind / f"S{part:04}"
            for view in range(1, 6):
                name = f"{product}_{part:04}_NG_{kind}_C{view}_20231021"
                save(inner / f"{name}.jpg", picture(500 + view, defective=True))
                if view < 3:
                    save(inner / f"{name}.png", truth().astype(np.uint8) * 255)
    return folder


def test_real_iad_is_read_with_the_masks_beside_its_views(tmp_path: Path) -> None:
    datasets = find_datasets(real_iad(tmp_path))
    assert [kinds(dataset) for dataset in datasets] == [(40, {"good": 10, "NG": 10})] * 2
    assert all(sum(s.mask is not None for s in dataset.test) == 4 for dataset in datasets)
    check_accounts(tmp_path, *datasets)


def test_test_part_that_is_chosen_here_is_of_whole_named_groups(tmp_path: Path) -> None:
    rule = GroupRule(pattern=r"/(S\d+)/")
    for dataset in name_groups_of_all(find_datasets(real_iad(tmp_path)), rule):
        learned = {sample.group for sample in dataset.normals}
        tested = {sample.group for sample in dataset.test if sample.kind == GOOD}
        assert (len(learned), len(tested)) == (8, 2)
        assert not learned & {sample.group for sample in dataset.test}
        assert kinds(dataset) == (40, {"good": 10, "NG": 10})


def test_good_pictures_of_a_defective_part_are_tested_with(tmp_path: Path) -> None:
    for number in range(10):
        save(tmp_path / "good" / f"part{number // 2}_{number}.png", picture(number))
    save(tmp_path / "dent" / "part1_9.png", picture(500, defective=True))
    dataset = name_groups(find_samples(tmp_path), GroupRule(pattern=r"part\d"))
    assert {sample.group for sample in dataset.normals} == {"part0", "part2", "part3", "part4"}
    assert [sample.group for sample in dataset.test] == ["part1"] * 3


def eyecandies(folder: Path) -> Path:
    """Eyecandies: six lights, depth and normals of each candy in one folder without kinds."""
    for part, count in (("train", 3), ("val", 1), ("test_public", 2)):
        for number in range(count):
            inner = folder / part / "data"
            for light in range(6):
                save(inner / f"{number:03}_image_{light}.png", picture(number * 10 + light))
            save(inner / f"{number:03}_depth.png", picture(number)[..., 0].astype(np.uint16) * 200)
            (inner / f"{number:03}_info_depth.yaml").write_text("normalization: {}")
            if part == "test_public":
                save(inner / f"{number:03}_mask.png", truth().astype(np.uint8) * 255)
    return folder


def test_eyecandies_are_refused_because_no_folder_says_good(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds train/data, and none of them is named good, ok"):
        find_samples(eyecandies(tmp_path))


def ball_screws(folder: Path) -> Path:
    """BSData: pictures in data/, LabelMe files of those with pitting in label/."""
    good(folder / "data", 6)
    bad(folder / "data", 3)
    for number in range(500, 503):
        shape = {"label": "pitting", "points": OUTLINE, "shape_type": "polygon"}
        document = {"shapes": [shape], "imagePath": f"..\\data\\{number}.png"}
        path = folder / "label" / f"{number}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(document))
    return folder


def test_bsdata_is_refused_because_nothing_says_which_parts_are_good(tmp_path: Path) -> None:
    words = r"no pictures of normal parts to learn from \(3 pictures and 3 masks taken, 6 files.*"
    with pytest.raises(DatasetError, match=words + "6 of unknown label, in data"):
        find_samples(ball_screws(tmp_path))


def test_labelme_files_may_lie_in_a_folder_of_their_own(tmp_path: Path) -> None:
    ball_screws(tmp_path)
    for number in range(6):
        document = {"shapes": [], "imagePath": f"../data/{number:03}.png"}
        (tmp_path / "label" / f"{number:03}.json").write_text(json.dumps(document))
    dataset = find_samples(tmp_path)
    assert kinds(dataset) == (5, {"good": 1, "pitting": 3})
    assert all(sample.mask is not None for sample in dataset.test[1:])
    check_accounts(tmp_path, dataset)


@pytest.mark.parametrize("path", ["../../outside.png", "/etc/passwd", "../data/../../x.png", ""])
def test_labelme_path_out_of_the_folder_names_no_picture(tmp_path: Path, path: str) -> None:
    folder = ball_screws(tmp_path / "set")
    save(tmp_path / "outside.png", picture(1))
    document = {"shapes": [], "imagePath": path}
    (folder / "label" / "900.json").write_text(json.dumps(document))
    with pytest.raises(DatasetError, match="no pictures of normal parts"):
        find_samples(folder)


def magnetic_tiles(folder: Path) -> Path:
    """Magnetic tiles as published: MT_KIND/Imgs with a mask of the same name beside each."""
    for number in range(10):
        save(folder / "MT_Free" / "Imgs" / f"exp1_num_{number}.jpg", picture(number))
        save(folder / "MT_Free" / "Imgs" / f"exp1_num_{number}.png", BLACK)
    for kind in ("MT_Blowhole", "MT_Crack"):
        for number in range(3):
            inner = folder / kind / "Imgs"
            save(inner / f"exp1_num_{50 + number}.jpg", picture(500 + number, defective=True))
            save(inner / f"exp1_num_{50 + number}.png", truth().astype(np.uint8) * 255)
    return folder


@pytest.mark.parametrize("find", [find_samples, find_datasets])
def test_kinds_of_one_product_are_not_taken_for_data_sets(tmp_path: Path, find: object) -> None:
    words = "defects alone in MT_Blowhole, MT_Crack and good parts alone in MT_Free.*rename MT_Free"
    with pytest.raises(DatasetError, match=words):
        find(magnetic_tiles(tmp_path))


def test_magnetic_tiles_are_read_once_the_good_ones_are_called_so(tmp_path: Path) -> None:
    magnetic_tiles(tmp_path)
    (tmp_path / "MT_Free").rename(tmp_path / "good")
    dataset = find_samples(tmp_path)
    assert kinds(dataset) == (8, {"good": 2, "MT_Blowhole": 3, "MT_Crack": 3})
    assert all(sample.mask is not None for sample in dataset.test[2:])
    check_accounts(tmp_path, dataset)


def roboflow(folder: Path) -> Path:
    """An export of Roboflow in COCO's form: an annotation file beside the pictures of each part."""
    for part, start in (("train", 0), ("valid", 20), ("test", 40)):
        good(folder / part, 4, ".jpg", start)
        bad(folder / part, 2, ".jpg", 500 + start)
        numbers = (*range(start, start + 4), 500 + start, 501 + start)
        document = {
            "images": [{"id": n, "file_name": f"{n:03}.jpg"} for n in numbers],
            "annotations": [
                {
                    "image_id": n,
                    "category_id": 1,
                    "segmentation": [[v for xy in OUTLINE for v in xy]],
                }
                for n in numbers[4:]
            ],
            "categories": [{"id": 0, "name": "parts"}, {"id": 1, "name": "scratch"}],
        }
        (folder / part / "_annotations.coco.json").write_text(json.dumps(document))
    return folder


def test_roboflow_export_is_read_by_its_parts(tmp_path: Path) -> None:
    dataset = find_samples(roboflow(tmp_path))
    assert kinds(dataset) == (8, {"good": 4, "scratch": 2})
    assert Counter(sample.kind for sample in dataset.defects) == {"scratch": 4}
    check_accounts(tmp_path, dataset)


def steel_strips(folder: Path) -> Path:
    """NEU-DET: boxes in the form of Pascal VOC, and no good part at all."""
    for part in ("train", "validation"):
        for kind in ("crazing", "patches"):
            bad(folder / part / "images" / kind, 3, ".jpg")
        (folder / part / "annotations").mkdir()
        text = "<annotation><filename>500.jpg</filename><object/></annotation>"
        (folder / part / "annotations" / "crazing_1.xml").write_text(text)
    return folder


def circuit_boards(folder: Path) -> Path:
    """DeepPCB: a template and a tested board for each, defects as boxes in text files."""
    inner = folder / "PCBData" / "group00041"
    for number in range(4):
        save(inner / "00041" / f"0004100{number}_temp.jpg", picture(number))
        save(inner / "00041" / f"0004100{number}_test.jpg", picture(500 + number, defective=True))
        (inner / "00041_not").mkdir(exist_ok=True)
        (inner / "00041_not" / f"0004100{number}.txt").write_text("1 2 3 4 1")
    return folder


def steel_sheets(folder: Path) -> Path:
    """Severstal: one folder of pictures, and runs in a CSV file."""
    good(folder / "train_images", 5, ".jpg")
    good(folder / "test_images", 5, ".jpg", start=50)
    (folder / "train.csv").write_text("ImageId,ClassId,EncodedPixels\n000.jpg,1,1 3\n")
    return folder


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        (steel_strips, "holds train/annotations, train/images, and none of them is named good"),
        (
            circuit_boards,
            r"holds neither train/good.*8 a picture where this layout has none.*4",
        ),
        (steel_sheets, r"holds neither train/good.*in test_images, train_images; 1 not a picture"),
    ],
)
def test_sets_without_a_word_about_good_parts_are_refused(
    tmp_path: Path, layout: object, words: str
) -> None:
    with pytest.raises(DatasetError, match=words):
        find_samples(layout(tmp_path))
