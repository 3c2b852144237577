"""Folders with names, links, rights and numbers of files that are unusual and still happen."""

import json
import os
import sys
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from inputs.data_folders import bad, masks, mvtec, picture, save, truth

from trainer.dataset import Dataset
from trainer.errors import DatasetError
from trainer.group_rules import GroupRule, name_groups
from trainer.layouts import find_samples
from trainer.truth import read_truth

FORMS = ("NFC", "NFD")


def kinds_of(folder: Path) -> Counter[str]:
    return Counter(sample.kind for sample in find_samples(folder).test)


def masked(dataset: Dataset) -> int:
    """How many defects have the mask that was drawn."""
    defects = [sample for sample in (*dataset.test, *dataset.defects) if sample.kind != "good"]
    assert all(np.array_equal(read_truth(each, truth().shape), truth()) for each in defects)
    return len(defects)


@pytest.mark.parametrize("of_pictures", FORMS)
@pytest.mark.parametrize("of_masks", FORMS)
def test_masks_are_found_whatever_normal_form_their_names_have(
    tmp_path: Path, of_pictures: str, of_masks: str
) -> None:
    mvtec(tmp_path)
    kind, name = "Kratzer groß é", "Größe ä"
    ours, theirs = (unicodedata.normalize(form, kind) for form in (of_pictures, of_masks))
    for number in range(3):
        stem = unicodedata.normalize(of_pictures, f"{name}{number}")
        save(tmp_path / "test" / ours / f"{stem}.png", picture(700 + number, defective=True))
        stem = unicodedata.normalize(of_masks, f"{name}{number}_mask")
        save(tmp_path / "ground_truth" / theirs / f"{stem}.png", truth().astype(np.uint8) * 255)
    dataset = find_samples(tmp_path)
    assert masked(dataset) == 7
    assert Counter(sample.kind for sample in dataset.test)[kind] == 3
    assert all(sample.path.is_file() for sample in dataset.test)
    assert dataset.files.left_out == {}


@pytest.mark.parametrize("form", FORMS)
def test_annotations_and_groups_name_pictures_in_either_normal_form(
    tmp_path: Path, form: str
) -> None:
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    names = [f"Größe ä{number}.png" for number in range(6)]
    for number, name in enumerate(names):
        save(tmp_path / "set" / unicodedata.normalize(form, name), picture(number))
    written = [unicodedata.normalize(other, name) for name in names]
    images = [{"id": n, "file_name": name} for n, name in enumerate(written)]
    mark = {"image_id": 5, "category_id": 1, "segmentation": [[20, 8, 34, 8, 34, 16, 20, 16]]}
    categories = [{"id": 1, "name": "dent"}]
    document = {"images": images, "annotations": [mark], "categories": categories}
    (tmp_path / "set" / "list.json").write_text(json.dumps(document))
    (tmp_path / "groups.csv").write_text(f"{written[0]},one\n{written[1]},one\n", "utf-8")
    dataset = name_groups(find_samples(tmp_path / "set"), GroupRule(tmp_path / "groups.csv"))
    assert masked(dataset) == 1
    assert [sample.group for sample in dataset.normals].count("one") == 2


def test_same_name_in_both_normal_forms_is_two_files(tmp_path: Path) -> None:
    mvtec(tmp_path)
    for seed, form in enumerate(FORMS):
        name = unicodedata.normalize(form, "ä.png")
        save(tmp_path / "train" / "good" / name, picture(800 + seed))
    dataset = find_samples(tmp_path)
    assert len({sample.path for sample in dataset.normals}) == 14
    assert all(sample.path.is_file() for sample in dataset.normals)


@pytest.mark.parametrize(
    "kind", ["划痕", "царапина", "خدش", "キズ 1", "rayure.v2", "  spaced ", "a'b\"c", "100%", "…"]
)
def test_kinds_of_any_script_keep_their_masks(tmp_path: Path, kind: str) -> None:
    mvtec(tmp_path)
    bad(tmp_path / "test" / kind, 2, start=600)
    masks(tmp_path / "ground_truth" / kind, 2, start=600)
    assert masked(find_samples(tmp_path)) == 6
    assert kinds_of(tmp_path)[kind] == 2


