"""What is said of a frame after its verdict; a drawn mask is packed by `wire.fields`."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ForeignVerdict, LabelError
from pipeline.frames import Label, LabelKind, Outline
from pipeline.wire.fields import Fields, pack, pack_mask, shown, unpack_mask

MAX_LABEL_BYTES = 1 << 20
MAX_OUTLINES = 256
MAX_CORNERS = 4096  # of one outline
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


def decode_label(packed: bytes) -> Label:
    """Read a label; whether it makes sense is `label_rules.check_label`'s to say.

    Raises:
        LabelError: truncated, foreign, of another schema version, or out of bounds.
    """
    fields = Fields(packed, MAX_LABEL_BYTES, LabelError)
    kind = fields.text("kind")
    if kind not in set(LabelKind):
        raise LabelError(f"kind {kind!r:.40}: known are {', '.join(LabelKind)}")
    return Label(
        entry_id=fields.text("entry"),
        kind=LabelKind(kind),
        defect=fields.text("defect"),
        mask=_decode_mask(fields.many("mask", (int, int, bytes))),
        predicted=bool(fields.take("predicted", bool)),
        outlines=_decode_outlines(fields.take("outlines", list)),
        by=fields.text("by"),
        at_ns=fields.whole("at_ns"),
    )


def _decode_mask(found: list[Any] | None) -> NDArray[np.bool_] | None:
    if found is None:
        return None
    try:
        return unpack_mask(found[2], found[0], found[1])
    except ForeignVerdict as error:
        raise LabelError(str(error)) from error


def _decode_outlines(found: list[Any]) -> tuple[Outline, ...]:
    if len(found) > MAX_OUTLINES:
        raise LabelError(f"{len(found)} outlines, limit {MAX_OUTLINES}")
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
