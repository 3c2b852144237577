"""Format, depth, channels, orientation, masks, layout and flags against each other, all pairs.

Each combination is a folder with one defective picture. Its pixels are compared with what another
decoder makes of the same file, and its mask with what was drawn; or the stated refusal is wanted.
"""

import io
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from inputs.data_folders import good
from PIL import Image

from engines.errors import PictureError
from engines.pictures.rules import PictureRules
from trainer.dataset import GOOD, Dataset, Sample
from trainer.errors import MaskError
from trainer.layouts import find_samples
from trainer.truth import read_truth

ROWS, COLUMNS = 24, 40
Files = list[tuple[str, bytes]]  # suffix and content of each mask file

FORMATS = ("png", "bmp", "tif", "jpg")
DEPTHS = ("1", "8", "12 in 16", "16", "signed", "float")
CHANNELS = ("grey", "rgb", "rgba", "transparent", "palette", "grey-alpha", "cmyk")
ORIENTATIONS = (1, 2, 3, 4, 5, 6, 7, 8)
FLAGS = (None, 12)  # --picture-bits


def stored(depth: str, channels: str) -> np.ndarray | None:
    """What a file is to hold; None where there is no such picture."""
    rng = np.random.default_rng(7)
    count = {"grey": 1, "palette": 1, "rgb": 3, "grey-alpha": 2}.get(channels, 4)
    shape = (ROWS, COLUMNS) if count == 1 else (ROWS, COLUMNS, count)
    if depth != "8" and not (channels == "grey" or (channels == "rgb" and depth.endswith("16"))):
        return None
    if depth in {"1", "float"}:
        return rng.integers(0, 2, shape) > 0 if depth == "1" else rng.random(shape, np.float32)
    if depth == "signed":
        return rng.integers(-128, 128, shape).astype(np.int8)
    top = {"8": 255, "12 in 16": 4095, "16": 65535}[depth]
    values = rng.integers(0, top + 1, shape).astype(np.uint8 if depth == "8" else np.uint16)
    if channels in {"rgba", "transparent", "grey-alpha"}:
        values[..., -1] = 120 if channels == "transparent" else 255
    return values


def encode(form: str, depth: str, channels: str, orientation: int) -> bytes | None:
    """Write with tifffile, OpenCV or Pillow, whichever has such a picture; None where none has."""
    values = stored(depth, channels)
    if values is None or (form == "bmp" and orientation != 1):
        return None
    file = io.BytesIO()
    if form == "tif" and depth not in {"1", "8"}:
        photometric = "rgb" if values.ndim == 3 else "minisblack"
        tag = [(274, "H", 1, orientation, True)]
        tifffile.imwrite(file, values, photometric=photometric, extratags=tag, metadata=None)
        return file.getvalue()
    if form == "png" and depth.endswith("16") and orientation == 1:
        return cv2.imencode(".png", values[..., ::-1] if values.ndim == 3 else values)[1].tobytes()
    modes = {"palette": "P", "grey-alpha": "LA", "cmyk": "CMYK"}
    try:
        picture = Image.fromarray(values, modes.get(channels))
        if channels == "palette":
            picture.putpalette(np.random.default_rng(2).integers(0, 256, 768, np.uint8).tolist())
        exif = Image.Exif()
        if orientation != 1:
            exif[274] = orientation
        picture.save(file, {"jpg": "JPEG", "tif": "TIFF"}.get(form, form.upper()), exif=exif)
    except (OSError, KeyError, ValueError, TypeError):
        return None
    return file.getvalue()


def independent(content: bytes, form: str) -> np.ndarray:
    """The values of a file as another decoder reads them, never turned: [H, W] or [H, W, C]."""
    if form == "tif":  # Pillow turns TIFF files
        page = tifffile.TiffFile(io.BytesIO(content)).pages[0]
        values = page.asarray()
        if page.colormap is None:
            return values
        return (page.colormap[:, values] >> 8).astype(np.uint8).transpose(1, 2, 0)
    picture = Image.open(io.BytesIO(content))
    if picture.mode == "I;16":
        return np.asarray(picture).astype(np.uint16)
    return np.asarray(picture.convert("RGB") if picture.mode in {"P", "CMYK"} else picture)


