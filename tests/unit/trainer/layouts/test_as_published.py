"""Every layout as it is published or drawn, and what people add to it."""

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from inputs.data_folders import bad, good, masks, mvtec, picture, save, truth

from trainer.dataset import GOOD, Dataset
from trainer.errors import DatasetError
from trainer.layouts import DEFECT, find_datasets, find_samples
from trainer.layouts.names import is_good, kind_of
from trainer.truth import read_truth


def kinds(dataset: Dataset) -> tuple[int, dict[str, int], dict[str, int]]:
    """How many are learned from, which defects too, and which are tested with."""
    return (
        len(dataset.normals),
        dict(Counter(sample.kind for sample in dataset.defects)),
        dict(Counter(sample.kind for sample in dataset.test)),
    )


def check_truth(dataset: Dataset) -> None:
    """Every defect has the mask that was drawn, and no good part is one."""
    for sample in (*dataset.normals, *dataset.defects, *dataset.test):
        if sample.kind != GOOD:
            assert np.array_equal(read_truth(sample, truth().shape), truth())
            assert int(sample.path.stem) >= 500
        else:
            assert int(sample.path.stem) < 500


def loco(folder: Path) -> Path:
    mvtec(folder)
    shutil.rmtree(folder / "ground_truth")
    good(folder / "validation" / "good", 3, start=200)
    (folder / "defects_config.json").write_text("[]")
    for number in range(500, 504):
        masks(folder / "ground_truth" / "scratch" / str(number), 2, "{}.png", start=0)
    return folder


def mvtec_ad_2(folder: Path) -> Path:
    good(folder / "train" / "good", 12)
    good(folder / "validation" / "good", 3, start=200)
    good(folder / "test_public" / "good", 3, start=100)
    bad(folder / "test_public" / "bad", 4)
    masks(folder / "test_public" / "ground_truth" / "bad", 4)
    good(folder / "test_private", 2, start=300)
    return folder


def mvtec_3d(folder: Path) -> Path:
    good(folder / "train" / "good" / "rgb", 12)
    good(folder / "test" / "good" / "rgb", 3, start=100)
    bad(folder / "test" / "hole" / "rgb", 4)
    masks(folder / "test" / "hole" / "gt", 4, "{}.png")
    (folder / "test" / "hole" / "xyz").mkdir()
    (folder / "test" / "hole" / "xyz" / "500.tiff").write_bytes(b"points")
    return folder


def visa_raw(folder: Path) -> Path:
    good(folder / "Data" / "Images" / "Normal", 10, ".jpg")
    bad(folder / "Data" / "Images" / "Anomaly", 4, ".jpg")
    for number in range(500, 504):
        save(folder / "Data" / "Masks" / "Anomaly" / f"{number}.png", truth().astype(np.uint8) * 2)
    (folder / "image_anno.csv").write_text("image,label,mask\n")
    return folder


def visa_1cls(folder: Path) -> Path:
    mvtec(folder, kind="bad")
    shutil.rmtree(folder / "ground_truth")
    masks(folder / "ground_truth" / "bad", 4, "{}.png")
    return folder


def kolektor_sdd(folder: Path) -> Path:
    for item in range(1, 7):
        for part in range(3):
            number = 10 * item + part if part else 500 + item
            inner = folder / f"kos{item:02}"
            save(inner / f"{number}.jpg", picture(number, defective=not part))
            label = truth() if not part else np.zeros_like(truth())
            save(inner / f"{number}_label.bmp", label.astype(np.uint8) * 255)
    return folder


def aitex(folder: Path) -> Path:
    good(folder / "NODefect_images" / "2306881-210020u", 5)
    good(folder / "NODefect_images" / "2306894-210033u", 5, start=20)
    bad(folder / "Defect_images", 4)
    masks(folder / "Mask_images", 4)
    return folder


def real_iad(folder: Path) -> Path:
    good(folder / "OK" / "S0001", 5, ".jpg")
    good(folder / "OK" / "S0002", 5, ".jpg", start=20)
    bad(folder / "NG" / "AK" / "S0009", 2, ".jpg")
    bad(folder / "NG" / "BX" / "S0010", 2, ".jpg", start=502)
    masks(folder / "NG" / "AK" / "S0009", 2, "{}.png")
    masks(folder / "NG" / "BX" / "S0010", 2, "{}.png", start=502)
    return folder


