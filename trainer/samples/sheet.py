"""A contact sheet of the pictures that wait, for the person who decides."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engines.errors import PictureError
from engines.pictures.read import read_picture, resize_picture
from trainer.results.drawing import CAPTION, write_text
from trainer.samples.records import Picture
from trainer.samples.store import SampleStore

_SIDE = 320  # pixels
_COLUMNS = 4
_SHOWN_CHARS = 12  # of a hash: enough to release it by
_LINE_CHARS = 42
_GAP = 4


def draw_waiting(store: SampleStore, waiting: Sequence[Picture]) -> NDArray[np.uint8]:
    """Draw each picture over its hash and the reasons why it waits; uint8 [H, W, 3] RGB."""
    lines = max((len(_said(each)) for each in waiting), default=1)
    tiles = [_tile(store, each, lines) for each in waiting]
    blank = np.full_like(tiles[0], 255)
    tiles += [blank] * (-len(tiles) % min(_COLUMNS, len(tiles)))
    columns = min(_COLUMNS, len(tiles))
    rows = [
        np.concatenate(tiles[start : start + columns], axis=1)
        for start in range(0, len(tiles), columns)
    ]
    return np.concatenate(rows)


def _tile(store: SampleStore, picture: Picture, lines: int) -> NDArray[np.uint8]:
    tile = np.full((_SIDE + lines * CAPTION + 2 * _GAP, _SIDE + 2 * _GAP, 3), 255, np.uint8)
    try:
        pixels = resize_picture(read_picture(store.path(picture)), (_SIDE, _SIDE))
    except PictureError:
        pixels = np.full((_SIDE, _SIDE, 3), 200, np.uint8)
        write_text(pixels, "the file is gone or damaged", (20, _SIDE // 2))
    tile[_GAP : _GAP + _SIDE, _GAP : _GAP + _SIDE] = pixels
    for number, line in enumerate(_said(picture)):
        write_text(tile, line, (_GAP, _GAP + _SIDE + number * CAPTION + 14))
    return tile


def _said(picture: Picture) -> list[str]:
    reasons = picture.reasons or ("a person was asked for",)
    return [
        f"{picture.sha[:_SHOWN_CHARS]}  as {picture.kind}",
        *(why[:_LINE_CHARS] for why in reasons),
    ]