def expected(content: bytes, form: str, depth: str, channels: str, bits: int) -> np.ndarray:
    """The RGB pixels that a file must be read as."""
    values = independent(content, form)
    if (form, depth, channels) == ("png", "12 in 16", "rgb"):
        values = stored(depth, channels)  # of 16-bit RGB Pillow gives the upper 8 bits only
    if channels == "cmyk" and form == "tif":
        inks = 255 - values.astype(float)
        values = np.rint(inks[..., :3] * inks[..., 3:] / 255).astype(np.uint8)
    if values.dtype == np.bool_:
        values = values * np.uint8(255)
    if values.dtype == np.uint16:
        values = (values >> (bits - 8)).astype(np.uint8)
    if values.ndim == 2:
        return np.stack([values] * 3, axis=2)
    return np.stack([values[..., 0]] * 3, axis=2) if values.shape[2] == 2 else values[..., :3]


def refusal(depth: str, channels: str, form: str, bits: int | None) -> str:
    """The sentence by which a picture is refused; "": it is read."""
    if form != "jpg":
        if depth == "12 in 16" and bits is None:
            return r"fill 12 bits only; state how many its camera uses with --picture-bits 12"
        if depth == "16" and bits == 12:
            return r"above the 4095 of --picture-bits 12"
        if depth == "signed":
            return r"8-bit signed picture"
        if depth == "float":
            return r"32-bit floating-point picture"
    if channels == "transparent" and form != "bmp":  # where the fourth byte is padding
        return "partly transparent picture"
    return "CMYK" if channels == "cmyk" and form == "jpg" else ""


def drawn() -> np.ndarray:
    """Where the defect is."""
    mask = np.zeros((ROWS, COLUMNS), np.bool_)
    mask[4:10, 6:20] = True
    mask[14:20, 25:33] = True
    return mask


