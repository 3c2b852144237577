"""Annotation files with outlines in place of mask pictures: COCO, LabelMe, CVAT for images 1.1."""

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from xml.etree import ElementTree as ET

from trainer.errors import DatasetError
from trainer.layouts.names import is_good
from trainer.layouts.tree import FolderTree, compose, join
from trainer.outlines import Outlines, Point, counts_of_text

MAX_ANNOTATION_BYTES = 512 << 20
_LEAST_CORNERS = 3
_CIRCLE_CORNERS = 64


@dataclass(frozen=True, slots=True)
class Annotation:
    """What an annotation file says of one picture."""

    file: str  # the annotation file, relative
    kind: str  # of the defect; "": good
    outlines: Outlines
    fault: str = ""  # why it cannot be used


def read_annotations(tree: FolderTree) -> dict[str, Annotation]:
    """Read every annotation file of a folder: what is said of each picture, by its name.

    Raises:
        DatasetError: a file that is COCO, LabelMe or CVAT by its form, and damaged; or two files
            that speak of one picture.
    """
    found: dict[str, Annotation] = {}
    for name in tree.names():
        suffix = PurePosixPath(name).suffix.lower()
        if suffix not in {".json", ".xml"}:
            continue
        taken = False
        for picture, annotation in _read(tree, name, suffix):
            taken = True
            before = found.setdefault(picture, annotation)
            if before is not annotation:
                raise DatasetError(
                    f"{before.file} and {name} in {tree.folder} both annotate {picture}: keep one"
                )
        if taken:
            tree.take_masks([name])
    return found


def _read(tree: FolderTree, name: str, suffix: str) -> Iterator[tuple[str, Annotation]]:
    content = _content(tree, name)
    try:
        if suffix == ".xml":
            yield from _cvat(tree, name, content)
            return
        document = _parsed(content)
        if not isinstance(document, dict):
            return
        if isinstance(document.get("shapes"), list) and "imagePath" in document:
            yield _labelme(tree, name, document)
        elif isinstance(document.get("images"), list) and "annotations" in document:
            yield from _coco(tree, name, document)
    except DatasetError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError) as error:
        raise DatasetError(
            f"{tree.path(name)} is damaged ({type(error).__name__}: {error}): export it again"
        ) from error


def _content(tree: FolderTree, name: str) -> bytes:
    path = tree.path(name)
    try:
        if path.stat().st_size > MAX_ANNOTATION_BYTES:
            raise DatasetError(f"{path} is larger than {MAX_ANNOTATION_BYTES} bytes: split it")
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror or error}") from error


def _parsed(content: bytes) -> Any:  # noqa: ANN401  # whatever the document holds
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None  # another program's


def _labelme(tree: FolderTree, name: str, document: Mapping[str, Any]) -> tuple[str, Annotation]:
    """One picture beside its file; labels that mean good mark nothing."""
    beside = PurePosixPath(name)
    inner = "" if str(beside.parent) == "." else str(beside.parent)
    same = tree.pictures_of(inner, beside.stem)
    path = compose(str(document["imagePath"]).replace("\\", "/"))
    named = PurePosixPath(path).name
    picture = _picture(tree, join(inner, named)) or _pointed_at(tree, inner, path)
    picture = picture or (same[0] if same else join(inner, named))
    polygons, kinds, fault = [], [], ""
    for shape in document["shapes"]:
        label = str(shape["label"])
        if is_good(label):
            continue
        kinds.append(label)
        polygon = _labelme_polygon(str(shape.get("shape_type") or "polygon"), shape["points"])
        if polygon:
            polygons.append(polygon)
        else:
            fault = f"a {shape.get('shape_type')} encloses nothing: draw a polygon"
    size = (int(document.get("imageHeight") or 0), int(document.get("imageWidth") or 0))
    return picture, Annotation(name, _most(kinds), Outlines(*size, tuple(polygons)), fault)


def _pointed_at(tree: FolderTree, inner: str, path: str) -> str:
    """Return the picture of the tree that a path from a folder leads to; "" if none."""
    return _picture(tree, os.path.normpath(join(inner, path)))


def _picture(tree: FolderTree, name: str) -> str:
    """Return a name if it is a picture's; else ""."""
    inner, _, last = name.rpartition("/")
    return name if name in tree.pictures_of(inner, PurePosixPath(last).stem) else ""


def _labelme_polygon(form: str, points: Any) -> tuple[Point, ...]:  # noqa: ANN401  # foreign
    corners = _points(points)
    if form == "polygon" and len(corners) >= _LEAST_CORNERS:
        return corners
    if form == "rectangle" and len(corners) >= 2:  # noqa: PLR2004  # opposite corners
        return _rectangle(*corners[0], *corners[-1 if len(corners) == 2 else 2])  # noqa: PLR2004
    if form == "circle" and len(corners) == 2:  # noqa: PLR2004  # centre and a point
        (x, y), edge = corners
        radius = math.dist((x, y), edge)
        turns = [2 * math.pi * step / _CIRCLE_CORNERS for step in range(_CIRCLE_CORNERS)]
        return tuple((x + radius * math.cos(t), y + radius * math.sin(t)) for t in turns)
    return ()


def _points(points: Any) -> tuple[Point, ...]:  # noqa: ANN401  # foreign
    corners = tuple((float(x), float(y)) for x, y in points)
    if not all(math.isfinite(value) for corner in corners for value in corner):
        raise ValueError("a coordinate is no number")
    return corners