def test_dots_in_names_are_no_suffixes(tmp_path: Path) -> None:
    mvtec(tmp_path)
    for stem in ("part.1.2", "part.1.2.3", "part.1.2_mask.old"):
        save(tmp_path / "test" / "scratch" / f"{stem}.png", picture(600, defective=True))
        mask = tmp_path / "ground_truth" / "scratch" / f"{stem}_mask.png"
        save(mask, truth().astype(np.uint8) * 255)
    assert masked(find_samples(tmp_path)) == 7


def test_links_to_nothing_and_pipes_are_named_and_loops_are_walked_once(tmp_path: Path) -> None:
    good_parts = mvtec(tmp_path) / "train" / "good"
    (good_parts / "gone.png").symlink_to("/nowhere/gone.png")
    (tmp_path / "test" / "dead").symlink_to("/nowhere")
    (good_parts / "loop").symlink_to(tmp_path / "train")
    os.mkfifo(good_parts / "pipe.png")
    dataset = find_samples(tmp_path)
    assert len(dataset.normals) == 12
    assert dataset.files.left_out == {
        "a link to nothing": ("test/dead", "train/good/gone.png"),
        "not a regular file": ("train/good/pipe.png",),
    }


def test_names_that_cannot_be_printed_are_left_out_and_named(tmp_path: Path) -> None:
    mvtec(tmp_path)
    content = (tmp_path / "test" / "scratch" / "500.png").read_bytes()
    for name in (b"train/good/\xff.png", b"test/\xe4rger/500.png", b"test/scr\n\x1b[2Ja/501.png"):
        path = Path(os.fsdecode(bytes(tmp_path) + b"/" + name))
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    dataset = find_samples(tmp_path)
    assert (len(dataset.normals), len(dataset.test)) == (12, 7)
    assert dataset.files.left_out == {
        "a name that is not UTF-8: rename it": ("test/�rger/500.png", "train/good/�.png"),
        "a name with control characters: rename it": ("test/scr��[2Ja/501.png",),
    }
    assert dataset.files.line().encode().isascii() is False
    json.dumps(dataset.files.as_json())


@contextmanager
def as_ordinary_user() -> Iterator[None]:
    """Return up the rights of root, to whom no folder is closed."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_folder_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    del tmp_path  # of root's alone
    with tempfile.TemporaryDirectory() as name:
        folder = mvtec(Path(name) / "part")
        Path(name).chmod(0o755)
        (folder / "test" / "scratch").chmod(0)
        with (
            as_ordinary_user(),
            pytest.raises(DatasetError, match="part/test/scratch: Permission denied"),
        ):
            find_samples(folder)
        (folder / "test" / "scratch").chmod(0o755)
        (folder / "test" / "scratch" / "500.png").chmod(0)
        dataset = find_samples(folder)
        sample = next(each for each in dataset.test if each.path.stem == "500")
        with as_ordinary_user(), pytest.raises(Exception, match=r"500\.png: Permission denied"):
            sample.read()


def many(folder: Path, count: int) -> Path:
    """LabelMe's form, with a file beside each picture."""
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.jpg").touch()
        document = {"imagePath": f"{number}.jpg", "shapes": []}
        (folder / f"{number}.json").write_text(json.dumps(document))
    return folder


def calls_of(folder: Path) -> int:
    """How many functions are called to find the samples of a folder."""
    calls = 0

    def count(_: object, event: str, __: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        find_samples(folder)
    finally:
        sys.setprofile(None)
    return calls


def test_work_grows_with_the_number_of_files_and_not_with_its_square(tmp_path: Path) -> None:
    few, some = (calls_of(many(tmp_path / str(count), count)) for count in (100, 400))
    assert 3 * few < some < 5 * few


def test_twenty_thousand_files_are_all_accounted_for(tmp_path: Path) -> None:
    for inner, count, start in (("train/good", 15000, 0), ("test/good", 2000, 20000)):
        (tmp_path / inner).mkdir(parents=True)
        for number in range(start, start + count):
            (tmp_path / inner / f"{number}.png").touch()
    bad(tmp_path / "test" / "scratch", 2)
    for number in range(3000):
        (tmp_path / "test" / "scratch" / f"{number}.webp").touch()
    dataset = find_samples(tmp_path)
    assert (len(dataset.normals), len(dataset.test)) == (15000, 2002)
    assert sum(map(len, dataset.files.left_out.values())) == 3000
    assert len(dataset.files.line()) < 200