FOUR = {"good": 3, "scratch": 4}


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        (mvtec, (12, {}, FOUR)),
        (loco, (15, {}, FOUR)),
        (mvtec_ad_2, (15, {}, {"good": 3, "bad": 4})),
        (mvtec_3d, (12, {}, {"good": 3, "hole": 4})),
        (visa_raw, (8, {}, {"good": 2, "Anomaly": 4})),
        (visa_1cls, (12, {}, {"good": 3, "bad": 4})),
        (kolektor_sdd, (10, {DEFECT: 5}, {"good": 2, DEFECT: 1})),
        (aitex, (8, {}, {"good": 2, "Defect_images": 4})),
        (real_iad, (8, {}, {"good": 2, "NG": 4})),
    ],
)
def test_published_layout_is_read_with_its_masks(
    tmp_path: Path, layout: object, expected: tuple[int, dict[str, int], dict[str, int]]
) -> None:
    dataset = find_samples(layout(tmp_path / "part"))
    assert kinds(dataset) == expected
    check_truth(dataset)
    assert dataset.files.pictures == expected[0] + sum(
        count for part in expected[1:] for count in part.values()
    )


@pytest.mark.parametrize("layout", [loco, mvtec_ad_2, mvtec_3d, visa_raw, kolektor_sdd, aitex])
def test_no_file_of_a_folder_vanishes(tmp_path: Path, layout: object) -> None:
    folder = layout(tmp_path / "part")
    files = find_samples(folder).files
    left = sum(map(len, files.left_out.values()))
    assert files.pictures + files.masks + left == sum(p.is_file() for p in folder.rglob("*"))


def casting(folder: Path) -> Path:
    """Castings as published: train/ok_front, train/def_front and the same in test/."""
    good(folder / "train" / "ok_front", 10, ".jpg")
    bad(folder / "train" / "def_front", 3, ".jpg")
    good(folder / "test" / "ok_front", 3, ".jpg", start=100)
    bad(folder / "test" / "def_front", 3, ".jpg", start=510)
    return folder


def test_castings_are_refused_because_none_of_their_folders_says_good(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"train/ok_front.*none of them is named good, ok or"):
        find_samples(casting(tmp_path))


@pytest.mark.parametrize("name", ["good", "Good", "OK", "ok", "Normal", "defect-free", "no defect"])
def test_every_spelling_of_good_is_good(tmp_path: Path, name: str) -> None:
    assert is_good(name)
    dataset = find_samples(mvtec(tmp_path, good_name=name))
    assert kinds(dataset) == (12, {}, FOUR)


@pytest.mark.parametrize("name", ["Good", "ok", "NORMAL"])
def test_test_part_may_spell_good_differently(tmp_path: Path, name: str) -> None:
    mvtec(tmp_path)
    (tmp_path / "test" / "good").rename(tmp_path / "test" / name)
    assert kinds(find_samples(tmp_path)) == (12, {}, FOUR)


@pytest.mark.parametrize("name", ["bad", "NG", "not ok", "no good", "anomaly", "scratch"])
def test_no_defect_is_taken_for_good_by_its_name(name: str) -> None:
    assert not is_good(name)
    assert kind_of(name, "") == name


@pytest.mark.parametrize("name", ["ok_front", "negative", "0", "good-ish", "unlabelled"])
def test_name_that_may_mean_either_is_refused(tmp_path: Path, name: str) -> None:
    mvtec(tmp_path, kind=name)
    with pytest.raises(DatasetError, match=f"{name}.*does not say whether its parts are good"):
        find_samples(tmp_path)


def test_ok_and_ng_beside_each_other_are_a_plain_folder(tmp_path: Path) -> None:
    good(tmp_path / "OK", 10)
    bad(tmp_path / "NG", 3)
    assert kinds(find_samples(tmp_path)) == (8, {}, {"good": 2, "NG": 3})


def test_hidden_and_foreign_files_are_ignored_and_counted(tmp_path: Path) -> None:
    mvtec(tmp_path)
    for name in (
        "test/.ipynb_checkpoints/000-checkpoint.png",
        "train/.ipynb_checkpoints/005-checkpoint.png",
        "test/@eaDir/000.png",
        "__MACOSX/train/good/._000.png",
        "test/scratch/._500.png",
        "train/good/Thumbs.db",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"another program's")
    dataset = find_samples(tmp_path)
    assert kinds(dataset) == (12, {}, FOUR)
    ((why, names),) = dataset.files.left_out.items()
    assert (why, len(names)) == ("hidden or another program's", 6)
    assert "6 files left out: 6 hidden or another program's" in dataset.files.line()


def test_masks_beside_their_pictures_are_no_parts(tmp_path: Path) -> None:
    mvtec(tmp_path)
    shutil.rmtree(tmp_path / "ground_truth")
    masks(tmp_path / "test" / "scratch", 4)
    dataset = find_samples(tmp_path)
    assert kinds(dataset) == (12, {}, FOUR)
    check_truth(dataset)


def test_pictures_of_one_stem_do_not_share_a_mask(tmp_path: Path) -> None:
    mvtec(tmp_path)
    save(tmp_path / "test" / "scratch" / "500.jpg", picture(500, defective=True))
    with pytest.raises(DatasetError, match=r"500\.jpg and test/scratch/500\.png .*share the mask"):
        find_samples(tmp_path)


