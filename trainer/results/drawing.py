"""Lines, letters and outlines on pictures for people."""

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.errors import PictureError
from engines.files import write_atomic

CAPTION = 20  # height of the line under a row, pixels
TRUTH = (60, 220, 60)
_INK = (30, 30, 30)
_TEXT_SCALE, _LEAST_TEXT_SCALE = 0.42, 0.2
_CAPTION_MARGIN = 4


def save_picture(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write uint8 [H, W, 3] RGB as PNG or JPEG by the suffix of `path`, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    done, encoded = cv2.imencode(path.suffix, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    if not done:
        raise PictureError(f"{path}: does not encode")
    write_atomic(path, encoded.tobytes())


def outline(
    picture: NDArray[np.uint8], mask: NDArray[np.bool_], colour: tuple[int, int, int]
) -> None:
    """Draw the outer outline of a mask onto a picture, in place."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, colour, 1)


def write_text(
    picture: NDArray[np.uint8], text: str, place: tuple[int, int], scale: float = _TEXT_SCALE
) -> None:
    """Write dark letters onto a picture, in place; `place` is the lower left (x, y)."""
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, _INK, 1, cv2.LINE_AA)


def write_caption(picture: NDArray[np.uint8], name: str, figures: str) -> None:
    """Write a name and figures into one line that is as wide as `picture`, in place.

    Where both do not fit the name loses its beginning; where the figures alone do not fit the
    letters become smaller.
    """
    room = picture.shape[1] - 2 * _CAPTION_MARGIN
    scale = _TEXT_SCALE
    while _text_width(figures, scale) > room and scale > _LEAST_TEXT_SCALE:
        scale -= 0.02
    kept = name
    while kept and _text_width(_cut(name, kept) + figures, scale) > room:
        kept = kept[1:]
    write_text(picture, _cut(name, kept) + figures, (_CAPTION_MARGIN, 14), scale)


def _cut(name: str, kept: str) -> str:
    return name if kept == name else f"..{kept}" if kept else ""


def _text_width(text: str, scale: float) -> int:
    return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)[0][0])
