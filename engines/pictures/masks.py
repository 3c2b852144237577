"""Read mask files: which pixels are defective, by the meaning of their values.

Masks come as 0/255, as class numbers (1 and 2, or 64 and 200), in the colours of a palette, drawn
on transparency, with 1 or 16 bits, and with soft edges. The rules, in this order:

    transparency   transparent pixels are background; if all opaque pixels are black, they are
                   the defect
    labels         every pixel above 0 is a defect, whatever its value: if there are few values, or
                   each fills areas of its own
    soft edges     greys between background and the highest value are cut at half of the highest,
                   for smoothed edges, and for JPEG, whose greys are noise
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.errors import PictureError
from engines.pictures.pixel_values import part_alpha
from engines.pictures.read import decode_values, read_content

MOSTLY = 0.5  # share of a picture from which on a mask is suspected to be inverted
_MOST_LABELS = 16  # most distinct values of labels; more are greys, unless they fill areas
_FLAT_SHARE = 0.5  # of the pixels between background and highest, in areas of one value
_LEAST_OF_JPEG = 32  # highest value of a JPEG mask: below, noise and class numbers look alike
_NOISE = 12  # levels within 3 x 3 pixels that JPEG makes of one value
_JPEG_START = b"\xff\xd8"


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a mask file at its own size, bool [H, W].

    Raises:
        PictureError: unreadable, or its values have no clear meaning.
    """
    content = read_content(path)
    values = decode_values(content, str(path))
    try:
        return marked_pixels(values, lossy=content[:2] == _JPEG_START)
    except PictureError as error:
        raise PictureError(f"{path}: {error}") from error


def looks_like_mask(path: Path) -> bool:
    """Return whether a file has as few values as a mask; a picture of a part has hundreds."""
    try:
        values = decode_values(read_content(path), str(path))
    except PictureError:
        return False
    return np.unique(values).size <= _MOST_LABELS


def marked_pixels(values: NDArray[np.generic], *, lossy: bool = False) -> NDArray[np.bool_]:
    """Return which pixels a mask marks, bool [H, W].

    Args:
        values: [H, W] or [H, W, C] of any depth, alpha last.
        lossy: whether a codec changed the values, as JPEG does.

    Raises:
        PictureError: the values have no clear meaning.
    """
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise PictureError("mask with values that are not numbers: save it as 8-bit PNG")
    colours, opaque = part_alpha(values)
    grey = _grey(colours)
    if opaque is None:
        return _marked(grey, lossy=lossy)
    visible = np.where(opaque, grey, 0)
    if opaque.all() or visible.any():
        return _marked(visible, lossy=lossy)
    return opaque  # drawn in black on transparency


def _grey(channels: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return the brightest channel of each pixel: [H, W, C] -> [H, W]."""
    return np.asarray(np.asarray(channels, np.float32).max(axis=2))


def _marked(grey: NDArray[np.float32], *, lossy: bool) -> NDArray[np.bool_]:
    values = np.unique(grey)
    highest = float(values[-1])
    if values[0] < 0:
        raise PictureError(f"mask with values below 0 ({values[0]:g}): save it as 8-bit PNG")
    if lossy:
        _check_lossy(grey, highest)
        return np.asarray(grey > highest / 2)
    between = (grey > 0) & (grey < highest)
    if not between.any():
        return np.asarray(grey > 0)
    few = np.count_nonzero(values) <= _MOST_LABELS
    labels = not _only_edges(grey, between) if few else _fill_areas(grey, between)
    return np.asarray(grey > (0 if labels else highest / 2))


def _check_lossy(grey: NDArray[np.float32], highest: float) -> None:
    """Refuse a JPEG whose values may be class numbers, because noise hides them."""
    if 0 < highest < _LEAST_OF_JPEG:
        raise PictureError(
            f"JPEG mask whose highest value is {highest:g}: class numbers and the noise of JPEG "
            "look alike: save it as PNG"
        )
    low = (grey >= _LEAST_OF_JPEG) & (grey <= highest / 2)
    if low.any() and _fill_areas(grey, low, _NOISE):
        raise PictureError(
            f"JPEG mask with areas of grey below {highest / 2:g}, half of its highest value: "
            "classes and smoothed edges look alike: save it as PNG"
        )


def _only_edges(grey: NDArray[np.float32], between: NDArray[np.bool_]) -> bool:
    """Return whether each intermediate value lies beside a brighter one, as on a smoothed edge."""
    from engines.pictures.libraries import cv2  # noqa: PLC0415  # the base install has none

    brightest = cv2.dilate(grey, np.ones((3, 3), np.uint8))
    return bool((brightest > grey)[between].all())


def _fill_areas(
    grey: NDArray[np.float32], between: NDArray[np.bool_], tolerance: float = 0
) -> bool:
    """Return whether most intermediate values lie in areas of one value, as class numbers do."""
    from engines.pictures.libraries import cv2  # noqa: PLC0415  # the base install has none

    window = np.ones((3, 3), np.uint8)
    flat = cv2.dilate(grey, window) - cv2.erode(grey, window) <= tolerance
    inner = cv2.dilate(flat.astype(np.uint8), window) > 0  # with the rim of each area
    return bool(inner[between].mean() > _FLAT_SHARE)
