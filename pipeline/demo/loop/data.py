"""What `pipeline-loop` shows: pictures that a first engine knows, and parts that pass the line.

A folder in MVTec layout is divided into `known` (half of the good parts and half of the defects of
every kind but one) and `parts` (the other halves, and the kind that nobody knew).
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.camera.sources.folder import list_pictures
from pipeline.demo.summary import GOOD
from pipeline.errors import SettingsError

MASK_SUFFIX = "_mask.png"


@dataclass(frozen=True, slots=True)
class PictureSplit:
    """Which pictures of a folder go where; names are relative, `/` between folders."""

    known: tuple[str, ...]
    parts: tuple[str, ...]  # in the order in which they come; a good one may come twice


def split_pictures(
    names: Sequence[str], new_kind: str, parts: int, of_new_kind: int, seed: int
) -> PictureSplit:
    """Divide the pictures of a folder in MVTec layout.

    Args:
        names: relative, `train/good/000.png`, `test/KIND/000.png`.
        new_kind: the defects that the first engine knows nothing of.
        parts: that come down the line; good ones come again where there are too few.
        of_new_kind: so many of them have a defect of the new kind.
        seed: of the draw.

    Raises:
        SettingsError: the folder has too few pictures of one sort.
    """
    rng = np.random.default_rng(seed)
    good = _shuffled([name for name in names if kind_of_picture(name) == GOOD], rng)
    new = _shuffled([name for name in names if kind_of_picture(name) == new_kind], rng)
    old = _shuffled([name for name in names if kind_of_picture(name) not in (GOOD, new_kind)], rng)
    if len(new) < of_new_kind:
        raise SettingsError(f"{len(new)} pictures of {new_kind}, {of_new_kind} are to pass")
    if len(good) < 2 or not old:  # noqa: PLR2004  # one to learn from, one to pass
        raise SettingsError(f"good parts and a second kind of defect beside {new_kind} are needed")
    on_line = [*new[:of_new_kind], *old[len(old) // 2 :]]
    wanted = parts - len(on_line)
    if wanted < 0:
        raise SettingsError(f"{parts} parts are fewer than the {len(on_line)} defective ones")
    passing = good[len(good) // 2 :]
    repeated = [passing[place % len(passing)] for place in range(wanted)]
    known = (*good[: len(good) // 2], *old[: len(old) // 2])
    return PictureSplit(tuple(sorted(known)), tuple(_shuffled([*on_line, *repeated], rng)))


def lay_out(data: Path, split: PictureSplit, known: Path, parts: Path) -> dict[str, str]:
    """Link the pictures into two folders, new ones: `known` in MVTec layout, `parts` as they pass.

    Returns: the relative name in `data` by part id, `NUMBER-KIND-NAME`, in whose order they pass.
    """
    for folder in (known, parts):
        if folder.exists():
            shutil.rmtree(folder)
    for name in split.known:
        _link(data / name, known / name)
        if (mask := mask_of(data, name)) is not None:
            _link(mask, known / mask.relative_to(data))
    names = {}
    for number, name in enumerate(split.parts):
        part = f"{number:04d}-{kind_of_picture(name)}-{Path(name).stem}"
        _link(data / name, parts / f"{part}{Path(name).suffix}")
        names[part] = name
    return names


def mask_of(data: Path, name: str) -> Path | None:
    """Find the mask of a picture `test/KIND/NAME.png`; None for a good part.

    Raises:
        SettingsError: a defect without one.
    """
    kind = kind_of_picture(name)
    if kind == GOOD:
        return None
    mask = data / "ground_truth" / kind / (Path(name).stem + MASK_SUFFIX)
    if not mask.is_file():
        raise SettingsError(f"{name} has no mask {mask}: the labels of this show are made of them")
    return mask


def pictures_of(data: Path) -> list[str]:
    """List the pictures of a folder in MVTec layout, masks left out."""
    return [
        f"{part}/{name}"
        for part in ("train", "test")
        if (data / part).is_dir()
        for name in list_pictures(data / part)
    ]


def kind_of_picture(name: str) -> str:
    """What a picture `.../KIND/NAME.png` shows."""
    return Path(name).parent.name


def _shuffled(names: Sequence[str], rng: np.random.Generator) -> list[str]:
    return [names[place] for place in rng.permutation(len(names))]


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
