"""DAGM's list of labels, compared with the labels that lie beside it."""

from collections.abc import Iterable
from pathlib import Path

import pytest
from inputs.data_folders import bad, good, masks

from trainer.dataset import GOOD, Dataset
from trainer.layouts import find_samples


def rows(goods: Iterable[int], defects: Iterable[int]) -> str:
    """As the data set's authors write it: tabs, and a first line that says 1."""
    return "1\n" + "".join(
        [f"{n:04}\t0\t{n:03}.png\t0\t0\n" for n in goods]
        + [f"{n:04}\t1\t{n:03}.PNG\t1\t{n:03}_label.PNG\n" for n in defects]
    )


def dagm(folder: Path, listed: str) -> Path:
    good(folder / "Train", 6)
    bad(folder / "Train", 3)
    masks(folder / "Train" / "Label", 3, "{}_label.png")
    (folder / "Train" / "Label" / "Labels.txt").write_text(listed, "utf-8")
    good(folder / "Test", 2, start=20)
    return folder


def found(folder: Path, listed: str) -> Dataset:
    return find_samples(dagm(folder, listed))


def test_list_that_agrees_says_nothing_and_is_taken(tmp_path: Path) -> None:
    dataset = found(tmp_path, rows(range(6), range(500, 503)))
    assert (dataset.notes, dataset.unreadable) == ((), ())
    assert (len(dataset.normals), len(dataset.defects)) == (6, 3)
    assert (dataset.files.masks, dataset.files.left_out) == (4, {})


def test_picture_that_the_list_calls_defective_is_no_normal(tmp_path: Path) -> None:
    dataset = found(tmp_path, rows([0, 1, 2, 3, 4], [5, *range(500, 503)]))
    assert [sample.path.stem for sample in dataset.normals] == ["000", "001", "002", "003", "004"]
    (sentence,) = dataset.unreadable
    assert "005.png has no label, and its list of labels calls it defective" in sentence
    assert dataset.files.left_out == {"of unknown label": ("Train/005.png",)}


def test_picture_with_a_label_that_the_list_calls_good_is_in_no_part(tmp_path: Path) -> None:
    dataset = found(tmp_path, rows([*range(6), 502], [500, 501]))
    assert [sample.path.stem for sample in dataset.defects] == ["500", "501"]
    assert all(sample.kind == GOOD for sample in dataset.normals)
    (sentence,) = dataset.unreadable
    assert "502.png has the label Train/Label/502_label.png, and its list" in sentence


def test_pictures_that_only_one_of_both_knows_are_named(tmp_path: Path) -> None:
    dataset = found(tmp_path, rows([*range(5), 77], range(500, 503)))
    assert len(dataset.normals) == 6
    unlisted, gone = dataset.notes
    assert "1 pictures are not in Labels.txt (005.png)" in unlisted
    assert "names 1 pictures that are not there (077.png)" in gone


@pytest.mark.parametrize("listed", ["", "1\n", "\ufeff1\n"])
def test_list_without_rows_says_nothing(tmp_path: Path, listed: str) -> None:
    dataset = found(tmp_path, listed)
    assert (dataset.notes, len(dataset.normals)) == ((), 6)


def test_list_of_another_form_is_named_and_not_used(tmp_path: Path) -> None:
    dataset = found(tmp_path, "picture;defect\n000.png;yes\n")
    assert len(dataset.normals) == 6
    assert "2 lines are not understood, such as 'picture;defect'" in dataset.notes[0]
