"""Reads a sample's masks and checks them against its picture."""

import numpy as np
from numpy.typing import NDArray

from engines.errors import PictureError
from engines.pictures.masks import MOSTLY, read_mask
from trainer.dataset import GOOD, Sample, resize_mask
from trainer.errors import DatasetError, MaskError
from trainer.outlines import draw_outlines

_Mask = NDArray[np.bool_]


def read_truth(sample: Sample, shape: tuple[int, int]) -> _Mask:
    """Read which pixels of a defective picture are the defect, bool [H, W] of `shape`.

    Args:
        sample: a defect; its masks are joined.
        shape: (height, width) of its picture, as its file holds it.

    Raises:
        MaskError: no mask, an unreadable one, one of another size, or one that marks nothing.
    """
    if sample.mask is None:
        raise MaskError(
            f"{sample.name} has no mask, and a seen defect needs one: judge it with an engine, "
            "accept or correct the predicted mask, and save it as "
            f"ground_truth/{sample.kind}/{sample.path.stem}_mask.png (layouts differ in the folder)"
        )
    truth = np.zeros(shape, np.bool_)
    for part in _parts(sample, shape):
        truth |= part
    if not truth.any():
        raise MaskError(
            f"mask {sample.mask} marks no pixel, but {sample.name} is labelled defective: mark the "
            "defect, or check whether the part is good"
        )
    return truth


def truth_at(sample: Sample, shape: tuple[int, int], size: tuple[int, int]) -> _Mask:
    """Read the mask of a sample at `size`: bool [H, W], empty for a normal picture.

    Raises:
        MaskError: as `read_truth`.
    """
    if sample.kind == GOOD:
        return np.zeros(size, np.bool_)
    return resize_mask(read_truth(sample, shape), size)


def cover(sample: Sample, truth: _Mask) -> str:
    """Return a warning if a mask marks most of its picture, else ""."""
    share = float(truth.mean())
    if share <= MOSTLY:
        return ""
    return (
        f"mask {sample.mask} marks {share:.0%} of {sample.name}: a mask marks the defect in white "
        "on black; is it inverted?"
    )


def _parts(sample: Sample, shape: tuple[int, int]) -> list[_Mask]:
    if sample.outlines is not None:
        announced = (sample.outlines.height, sample.outlines.width)
        if announced != (0, 0):
            _check_size(sample, announced, shape)
        try:
            return [draw_outlines(sample.outlines, shape)]
        except DatasetError as error:
            raise MaskError(f"mask {sample.mask} of {sample.name}: {error}") from error
    parts = []
    for path in (sample.mask, *sample.more_masks):
        assert path is not None  # noqa: S101  # the caller looked
        try:
            part = read_mask(path)
        except PictureError as error:
            raise MaskError(f"mask of {sample.name}: {error}: save it again") from error
        _check_size(sample, (part.shape[0], part.shape[1]), shape)
        parts.append(part)
    return parts


def _check_size(sample: Sample, got: tuple[int, int], shape: tuple[int, int]) -> None:
    if got == shape:
        return
    turned = ", turned: the tool that drew it applied the orientation of the file" * (
        got == shape[::-1]
    )
    raise MaskError(
        f"mask {sample.mask} is {got[0]} x {got[1]}, its picture {shape[0]} x {shape[1]}"
        f"{turned}: a mask must have its picture's size"
    )
