from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from trainer.dataset import GOOD, load_pictures, snapshot
from trainer.errors import DatasetError, MaskError
from trainer.layouts import find_samples
from trainer.truth import truth_at


def draw(path: Path, grey: int = 90, side: int = 20) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((side, side, 3), grey, np.uint8))


@pytest.fixture
def mvtec(tmp_path: Path) -> Path:
    for name in ("b.png", "a.jpg", "c.bmp"):
        draw(tmp_path / "train" / "good" / name)
    draw(tmp_path / "test" / "good" / "000.png")
    draw(tmp_path / "test" / "dent" / "000.jpg")
    draw(tmp_path / "test" / "dent" / "001.png")
    draw(tmp_path / "ground_truth" / "dent" / "000_mask.png", 255)
    (tmp_path / "train" / "good" / "notes.txt").write_text("no picture")
    return tmp_path


def test_mvtec_layout_is_read_by_name_and_masks_by_stem(mvtec: Path) -> None:
    dataset = find_samples(mvtec)
    assert [sample.name for sample in dataset.normals] == [
        "train/good/a.jpg",
        "train/good/b.png",
        "train/good/c.bmp",
    ]
    assert [(sample.kind, sample.mask is not None) for sample in dataset.test] == [
        (GOOD, False),
        ("dent", True),
        ("dent", False),
    ]


def test_plain_layout_keeps_every_fifth_normal_for_the_test(tmp_path: Path) -> None:
    for number in range(10):
        draw(tmp_path / "normal" / f"{number}.png")
    assert len(find_samples(tmp_path).normals) == 10
    draw(tmp_path / "abnormal" / "x.png")
    draw(tmp_path / "mask" / "x.png", 255)
    dataset = find_samples(tmp_path)
    learned, tested = {s.name for s in dataset.normals}, {s.name for s in dataset.test}
    assert tested == {"normal/4.png", "normal/9.png", "abnormal/x.png"}
    assert not learned & tested
    assert dataset.test[-1].mask == tmp_path / "mask" / "x.png"


@pytest.mark.parametrize("folder", ["nothing", "normal", "train/good"])
def test_folder_without_normals_is_refused(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(DatasetError, match=r"good parts|normal parts"):
        find_samples(tmp_path)


def test_one_unreadable_picture_is_named_and_the_rest_is_kept(mvtec: Path) -> None:
    (mvtec / "train" / "good" / "b.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    pictures = load_pictures(find_samples(mvtec).normals, (16, 32))
    assert pictures.pixels.shape == (2, 16, 32, 3)
    assert [sample.path.name for sample in pictures.samples] == ["a.jpg", "c.bmp"]
    assert len(pictures.unreadable) == 1
    assert "b.png" in pictures.unreadable[0]


def test_pictures_that_carry_an_orientation_are_counted_and_named(mvtec: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    pixels = np.random.default_rng(1).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(mvtec / "train" / "good" / "b.png", exif=exif)
    (note,) = load_pictures(find_samples(mvtec).normals, (16, 16)).notes
    assert note.startswith("1 pictures carry an orientation, which is never applied")
    assert note.endswith("(the first: train/good/b.png)")


def test_no_readable_picture_is_an_error(mvtec: Path) -> None:
    for path in (mvtec / "train" / "good").iterdir():
        path.write_bytes(b"broken")
    with pytest.raises(DatasetError, match="none of 3 pictures is readable"):
        load_pictures(find_samples(mvtec).normals, (16, 16))


def test_mask_is_resized_and_unknown_where_there_is_none(mvtec: Path) -> None:
    good, masked, unmasked = find_samples(mvtec).test
    assert not truth_at(good, (20, 20), (8, 8)).any()
    assert truth_at(masked, (20, 20), (8, 12)).all()
    assert truth_at(masked, (20, 20), (8, 12)).shape == (8, 12)
    with pytest.raises(MaskError, match="has no mask"):
        truth_at(unmasked, (20, 20), (8, 8))


def test_mask_of_zeros_and_ones_is_a_mask(mvtec: Path) -> None:
    draw(mvtec / "ground_truth" / "dent" / "000_mask.png", 1)
    assert truth_at(find_samples(mvtec).test[1], (20, 20), (20, 20)).all()


def test_snapshot_changes_with_any_content_and_not_with_order(mvtec: Path) -> None:
    samples = find_samples(mvtec).normals
    before = snapshot("parts", samples)
    assert snapshot("parts", samples[::-1]) == before
    draw(mvtec / "train" / "good" / "c.bmp", 91)
    assert snapshot("parts", samples).sha256 != before.sha256
    assert (before.normals, before.defects) == (3, 0)