def test_several_masks_of_a_picture_are_joined(tmp_path: Path) -> None:
    mvtec(tmp_path)
    folder = tmp_path / "ground_truth" / "scratch"
    whole = truth()
    upper, lower = whole.copy(), whole.copy()
    upper[12:], lower[:12] = False, False
    (folder / "500_mask.png").unlink()
    save(folder / "500_mask1.png", upper.astype(np.uint8) * 255)
    save(folder / "500_mask_2.png", lower.astype(np.uint8) * 255)
    check_truth(find_samples(tmp_path))


def test_subfolders_of_a_kind_are_searched(tmp_path: Path) -> None:
    mvtec(tmp_path)
    good(tmp_path / "train" / "good" / "monday", 2, start=300)
    bad(tmp_path / "test" / "scratch" / "monday", 1, start=510)
    masks(tmp_path / "ground_truth" / "scratch" / "monday", 1, start=510)
    dataset = find_samples(tmp_path)
    assert kinds(dataset) == (14, {}, {"good": 3, "scratch": 5})
    check_truth(dataset)


def test_files_that_are_not_read_are_named_with_their_folder(tmp_path: Path) -> None:
    mvtec(tmp_path)
    (tmp_path / "train" / "good" / "900.webp").write_bytes(b"RIFF")
    (tmp_path / "test" / "notes.txt").write_text("x")
    masks(tmp_path / "ground_truth" / "dent", 1)
    line = find_samples(tmp_path).files.line()
    assert "19 pictures and 4 masks taken, 3 files left out" in line
    assert "1 .webp is not read: convert to PNG, in train/good" in line
    assert "1 a mask without a picture, in ground_truth/dent" in line


def test_folder_of_webp_alone_is_refused_with_the_reason(tmp_path: Path) -> None:
    for number in range(3):
        path = tmp_path / "train" / "good" / f"{number}.webp"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"RIFF")
    with pytest.raises(DatasetError, match=r"no pictures of normal parts.*3 \.webp is not read"):
        find_samples(tmp_path)


def test_good_part_whose_mask_marks_a_defect_is_not_learned(tmp_path: Path) -> None:
    mvtec(tmp_path)
    masks(tmp_path / "train" / "good", 1, start=3)
    dataset = find_samples(tmp_path)
    assert len(dataset.normals) == 11
    assert "003.png lies among good parts, and its mask marks a defect" in dataset.unreadable[0]
    assert dataset.files.left_out["of unknown label"] == ("train/good/003.png",)


def ksdd2(folder: Path, mask: np.ndarray) -> Path:
    for part, start in (("train", 0), ("test", 100)):
        for number in range(start, start + 4):
            save(folder / part / f"{number}.png", picture(number))
            save(folder / part / f"{number}_GT.png", np.zeros_like(mask))
        save(folder / part / f"{500 + start}.png", picture(500 + start, defective=True))
        save(folder / part / f"{500 + start}_GT.png", mask)
    return folder


@pytest.mark.parametrize("value", [1, 2, 255])
def test_class_numbers_make_no_defect_normal(tmp_path: Path, value: int) -> None:
    dataset = find_samples(ksdd2(tmp_path, truth().astype(np.uint8) * value))
    assert kinds(dataset) == (4, {DEFECT: 1}, {"good": 4, DEFECT: 1})
    check_truth(dataset)


@pytest.mark.parametrize("suffix", [".png", ".webp"])
def test_mask_that_cannot_be_read_makes_no_defect_normal(tmp_path: Path, suffix: str) -> None:
    ksdd2(tmp_path, truth().astype(np.uint8))
    path = tmp_path / "train" / "500_GT.png"
    path.unlink()
    path.with_suffix(suffix).write_bytes(b"RIFF....WEBP")
    dataset = find_samples(tmp_path)
    assert kinds(dataset) == (4, {}, {"good": 4, DEFECT: 1})
    assert len(dataset.unreadable) == 1


def test_label_of_another_format_keeps_a_defect_of_dagm_defective(tmp_path: Path) -> None:
    good(tmp_path / "Train", 4, start=0)
    bad(tmp_path / "Train", 2)
    masks(tmp_path / "Train" / "Label", 2, "{}_label.png")
    (tmp_path / "Train" / "Label" / "500_label.png").rename(
        tmp_path / "Train" / "Label" / "500_label.webp"
    )
    dataset = find_samples(tmp_path)
    assert kinds(dataset) == (4, {DEFECT: 2}, {})


def test_category_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    mvtec(tmp_path / "bottle")
    good(tmp_path / "cable" / "train" / "parts", 3)
    with pytest.raises(DatasetError, match=r"cable holds train/parts, and none of them is named"):
        find_datasets(tmp_path)


def test_pictures_without_a_kind_are_refused_with_where_to_put_them(tmp_path: Path) -> None:
    good(tmp_path / "train", 3)
    with pytest.raises(DatasetError, match="pictures in train and nothing says which are good"):
        find_samples(tmp_path)