def saved(picture: Image.Image, form: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def grey(values: np.ndarray, form: str = "PNG", **options: object) -> bytes:
    return saved(Image.fromarray(values), form, **options)


def classes() -> np.ndarray:
    values = drawn().astype(np.uint8) * 64
    values[14:20] *= 3
    return values


def indexed() -> Image.Image:
    picture = Image.fromarray(drawn().astype(np.uint8) * 8, "P")
    picture.putpalette([0, 0, 0] * 8 + [128, 0, 0] + [0, 0, 0] * 247)
    return picture


def clear() -> np.ndarray:
    return np.dstack([np.full((ROWS, COLUMNS, 3), 255, np.uint8), drawn().astype(np.uint8) * 255])


@dataclass(frozen=True)
class MaskForm:
    """Files of masks, and what they are worth."""

    files: Files
    refused: str = ""  # by `read_truth`; "": it is `drawn`
    unreadable: bool = False  # not even as a file


WHITE = drawn().astype(np.uint8) * 255
HALVES = [WHITE * (np.arange(ROWS)[:, None] < 12), WHITE * (np.arange(ROWS)[:, None] >= 12)]
MASKS = {
    "white": MaskForm([(".png", grey(WHITE))]),
    "class 3": MaskForm([(".png", grey(drawn().astype(np.uint8) * 3))]),
    "classes": MaskForm([(".bmp", grey(classes(), "BMP"))]),
    "1 bit": MaskForm([(".tif", grey(drawn(), "TIFF"))]),
    "16 bits": MaskForm([(".png", grey(drawn().astype(np.uint16) * 65535))]),
    "palette": MaskForm([(".png", saved(indexed(), "PNG"))]),
    "transparency": MaskForm([(".png", grey(clear()))]),
    "jpeg": MaskForm([(".jpg", grey(WHITE, "JPEG", quality=95))]),
    "two files": MaskForm([("1.png", grey(HALVES[0])), ("2.png", grey(HALVES[1]))]),
    "turned": MaskForm([(".png", grey(np.ascontiguousarray(WHITE.T)))], "40 x 24.*, turned"),
    "empty": MaskForm([(".png", grey(WHITE * 0))], "marks no pixel"),
    "damaged": MaskForm([(".png", grey(WHITE)[:60])], "truncated", unreadable=True),
    "webp": MaskForm([(".webp", grey(WHITE, "WEBP"))], "WebP", unreadable=True),
    "none": MaskForm([], "has no mask"),
}


@dataclass(frozen=True)
class Case:
    """One defective picture with its masks."""

    suffix: str
    content: bytes
    masks: Files


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def write_masks(case: Case, folder: Path, stem: str) -> None:
    for suffix, content in case.masks:
        write(folder / f"{stem}{suffix}", content)


def in_kinds(train: str, picture: str, masks: str, stem: str = "500_mask") -> Callable[..., None]:
    """Make a layout of folders of kinds."""

    def build(folder: Path, case: Case) -> None:
        good(folder / train, 5)
        write(folder / picture / f"500{case.suffix}", case.content)
        write_masks(case, folder / masks, stem)

    return build


def loco(folder: Path, case: Case) -> None:
    in_kinds("train/good", "test/dent", "ground_truth/dent/500", "000")(folder, case)


def ksdd(folder: Path, case: Case) -> None:
    for item in range(4):
        good(folder / f"kos{item}", 1, start=item)
        write(folder / f"kos{item}" / f"{item:03}_label.bmp", grey(WHITE * 0, "BMP"))
    write(folder / "kos9" / f"500{case.suffix}", case.content)
    write_masks(case, folder / "kos9", "500_label")


def ksdd2(folder: Path, case: Case) -> None:
    good(folder / "train", 3)
    for number in range(3):
        write(folder / "train" / f"{number:03}_GT.png", grey(WHITE * 0))
    write(folder / "test" / f"500{case.suffix}", case.content)
    write_masks(case, folder / "test", "500_GT")


def dagm(folder: Path, case: Case) -> None:
    good(folder / "Train", 4)
    write(folder / "Train" / "Label" / "Labels.txt", b"1\n")
    write(folder / "Test" / f"500{case.suffix}", case.content)
    write_masks(case, folder / "Test" / "Label", "500_label")


def polygons() -> list[list[tuple[int, int]]]:
    """The drawn defect as outlines, x and y."""
    boxes = ((4, 10, 6, 20), (14, 20, 25, 33))
    return [[(x0, y0), (x1, y0), (x1, y1), (x0, y1)] for y0, y1, x0, x1 in boxes]


def coco(folder: Path, case: Case) -> None:
    good(folder / "images", 5)
    write(folder / "images" / f"500{case.suffix}", case.content)
    names = [*(f"{number:03}.png" for number in range(5)), f"500{case.suffix}"]
    images = [{"id": n, "file_name": name} for n, name in enumerate(names)]
    marks = [
        {"image_id": 5, "category_id": 1, "segmentation": [[v for xy in each for v in xy]]}
        for each in polygons()
    ]
    categories = [{"id": 1, "name": "dent"}]
    document = {"images": images, "annotations": marks, "categories": categories}
    write(folder / "images" / "list.json", json.dumps(document).encode())


def labelme(folder: Path, case: Case) -> None:
    good(folder, 5)
    for number in range(5):
        empty = {"imagePath": f"{number:03}.png", "shapes": []}
        write(folder / f"{number:03}.json", json.dumps(empty).encode())
    write(folder / f"500{case.suffix}", case.content)
    shapes = [{"label": "dent", "points": each, "shape_type": "polygon"} for each in polygons()]
    document = {"imagePath": f"500{case.suffix}", "shapes": shapes}
    write(folder / "500.json", json.dumps(document).encode())


def cvat(folder: Path, case: Case) -> None:
    good(folder, 5)
    write(folder / f"500{case.suffix}", case.content)
    size = f'width="{COLUMNS}" height="{ROWS}"'
    shapes = "".join(
        f'<polygon label="dent" points="{";".join(f"{x},{y}" for x, y in each)}"/>'
        for each in polygons()
    )
    empty = "".join(f'<image name="{n:03}.png" width="60" height="40"/>' for n in range(5))
    image = f'<image name="500{case.suffix}" {size}>{shapes}</image>'
    write(folder / "annotations.xml", f"<annotations>{empty}{image}</annotations>".encode())


LAYOUTS: dict[str, Callable[[Path, Case], None]] = {
    "MVTec": in_kinds("train/good", "test/dent", "ground_truth/dent"),
    "MVTec, seen": in_kinds("train/good", "train/dent", "ground_truth/dent"),
    "LOCO": loco,
    "AD 2": in_kinds("train/good", "test_public/bad", "test_public/ground_truth/bad"),
    "3D": in_kinds("train/good/rgb", "test/dent/rgb", "test/dent/gt", "500"),
    "BTAD": in_kinds("train/ok", "test/ko", "ground_truth/ko", "500"),
    "VisA": in_kinds("Data/Images/Normal", "Data/Images/Anomaly", "Data/Masks/Anomaly", "500"),
    "plain": in_kinds("normal", "abnormal", "mask", "500"),
    "beside": in_kinds("OK", "NG", "NG"),
    "KSDD": ksdd,
    "KSDD2": ksdd2,
    "DAGM": dagm,
    "COCO": coco,
    "LabelMe": labelme,
    "CVAT": cvat,
}
ANNOTATED = frozenset({"COCO", "LabelMe", "CVAT"})
BY_MASK = frozenset({"KSDD", "KSDD2"})  # the mask decides whether a part is good
Row = tuple[object, ...]  # form, depth, channels, orientation, flag, mask, layout
_ENCODED = {row: encode(*row) for row in itertools.product(FORMATS, DEPTHS, CHANNELS, ORIENTATIONS)}


def fits(mask: str, layout: str) -> bool:
    """Return whether there is such a mask in such a layout."""
    if layout in ANNOTATED:
        return mask == "white"  # outlines are one form
    no_mask_is_good = layout == "DAGM" and mask == "none"
    several_names = layout in {"3D", "BTAD", "VisA", "plain"} and mask == "two files"
    return not no_mask_is_good and not several_names


def valid_rows() -> list[Row]:
    """Every combination that there is, in random order."""
    written = [key for key, content in _ENCODED.items() if content is not None]
    masks = [each for each in itertools.product(MASKS, LAYOUTS) if fits(*each)]
    rows = [(*key, bits, *mask) for key in written for bits in FLAGS for mask in masks]
    return [rows[place] for place in np.random.default_rng(1).permutation(len(rows))]


def pairs(row: Row) -> set[tuple[tuple[int, object], ...]]:
    return set(itertools.combinations(enumerate(row), 2))


def covering(rows: Sequence[Row]) -> list[Row]:
    """Choose rows until every pair of any of them is covered; those that cover most come first."""
    every = [(row, pairs(row)) for row in rows]
    covered: set[tuple[tuple[int, object], ...]] = set()
    chosen = []
    for least in (20, 16, 12, 8, 5, 3, 2, 1):
        for row, held in every:
            if len(held - covered) >= least:
                chosen.append(row)
                covered |= held
    return chosen


COMBINATIONS = covering(valid_rows())


def test_all_pairs_that_there_are_are_tried() -> None:
    tried = {pair for row in COMBINATIONS for pair in pairs(row)}
    assert {pair for row in valid_rows() for pair in pairs(row)} == tried
    axes = (FORMATS, DEPTHS, CHANNELS, ORIENTATIONS, FLAGS, tuple(MASKS), tuple(LAYOUTS))
    for place, axis in enumerate(axes):
        assert {row[place] for row in COMBINATIONS} == set(axis)
    assert len(COMBINATIONS) < 400


def defective(dataset: Dataset) -> Sample | None:
    every = (*dataset.normals, *dataset.defects, *dataset.test)
    return next((sample for sample in every if sample.path.stem == "500"), None)


@pytest.mark.parametrize("row", COMBINATIONS, ids=lambda row: " ".join(map(str, row)))
def test_combination_has_the_pixels_and_mask_of_others_or_the_stated_refusal(
    tmp_path: Path, row: Row
) -> None:
    form, depth, channels, _, bits, mask_name, layout = row
    content, mask = _ENCODED[row[:4]], MASKS[str(mask_name)]
    LAYOUTS[str(layout)](tmp_path, Case(f".{form}", content, mask.files))
    dataset = find_samples(tmp_path, PictureRules(bits=bits))
    sample = defective(dataset)
    if layout in BY_MASK and (mask.unreadable or not mask.files):
        assert sample is None
        (sentence,) = dataset.unreadable
        assert (mask.refused if mask.files else "says whether the part is good") in sentence
        return
    assert sample is not None
    check_pixels(sample, refusal(depth, channels, form, bits), row, content)
    if layout in BY_MASK and mask_name == "empty":
        assert sample.kind == GOOD
        return
    assert sample.kind != GOOD
    assert not dataset.unreadable
    if layout not in ANNOTATED and mask.refused:
        with pytest.raises(MaskError, match=mask.refused):
            read_truth(sample, (ROWS, COLUMNS))
    else:
        assert np.array_equal(read_truth(sample, (ROWS, COLUMNS)), drawn())


def check_pixels(sample: Sample, refused: str, row: Row, content: bytes) -> None:
    form, depth, channels, orientation, bits = row[:5]
    if refused:
        with pytest.raises(PictureError, match=refused):
            sample.read()
        return
    decoded = sample.decode()
    wanted = expected(content, form, depth, channels, bits or 16)
    assert decoded.pixels.shape == wanted.shape
    assert decoded.orientation == orientation
    most = 4 if form == "jpg" or channels == "cmyk" else 0
    assert np.abs(decoded.pixels.astype(int) - wanted).max() <= most
