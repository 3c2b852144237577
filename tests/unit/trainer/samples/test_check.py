"""What a look at a data folder finds."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from inputs.data_folders import bad, good, mvtec, picture, save, truth

from trainer.group_rules import GroupRule, name_groups
from trainer.layouts import find_samples
from trainer.samples.check import DataCheck, check_dataset


class Quiet:
    def step(self, name: str, total: int | None) -> "Quiet":
        del name, total
        return self

    def __enter__(self) -> object:
        return lambda _: None

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return mvtec(tmp_path / "part")


def check(folder: Path) -> DataCheck:
    return check_dataset(find_samples(folder), Quiet())


def doubts(folder: Path) -> str:
    return "\n".join(check(folder).doubts)


def test_parts_masks_and_a_sheet_are_shown(folder: Path) -> None:
    seen = check(folder)
    assert (seen.learned, seen.tested) == ({"good": 12}, {"good": 3, "scratch": 4})
    assert (seen.masks, seen.read, seen.sizes) == (4, 19, {"40x60": 19})
    green = (seen.sheet == (60, 220, 60)).all(axis=2)
    assert green.sum() > 100  # the masks are drawn in
    assert "sheet" not in seen.as_json()


def test_ordinary_set_raises_no_doubt_but_its_size(folder: Path) -> None:
    said = check(folder).doubts
    assert len(said) == 2
    assert all("pictures of good parts to learn" in s or "to test with" in s for s in said)


def test_copies_and_those_across_the_parts_are_named(folder: Path) -> None:
    shutil.copy(folder / "train" / "good" / "000.png", folder / "test" / "good" / "900.png")
    said = doubts(folder)
    assert "1 of 20 pictures are copies of another or nearly so, 1 to the pixel" in said
    assert "train/good/000.png = test/good/900.png" in said
    assert "1 copies stand on both sides" in said


def test_copy_that_is_called_good_and_defective_is_named(folder: Path) -> None:
    shutil.copy(folder / "test" / "scratch" / "500.png", folder / "train" / "good" / "900.png")
    assert "1 copies are called good and defective" in doubts(folder)


def test_series_of_pictures_is_doubted(folder: Path) -> None:
    shutil.rmtree(folder / "train" / "good")
    rng = np.random.default_rng(5)
    for number in range(24):
        pixels = picture(number // 8).astype(int) + rng.integers(-12, 13, (1, 1, 3))
        noise = rng.normal(0, 9, pixels.shape)
        shifted = np.roll(pixels + noise, number % 8, axis=1)
        save(folder / "train" / "good" / f"{number:03}.png", np.clip(shifted, 0, 255).astype("u1"))
    said = doubts(folder)
    assert "pictures that follow one another by name are more alike than others" in said
    dataset = name_groups(find_samples(folder), GroupRule(pattern="good/00"))
    assert not any("follow one another" in each for each in check_dataset(dataset, Quiet()).doubts)


def test_two_products_in_one_folder_are_doubted(folder: Path) -> None:
    shutil.rmtree(folder / "train" / "good")
    shutil.rmtree(folder / "test" / "good")
    rng = np.random.default_rng(5)
    for number in range(20):
        pixels = picture(1 + number % 2) + rng.normal(0, 9, (40, 60, 3))
        save(folder / "train" / "good" / f"{number:03}.png", np.clip(pixels, 0, 255).astype("u1"))
    assert "two groups that look unlike each other" in doubts(folder)


def test_sizes_masks_and_black_and_white_pictures_are_doubted(folder: Path) -> None:
    save(folder / "train" / "good" / "900.png", picture(900)[:, :40])
    save(folder / "train" / "good" / "901.png", truth().astype(np.uint8) * 255)
    inverted = (~truth()).astype(np.uint8) * 255
    save(folder / "ground_truth" / "scratch" / "500_mask.png", inverted)
    save(folder / "ground_truth" / "scratch" / "501_mask.png", inverted.T)
    (folder / "ground_truth" / "scratch" / "502_mask.png").unlink()
    said = doubts(folder)
    assert "pictures of 2 sizes and of different proportions: 40x60" in said
    assert "1 pictures are black and white: are they masks? train/good/901.png" in said
    assert "marks 95% of test/scratch/500.png" in said
    assert "is 60 x 40, its picture 40 x 60, turned" in said
    assert "1 of 4 defects have no mask" in said


def test_large_folder_is_looked_at_in_part(folder: Path) -> None:
    seen = check_dataset(find_samples(folder), Quiet(), most=5)
    assert seen.read == 5
    assert seen.learned == {"good": 12}


def test_small_and_large_plain_folders_are_checked_alike(tmp_path: Path) -> None:
    good(tmp_path / "OK", 10)
    bad(tmp_path / "NG", 2)
    assert check(tmp_path).tested == {"good": 2, "NG": 2}