def _rectangle(left: float, top: float, right: float, bottom: float) -> tuple[Point, ...]:
    return ((left, top), (right, top), (right, bottom), (left, bottom))


def _coco(
    tree: FolderTree, name: str, document: Mapping[str, Any]
) -> Iterator[tuple[str, Annotation]]:
    categories = {each["id"]: str(each["name"]) for each in document.get("categories") or ()}
    marks: dict[Any, list[Mapping[str, Any]]] = {}
    for mark in document["annotations"]:
        marks.setdefault(mark["image_id"], []).append(mark)
    for image in document["images"]:
        picture = _located(tree, name, str(image["file_name"]))
        size = (int(image.get("height") or 0), int(image.get("width") or 0))
        yield picture, _coco_annotation(name, size, marks.get(image["id"], []), categories)


def _coco_annotation(
    name: str,
    size: tuple[int, int],
    marks: list[Mapping[str, Any]],
    categories: Mapping[Any, str],
) -> Annotation:
    polygons: list[tuple[Point, ...]] = []
    runs: list[tuple[int, ...]] = []
    kinds: list[str] = []
    fault = ""
    for mark in marks:
        kind = categories.get(mark["category_id"], f"category {mark['category_id']}")
        if is_good(kind):
            continue
        kinds.append(kind)
        form = mark.get("segmentation")
        if isinstance(form, dict):
            counts = form["counts"]
            runs.append(
                counts_of_text(counts) if isinstance(counts, str) else tuple(map(int, counts))
            )
        elif form:
            polygons += [_points(zip(flat[::2], flat[1::2], strict=True)) for flat in form]
        else:
            fault = "a defect has a box and no outline: a box is not a mask, draw a polygon"
    return Annotation(name, _most(kinds), Outlines(*size, tuple(polygons), tuple(runs)), fault)


def _cvat(tree: FolderTree, name: str, content: bytes) -> Iterator[tuple[str, Annotation]]:
    """Read CVAT's XML; one that declares entities is refused, as they can grow without end."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return
    if "<annotations" not in text[:4096]:
        return
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DatasetError(f"{tree.path(name)} declares a document type: export it again")
    try:
        document = ET.fromstring(text)  # noqa: S314  # without a document type nothing expands
    except ET.ParseError as error:
        raise DatasetError(f"{tree.path(name)} is damaged ({error}): export it again") from error
    for image in document.iter("image"):
        yield _located(tree, name, image.attrib["name"]), _cvat_annotation(name, image)


def _cvat_annotation(name: str, image: ET.Element) -> Annotation:
    size = (int(image.attrib["height"]), int(image.attrib["width"]))
    polygons: list[tuple[Point, ...]] = []
    runs: list[tuple[int, ...]] = []
    kinds: list[str] = []
    fault = ""
    for shape in image:
        label = shape.attrib.get("label", "")
        if is_good(label) or not label:
            continue
        kinds.append(label)
        if shape.tag == "polygon":
            polygons.append(_points(pair.split(",") for pair in shape.attrib["points"].split(";")))
        elif shape.tag == "box":
            edges = (float(shape.attrib[edge]) for edge in ("xtl", "ytl", "xbr", "ybr"))
            polygons.append(_rectangle(*edges))
        elif shape.tag == "mask":
            runs.append(_cvat_counts(shape.attrib, size))
        else:
            fault = f"a {shape.tag} encloses nothing: draw a polygon"
    return Annotation(name, _most(kinds), Outlines(*size, tuple(polygons), tuple(runs)), fault)


def _cvat_counts(mask: Mapping[str, str], size: tuple[int, int]) -> tuple[int, ...]:
    """Turn CVAT's runs, row by row in a box, into COCO's."""
    import numpy as np  # noqa: PLC0415  # few files need it

    from trainer.outlines import counts_of_mask  # noqa: PLC0415

    left, top, width, height = (int(mask[edge]) for edge in ("left", "top", "width", "height"))
    counts = [int(count) for count in mask["rle"].split(",")]
    if left < 0 or top < 0 or top + height > size[0] or left + width > size[1]:
        raise ValueError("a mask lies outside its picture")
    if sum(counts) != height * width:
        raise ValueError(f"runs of {sum(counts)} pixels in a box of {height}x{width}")
    whole = np.zeros(size, np.bool_)
    values = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    whole[top : top + height, left : left + width] = values.reshape(height, width)
    return tuple(counts_of_mask(whole))


def _located(tree: FolderTree, annotation: str, file_name: str) -> str:
    """Return which picture a file name of an annotation file means; the name itself where none."""
    wanted = compose(file_name.replace("\\", "/").removeprefix("./"))
    inner = PurePosixPath(annotation).parent
    split = PurePosixPath(annotation).stem.removeprefix("instances_")
    folders = (inner, inner / "images", PurePosixPath(), PurePosixPath("images"))
    splits = (PurePosixPath(split), PurePosixPath("images") / split, inner.parent / "images")
    for folder in (*folders, *splits):
        candidate = (folder / wanted).as_posix()
        if tree.holds(candidate):
            return candidate
    return wanted


def _most(kinds: list[str]) -> str:
    """Return the kind that occurs most, the first of equals; "" where there is none."""
    return max(dict.fromkeys(kinds), key=kinds.count, default="")
