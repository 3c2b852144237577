"""What is said of a frame after its verdict; a drawn mask is packed by `wire.fields`."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ForeignVerdict, LabelError
from pipeline.frames import Label, LabelKind, Outline
from pipeline.wire.fields import Fields, pack, pack_mask, shown, unpack_mask

MAX_LABEL_BYTES = 1 << 20
MAX_OUTLINES = 256
MAX_CORNERS = 4096  # of one outline
MAX_LABEL_CORNERS = 1 << 16  # of all outlines of a label
_MOST_NESTED = MAX_LABEL_CORNERS + MAX_OUTLINES + 16  # lists and maps in a label
_LEAST_CORNERS = 3


def encode_label(label: Label) -> bytes:
    """Pack a label for the field `l`.

    Raises:
        LabelError: larger than a reader takes.
    """
    mask = label.mask
    packed = pack(
        {
            "entry": label.entry_id,
            "kind": label.kind.value,
            "defect": label.defect,
            "mask": None if mask is None else [*mask.shape, pack_mask(mask)],
            "predicted": label.predicted,
            "outlines": label.outlines,
            "by": label.by,
            "at_ns": label.at_ns,
        }
    )
    if len(packed) > MAX_LABEL_BYTES:
        raise LabelError(
            f"a label of {len(packed)} bytes, limit {MAX_LABEL_BYTES}: draw the mask simpler"
        )
    return packed


def decode_label(
    packed: bytes, size_of: Callable[[str], tuple[int, int] | None] | None = None
) -> Label:
    """Read a label; whether it makes sense is `label_rules.check_label`'s to say.

    Args:
        packed: as it came.
        size_of: returns the height and width of a frame by its entry id, or None if it is not
            known: a mask of another size is refused before it takes any memory.

    Raises:
        MaskSizeError: its mask is of another size than its frame; it holds the rest.
        LabelError: truncated, foreign, of another schema version, or out of bounds.
    """
    fields = Fields(packed, MAX_LABEL_BYTES, LabelError, most_nested=_MOST_NESTED)
    kind = fields.text("kind")
    if kind not in set(LabelKind):
        raise LabelError(f"kind {kind!r:.40}: known are {', '.join(LabelKind)}")
    label = Label(
        entry_id=fields.text("entry"),
        kind=LabelKind(kind),
        defect=fields.text("defect"),
        mask=None,
        predicted=bool(fields.take("predicted", bool)),
        outlines=_decode_outlines(fields.take("outlines", list)),
        by=fields.text("by"),
        at_ns=fields.whole("at_ns"),
    )
    mask = fields.many("mask", (int, int, bytes))
    if mask is None:
        return label
    size = size_of(label.entry_id) if size_of else None
    if size is not None and size != (mask[0], mask[1]):
        raise MaskSizeError(
            f"mask of {mask[0]}x{mask[1]}, the archived picture of {label.entry_id} has "
            f"{size[0]}x{size[1]} (height x width): draw it on that picture",
            label,
        )
    return replace(label, mask=_decode_mask(mask))


class MaskSizeError(LabelError):
    """A label's mask is of another size than its frame."""

    def __init__(self, why: str, label: Label) -> None:
        super().__init__(why)
        self.label = label  # without its mask


def _decode_mask(found: list[Any]) -> NDArray[np.bool_]:
    try:
        return unpack_mask(found[2], found[0], found[1])
    except ForeignVerdict as error:
        raise LabelError(str(error)) from error


def _decode_outlines(found: list[Any]) -> tuple[Outline, ...]:
    if len(found) > MAX_OUTLINES:
        raise LabelError(f"{len(found)} outlines, limit {MAX_OUTLINES}")
    corners = sum(len(outline) for outline in found if isinstance(outline, list))
    if corners > MAX_LABEL_CORNERS:
        raise LabelError(f"{corners} corners of all outlines, limit {MAX_LABEL_CORNERS}")
    return tuple(_decode_outline(outline) for outline in found)


def _decode_outline(found: object) -> Outline:
    if not isinstance(found, list) or not _LEAST_CORNERS <= len(found) <= MAX_CORNERS:
        raise LabelError(f"an outline of {_LEAST_CORNERS} to {MAX_CORNERS} corners: {shown(found)}")
    return tuple(_decode_corner(corner) for corner in found)


def _decode_corner(found: object) -> tuple[float, float]:
    match found:
        case [int() | float() as y, int() | float() as x] if _is_real(y) and _is_real(x):
            return float(y), float(x)
    raise LabelError(f"a corner (y, x) was expected, got {shown(found)}")


def _is_real(number: float) -> bool:
    return not isinstance(number, bool) and math.isfinite(number)
