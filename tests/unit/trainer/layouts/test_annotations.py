"""Outlines of COCO, LabelMe and CVAT; pycocotools is the judge of the former."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from inputs.data_folders import HEIGHT, WIDTH, good, mvtec, picture, save, truth
from pycocotools import mask as coco_mask

from trainer.dataset import GOOD, Dataset
from trainer.errors import DatasetError, MaskError
from trainer.layouts import find_samples
from trainer.outlines import Outlines, counts_of_mask, counts_of_text, draw_outlines, mask_of_counts
from trainer.truth import read_truth

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
# the corners of the drawn defect: rows 8 to 16, columns 20 to 34
CORNERS = [(20.0, 8.0), (34.0, 8.0), (34.0, 16.0), (20.0, 16.0)]
SHAPE = (HEIGHT, WIDTH)


def pictures(folder: Path, defects: int = 2) -> None:
    good(folder, 10)
    for number in range(500, 500 + defects):
        save(folder / f"{number}.png", picture(number, defective=True))


def coco(segmentation: object, **changes: object) -> dict[str, Any]:
    names = [*(f"{n:03}.png" for n in range(10)), "500.png", "501.png"]
    return {
        "images": [
            {"id": n, "file_name": name, "height": HEIGHT, "width": WIDTH} | changes
            for n, name in enumerate(names)
        ],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 7, "segmentation": segmentation}
            for n in (10, 11)
        ],
        "categories": [{"id": 7, "name": "scratch"}, {"id": 8, "name": "Good"}],
    }


def write_coco(folder: Path, document: dict[str, Any]) -> Path:
    (folder / "annotations.json").write_text(json.dumps(document))
    return folder


def check(dataset: Dataset) -> None:
    assert len(dataset.normals) == 8
    assert [sample.kind for sample in dataset.test] == [GOOD, GOOD, "scratch", "scratch"]
    for sample in dataset.test[2:]:
        assert np.array_equal(read_truth(sample, SHAPE), truth())


def rle() -> dict[str, Any]:
    return coco_mask.encode(np.asfortranarray(truth().astype(np.uint8)))


FORMS = {
    "polygon": [[value for corner in CORNERS for value in corner]],
    "runs": {"size": list(SHAPE), "counts": counts_of_mask(truth())},
    "compressed runs": {"size": list(SHAPE), "counts": rle()["counts"].decode()},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("inner", ["", "images"])
def test_coco_says_what_is_good_and_where_the_defects_are(
    tmp_path: Path, form: str, inner: str
) -> None:
    pictures(tmp_path / inner)
    check(find_samples(write_coco(tmp_path, coco(FORMS[form]))))


def test_coco_with_train_and_test_keeps_its_parts(tmp_path: Path) -> None:
    for part in ("train", "valid", "test"):
        pictures(tmp_path / part)
        document = coco(FORMS["polygon"])
        (tmp_path / part / "_annotations.coco.json").write_text(json.dumps(document))
    dataset = find_samples(tmp_path)
    assert (len(dataset.normals), len(dataset.defects), len(dataset.test)) == (20, 4, 12)


def test_picture_that_coco_does_not_list_is_of_unknown_label(tmp_path: Path) -> None:
    pictures(tmp_path, defects=3)
    dataset = find_samples(write_coco(tmp_path, coco(FORMS["polygon"])))
    check(dataset)
    assert "502.png: no annotation file says" in dataset.unreadable[0]


def test_box_is_no_mask_and_its_picture_stays_a_defect(tmp_path: Path) -> None:
    pictures(tmp_path)
    dataset = find_samples(write_coco(tmp_path, coco([])))
    assert [(s.kind, s.mask) for s in dataset.test[2:]] == [("scratch", None)] * 2
    assert "a box is not a mask, draw a polygon" in dataset.notes[0]


def test_outlines_of_another_size_are_refused_as_masks_are(tmp_path: Path) -> None:
    pictures(tmp_path)
    folder = write_coco(tmp_path, coco(FORMS["polygon"], height=WIDTH, width=HEIGHT))
    sample = find_samples(folder).test[-1]
    with pytest.raises(MaskError, match="is 60 x 40, its picture 40 x 60, turned"):
        read_truth(sample, SHAPE)


@pytest.mark.parametrize(
    "document",
    [
        {"images": [{}], "annotations": []},
        coco({"counts": [1, -2], "size": [1, 1]}) | {"annotations": [{"image_id": 1}]},
        coco([[1.0, 2.0, 3.0]]),
        coco({"counts": "\x7f", "size": list(SHAPE)}),
    ],
)
def test_damaged_coco_is_refused_by_name(tmp_path: Path, document: dict[str, Any]) -> None:
    pictures(tmp_path)
    with pytest.raises(DatasetError):
        find_samples(write_coco(tmp_path, document))


def test_runs_that_do_not_fill_the_picture_are_refused(tmp_path: Path) -> None:
    pictures(tmp_path)
    folder = write_coco(tmp_path, coco({"counts": [5, 5], "size": list(SHAPE)}))
    with pytest.raises(MaskError, match="runs of 10 pixels, the picture has 40x60"):
        read_truth(find_samples(folder).test[-1], SHAPE)


def labelme(shapes: list[dict[str, Any]], name: str) -> str:
    return json.dumps(
        {"shapes": shapes, "imagePath": name, "imageHeight": HEIGHT, "imageWidth": WIDTH}
    )


LABELME = {
    "polygon": {"label": "scratch", "points": CORNERS, "shape_type": "polygon"},
    "rectangle": {"label": "scratch", "points": [(20, 8), (34, 16)], "shape_type": "rectangle"},
}


@pytest.mark.parametrize("form", LABELME)
def test_labelme_files_lie_beside_their_pictures(tmp_path: Path, form: str) -> None:
    pictures(tmp_path)
    for path in sorted(tmp_path.glob("*.png")):
        shapes = [LABELME[form]] if path.stem.startswith("5") else []
        path.with_suffix(".json").write_text(labelme(shapes, path.name))
    check(find_samples(tmp_path))


def test_labelme_beside_the_pictures_of_a_kind_are_its_masks(tmp_path: Path) -> None:
    mvtec(tmp_path)
    for path in (tmp_path / "ground_truth").rglob("*.png"):
        path.unlink()
    for path in (tmp_path / "test" / "scratch").glob("*.png"):
        path.with_suffix(".json").write_text(labelme([LABELME["polygon"]], path.name))
    for sample in find_samples(tmp_path).test[3:]:
        assert np.array_equal(read_truth(sample, SHAPE), truth())


def test_line_of_labelme_encloses_nothing(tmp_path: Path) -> None:
    pictures(tmp_path)
    line = {"label": "scratch", "points": [(1, 1), (9, 9)], "shape_type": "line"}
    for path in sorted(tmp_path.glob("*.png")):
        shapes = [line] if path.stem.startswith("5") else []
        path.with_suffix(".json").write_text(labelme(shapes, path.name))
    dataset = find_samples(tmp_path)
    assert [(s.kind, s.mask) for s in dataset.test[2:]] == [("scratch", None)] * 2
    assert "a line encloses nothing: draw a polygon" in dataset.notes[0]


def cvat(shape: str) -> str:
    images = [f"{n:03}.png" for n in range(10)] + ["500.png", "501.png"]
    return "<annotations><version>1.1</version>{}</annotations>".format(
        "".join(
            f'<image id="{n}" name="{name}" width="{WIDTH}" height="{HEIGHT}">'
            + (shape if name.startswith("5") else "")
            + "</image>"
            for n, name in enumerate(images)
        )
    )


CVAT = {
    "polygon": '<polygon label="scratch" points="20,8;34,8;34,16;20,16"/>',
    "box": '<box label="scratch" xtl="20" ytl="8" xbr="34" ybr="16"/>',
    "mask": '<mask label="scratch" rle="0,112" left="20" top="8" width="14" height="8"/>',
}


@pytest.mark.parametrize("form", CVAT)
def test_cvat_says_what_is_good_and_where_the_defects_are(tmp_path: Path, form: str) -> None:
    pictures(tmp_path / "images")
    (tmp_path / "annotations.xml").write_text(cvat(CVAT[form]))
    check(find_samples(tmp_path))


def test_cvat_file_that_declares_entities_is_refused(tmp_path: Path) -> None:
    pictures(tmp_path)
    bomb = '<!DOCTYPE a [<!ENTITY b "c">]>'
    (tmp_path / "annotations.xml").write_text(bomb + cvat(CVAT["polygon"]))
    with pytest.raises(DatasetError, match="declares a document type"):
        find_samples(tmp_path)


MASKS = arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))


@given(MASKS)
def test_runs_are_those_of_pycocotools(mask: np.ndarray) -> None:
    counts = counts_of_mask(mask)
    size = list(mask.shape)
    theirs = coco_mask.frPyObjects({"size": size, "counts": counts}, *size)
    assert np.array_equal(coco_mask.decode(theirs), mask)
    assert np.array_equal(mask_of_counts(counts, mask.shape), mask)
    assert list(counts_of_text(theirs["counts"].decode())) == counts


@given(st.lists(st.tuples(st.floats(0, 59), st.floats(0, 39)), min_size=3, max_size=8))
def test_polygons_differ_from_pycocotools_by_their_rim_only(
    corners: list[tuple[float, float]],
) -> None:
    ours = draw_outlines(Outlines(0, 0, (tuple(corners),)), SHAPE)
    flat = [[value for corner in corners for value in corner]]
    theirs = coco_mask.decode(coco_mask.frPyObjects(flat, *SHAPE))[..., 0].astype(np.bool_)
    rim = np.zeros(SHAPE, np.bool_)
    for (x, y), (to_x, to_y) in zip(corners, corners[1:] + corners[:1], strict=True):
        for step in np.linspace(0, 1, 300):
            row, column = y + step * (to_y - y), x + step * (to_x - x)
            rows = slice(max(0, int(row) - 1), int(row) + 2)
            rim[rows, max(0, int(column) - 1) : int(column) + 2] = True
    assert not (ours ^ theirs)[~rim].any()
