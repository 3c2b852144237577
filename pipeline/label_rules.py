"""Rules for labels: which are valid, and which mask a label of a defect means."""

import re

import numpy as np
from numpy.typing import NDArray

from pipeline.archive import ArchivedFrame
from pipeline.errors import ForeignVerdict, LabelError, SettingsError
from pipeline.frames import Label, LabelKind, Outline, Verdict
from pipeline.masks import mask_of_runs
from pipeline.streams.keys import check_name
from pipeline.wire import MAX_NAME_CHARS
from pipeline.wire.label import MAX_CORNERS, MAX_LABEL_CORNERS, MAX_OUTLINES

_ENTRY_ID = re.compile(r"[0-9]{1,15}-[0-9]{1,20}")
_LEAST_CORNERS = 3
_FARTHEST_PX = 100_000.0  # beyond it nothing lies in any picture
_RESERVED = "good"  # what normal parts are called where kinds of defect are folders


def box(top: float, left: float, height: float, width: float) -> Outline:
    """Outline the `height` x `width` pixels whose first one is (`top`, `left`)."""
    bottom, right = top + height - 1, left + width - 1
    return ((top, left), (top, right), (bottom, right), (bottom, left))


def check_label(label: Label) -> None:
    """Refuse a label that would say nothing, or two things at once.

    Raises:
        LabelError: what is wrong, and what would be right.
    """
    if not _ENTRY_ID.fullmatch(label.entry_id):
        raise LabelError(f"entry {label.entry_id!r:.80}: as a verdict's entry_id, 1764140000000-0")
    if len(label.by) > MAX_NAME_CHARS:
        raise LabelError(f"by: {len(label.by)} characters, limit {MAX_NAME_CHARS}")
    _check_defect(label)
    places = (label.mask is not None) + label.predicted + bool(label.outlines)
    if places and label.kind is not LabelKind.DEFECT:
        raise LabelError(f"a {label.kind} frame has no place of a defect: leave the mask out")
    if places > 1:
        raise LabelError("mask, predicted and outlines exclude each other: give one of them")
    if label.mask is not None:
        _check_mask(label.mask)
    _check_outlines(label.outlines)


def _check_defect(label: Label) -> None:
    if not label.defect:
        return
    if label.kind is not LabelKind.DEFECT:
        raise LabelError(f"defect {label.defect!r:.80} of a {label.kind} frame: leave it out")
    try:
        check_name(label.defect)
    except SettingsError as error:
        raise LabelError(f"kind of defect: {error}") from error
    if label.defect.lower() == _RESERVED:
        raise LabelError(f"a kind of defect cannot be called {label.defect!r}: name what is wrong")


def _check_mask(mask: NDArray[np.bool_]) -> None:
    if mask.dtype != np.bool_ or mask.ndim != 2:  # noqa: PLR2004
        raise LabelError(f"mask of {mask.dtype} {list(mask.shape)}: bool [H, W] is wanted")
    if not mask.any():
        raise LabelError("the mask marks no pixel: draw the defect, or leave the mask out")


def _check_outlines(outlines: tuple[Outline, ...]) -> None:
    if len(outlines) > MAX_OUTLINES:
        raise LabelError(f"{len(outlines)} outlines, limit {MAX_OUTLINES}")
    if (corners := sum(map(len, outlines))) > MAX_LABEL_CORNERS:
        raise LabelError(f"{corners} corners of all outlines, limit {MAX_LABEL_CORNERS}")
    for outline in outlines:
        if not _LEAST_CORNERS <= len(outline) <= MAX_CORNERS:
            raise LabelError(
                f"an outline of {len(outline)} corners: {_LEAST_CORNERS} to {MAX_CORNERS} are taken"
            )
        places = np.asarray(outline, np.float64)
        if places.shape != (len(outline), 2) or not np.all(np.abs(places) <= _FARTHEST_PX):
            raise LabelError(f"corners (y, x) in pixels are wanted, got {outline!r:.80}")


def check_against(label: Label, verdict: Verdict) -> None:
    """Refuse a label that does not fit what the engine said; its picture is not looked at.

    Raises:
        LabelError: the verdict has no mask to be right, or one of another size.
    """
    said = verdict.judgement.mask if verdict.judgement else None
    if label.predicted and said is None:
        raise LabelError(f"the verdict of {verdict.entry_id} marks nothing: it cannot be right")
    if label.mask is not None and said is not None and label.mask.shape != said.shape:
        raise LabelError(f"mask of {list(label.mask.shape)}, frame of {list(said.shape)} [H, W]")


def label_mask(label: Label, frame: ArchivedFrame) -> NDArray[np.bool_] | None:
    """Return the pixels of a frame that its label marks, bool [H, W]; None where it marks no place.

    Raises:
        LabelError: not this frame's, of another size, or nothing in the picture is marked.
    """
    check_label(label)
    if label.entry_id != frame.entry_id:
        raise LabelError(f"a label of frame {label.entry_id}, this is {frame.entry_id}")
    size = (frame.pixels.shape[0], frame.pixels.shape[1])
    if label.predicted:
        mask = _predicted(frame)
    elif label.mask is not None:
        mask = label.mask
    elif label.outlines:
        mask = _filled(label.outlines, size)
    else:
        return None
    if mask.shape != size:
        raise LabelError(
            f"mask of {mask.shape[0]}x{mask.shape[1]}, the archived picture of {frame.entry_id} "
            f"has {size[0]}x{size[1]} (height x width): draw it on that picture"
        )
    if not mask.any():
        raise LabelError(f"nothing is marked within the {size[0]}x{size[1]} pixels of the picture")
    return mask


def _predicted(frame: ArchivedFrame) -> NDArray[np.bool_]:
    runs = frame.verdict.get("mask")
    if runs is None:
        raise LabelError(
            f"the verdict of {frame.entry_id} marks nothing: draw the defect instead (a mask, a "
            "box or a polygon)"
        )
    try:
        return mask_of_runs(runs)
    except ForeignVerdict as error:
        raise LabelError(f"the archived verdict of {frame.entry_id}: {error}") from error


def _filled(outlines: tuple[Outline, ...], size: tuple[int, int]) -> NDArray[np.bool_]:
    from engines.pictures.libraries import cv2  # noqa: PLC0415  # the base install has none

    drawn = np.zeros(size, np.uint8)
    for outline in outlines:  # one by one: where two overlap both are marked
        corners = np.rint(np.asarray(outline, np.float64)[:, ::-1]).astype(np.int32)  # (x, y)
        cv2.fillPoly(drawn, [corners], (1,))
    return drawn.astype(np.bool_)
