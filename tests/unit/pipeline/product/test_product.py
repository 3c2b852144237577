"""The drawn product: the same for the same seed, and every mask marks just its defect."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.errors import SettingsError
from pipeline.product.defects import Scene, apply_on_top, apply_to_part
from pipeline.product.product import DEFECTS, Defect, PartType, draw_part, write_product
from pipeline.product.shapes import Pose, draw_shape, shape_of
from pipeline.product.surface import Light

EVERY = [(part_type, defect) for part_type in PartType for defect in DEFECTS[part_type]]


def rng(*seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("part_type", PartType)
@pytest.mark.parametrize("size", [(256, 256), (64, 64), (96, 160), (131, 77), (32, 32)])
def test_a_good_part_has_no_mask_and_lies_in_the_picture(
    part_type: PartType, size: tuple[int, int]
) -> None:
    pixels, touched = draw_part(rng(1), part_type, None, size)
    assert pixels.shape == (*size, 3)
    assert pixels.dtype == np.uint8
    assert not touched.any()
    height, width = size
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert pixels.max() > edge.max()
    assert pixels[height // 8 : -height // 8, width // 8 : -width // 8].mean() > edge.mean()


@pytest.mark.parametrize(("part_type", "defect"), EVERY)
@pytest.mark.parametrize("size", [(256, 256), (131, 77)])
def test_drawing_follows_from_the_seed(
    part_type: PartType, defect: Defect, size: tuple[int, int]
) -> None:
    one, mask = draw_part(rng(2, 3), part_type, defect, size)
    again, same_mask = draw_part(rng(2, 3), part_type, defect, size)
    other, _ = draw_part(rng(2, 4), part_type, defect, size)
    assert np.array_equal(one, again)
    assert np.array_equal(mask, same_mask)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize(("part_type", "defect"), EVERY)
def test_a_mask_marks_a_small_part_of_the_picture(part_type: PartType, defect: Defect) -> None:
    for seed in range(25):
        _, touched = draw_part(rng(seed), part_type, defect)
        assert touched.dtype == np.bool_
        assert 20 <= touched.sum() < 0.05 * touched.size


def scene_of(part_type: PartType) -> Scene:
    pose = Pose((256, 256), angle=0.05, shift=(0.02, -0.01))
    shape = shape_of(part_type)
    face = np.full((256, 256), 0.5, np.float32)
    return Scene(pose, shape, Light(-2.2, 1.0, 0.1), draw_shape(pose, shape), face)


@pytest.mark.parametrize(("part_type", "defect"), EVERY)
def test_a_defect_changes_what_its_mask_marks_and_hardly_anything_else(
    part_type: PartType, defect: Defect
) -> None:
    """What changes outside of the mask is the soft edge of the defect, some pixels wide."""
    for seed in range(15):
        scene, before = scene_of(part_type), scene_of(part_type)
        picture = np.full((256, 256, 3), 0.5, np.float32)
        touched = apply_to_part(rng(seed), defect, scene)
        if touched is None:
            touched = apply_on_top(rng(seed), defect, scene, picture)
        changed = (
            np.abs(scene.face - before.face) / 0.5
            + np.abs(scene.cover.astype(np.float32) - before.cover) / 255
            + np.abs(picture - 0.5).max(axis=2)
        )
        assert touched.any()
        assert np.mean(changed[touched] > 0.02) > 0.85
        near = cv2.dilate(touched.astype(np.uint8), np.ones((13, 13), np.uint8)).astype(np.bool_)
        assert changed[~near].max() < 0.1


def test_a_missing_hole_is_metal_and_a_missing_tooth_is_belt() -> None:
    seen = set()
    for seed in range(30):
        scene, before = scene_of(PartType.GEAR), scene_of(PartType.GEAR)
        touched = apply_to_part(rng(seed), Defect.MISSING, scene)
        assert touched is not None
        grown = scene.cover.astype(int) - before.cover
        assert (grown[touched] > 0).all() or (grown[touched] < 0).all()
        seen.add(bool(grown[touched].max() > 0))
    assert seen == {True, False}


def test_a_picture_too_small_to_draw_in_is_refused() -> None:
    with pytest.raises(ValueError, match="32 pixels"):
        draw_part(rng(1), PartType.NUT, None, (31, 64))


def test_a_product_has_the_layout_that_training_reads(tmp_path: Path) -> None:
    folder = tmp_path / "product"
    write_product(folder, 7, normals=8, test_good=4, per_defect=2, size=(64, 64))
    assert len(list((folder / "train" / "good").iterdir())) == 8
    assert len(list((folder / "test" / "good").iterdir())) == 4
    assert sorted(path.name for path in (folder / "ground_truth").iterdir()) == sorted(Defect)
    for defect in Defect:
        for picture in (folder / "test" / defect).iterdir():
            mask = read(folder / "ground_truth" / defect / f"{picture.stem}_mask.png")
            assert mask.shape[:2] == read(picture).shape[:2] == (64, 64)
            assert set(np.unique(mask)) == {0, 255}
    assert [path.name for path in tmp_path.iterdir()] == ["product"]


def test_a_product_follows_from_its_seed(tmp_path: Path) -> None:
    def contents(name: str, seed: int) -> dict[str, bytes]:
        folder = tmp_path / name
        write_product(folder, seed, normals=4, test_good=2, per_defect=1, size=(64, 64))
        files = (path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}

    one = contents("one", 7)
    assert contents("again", 7) == one
    other = contents("other", 8)
    assert other.keys() == one.keys()
    assert all(other[name] != one[name] for name in one if not name.startswith("ground_truth"))
    good = [one[name] for name in one if name.endswith("good/0000.png")]
    assert len(set(good)) == len(good) == 2


def test_a_product_overwrites_nothing(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="exists already"):
        write_product(tmp_path, 7, normals=1, test_good=1, per_defect=1)


def test_a_product_of_one_type_has_only_its_defects(tmp_path: Path) -> None:
    folder = tmp_path / "product"
    types = (PartType.WASHER,)
    write_product(folder, 7, 1, 1, 1, part_types=types, size=(64, 64))
    kinds = {path.name for path in (folder / "test").iterdir()}
    assert kinds == {"good", *DEFECTS[PartType.WASHER]}


def read(path: Path) -> NDArray[np.uint8]:
    decoded = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert decoded is not None
    return np.asarray(decoded, np.uint8)


def test_every_defect_is_on_some_part() -> None:
    assert {defect for kinds in DEFECTS.values() for defect in kinds} == set(Defect)
