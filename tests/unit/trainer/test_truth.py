"""Where a picture and its masks meet: sizes, empty masks, several masks, most of a picture."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from inputs.data_folders import HEIGHT, WIDTH, mvtec, picture, save, truth

from trainer.dataset import Sample, load_pictures
from trainer.errors import DatasetError, MaskError
from trainer.layouts import find_samples
from trainer.results.evaluation import known_masks
from trainer.samples.import_export import import_samples
from trainer.samples.records import AddResult
from trainer.seen import draw_seen
from trainer.truth import cover, read_truth

SHAPE = (HEIGHT, WIDTH)
BAD = {
    "turned": (truth().T.astype(np.uint8) * 255, "is 60 x 40, its picture 40 x 60, turned"),
    "half": (truth()[::2, ::2].astype(np.uint8) * 255, "must have its picture's size"),
    "empty": (np.zeros(SHAPE, np.uint8), "marks no pixel"),
}


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
    return mvtec(tmp_path)


def mask_path(folder: Path) -> Path:
    return folder / "ground_truth" / "scratch" / "500_mask.png"


@pytest.mark.parametrize("fault", BAD)
def test_every_reader_refuses_the_mask_with_the_same_sentence(folder: Path, fault: str) -> None:
    pixels, sentence = BAD[fault]
    save(mask_path(folder), pixels)
    dataset = find_samples(folder)
    with pytest.raises(DatasetError, match=sentence) as drawn:
        draw_seen(dataset, 4, 1)
    evaluated = known_masks(load_pictures(dataset.test, (32, 32)), (32, 32))
    added: list[np.ndarray | None] = []

    def add(_: np.ndarray, kind: str, mask: np.ndarray | None, __: object, ___: str) -> AddResult:
        if kind != "good":
            added.append(mask)
        return AddResult("", "new", golden=False)

    report = import_samples(dataset, add, Quiet())
    assert evaluated.refused == report.unreadable == (str(drawn.value),)
    assert [mask is None for mask in evaluated.masks].count(True) == 1
    assert [mask is None for mask in added].count(True) == 1


def test_unreadable_mask_is_named_with_its_reason(folder: Path) -> None:
    mask_path(folder).write_bytes(b"RIFF1234WEBP")
    evaluated = known_masks(load_pictures(find_samples(folder).test, (32, 32)), (32, 32))
    assert len(evaluated.refused) == 1
    assert "not a PNG, JPEG, BMP or TIFF picture but WebP" in evaluated.refused[0]


def test_inverted_mask_is_doubted(folder: Path) -> None:
    save(mask_path(folder), (~truth()).astype(np.uint8) * 255)
    evaluated = known_masks(load_pictures(find_samples(folder).test, (32, 32)), (32, 32))
    assert evaluated.refused == ()
    assert len(evaluated.doubtful) == 1
    assert "marks 95% of test/scratch/500.png" in evaluated.doubtful[0]
    assert "is it inverted?" in evaluated.doubtful[0]


def test_masks_of_different_sizes_are_not_joined(folder: Path) -> None:
    other = save(folder / "other.png", truth().T.astype(np.uint8) * 255)
    sample = replace(find_samples(folder).test[-1], more_masks=(other,))
    with pytest.raises(MaskError, match="must have its picture's size"):
        read_truth(sample, SHAPE)


def test_reasons_are_named_where_no_defect_reads(folder: Path) -> None:
    for path in (folder / "test" / "scratch").iterdir():
        save(path, (picture(1)[..., 0].astype(np.uint16) * 4))
    with pytest.raises(DatasetError, match=r"none of 4 defects .*the first: .*16-bit picture"):
        draw_seen(find_samples(folder), 2, 1)


def test_small_mask_is_not_doubted() -> None:
    sample = Sample("a", Path("a"), "scratch", Path("m"))
    assert not cover(sample, truth())


def test_picture_says_what_of_its_file_was_not_applied(folder: Path) -> None:
    for path in (folder / "train" / "good").iterdir():
        save(path, picture(1)[..., 0].astype(np.uint16) * 257)
    pictures = load_pictures(find_samples(folder).normals, (32, 32))
    assert pictures.notes[0].startswith("12 pictures have 16 bits: the upper 8 of them are taken")
    assert np.array_equal(pictures.shapes, [SHAPE] * 12)
