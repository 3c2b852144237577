"""What an engine said of a frame; its mask is packed by `wire.fields`."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.pictures.headers import MAX_PIXELS
from pipeline.errors import ForeignVerdict, UnwritableJudgement
from pipeline.frames import Decision, EngineName, Judgement, Region, Timings
from pipeline.wire.fields import (
    MAX_NAME_CHARS,
    Fields,
    check_mask_size,
    pack,
    pack_mask,
    shown,
    unpack_mask,
)

MAX_JUDGEMENT_BYTES = 16 << 20  # above that of every mask of `MAX_PIXELS`, however noisy
MAX_REGIONS = 256
MAX_CELLS = 256


def encode_judgement(judgement: Judgement) -> bytes:
    """Pack what an engine said, for the field `j`; whatever is packed can be read.

    Raises:
        UnwritableJudgement: no reader would take it, as for a number that is infinite.
    """
    try:
        packed = pack(_fields(judgement))
        _decode(packed, with_mask=False)
    except (ValueError, TypeError, OverflowError, ForeignVerdict) as error:
        raise UnwritableJudgement(f"no program could read this judgement: {error}") from error
    return packed


def _fields(judgement: Judgement) -> dict[str, Any]:
    mask = judgement.mask
    timings = judgement.timings
    zones = {"zone": judgement.zone, "zones": judgement.zones} if judgement.zones else {}
    return {
        "judged": judgement.judged.value,
        "score": judgement.score,
        "normalised": judgement.normalised,
        "threshold": judgement.threshold,
        "pixel_threshold": judgement.pixel_threshold,
        "regions": [_pack_region(region) for region in judgement.regions],
        "mask": None if mask is None else [*mask.shape, pack_mask(mask)],
        "engine": (
            judgement.engine.model,
            judgement.engine.version,
            judgement.engine.sha256,
        ),
        "timings": (
            timings.transport_ms,
            timings.queue_ms,
            timings.inference_ms,
            timings.batch,
        ),
        "worker": judgement.worker,
        "nearest": judgement.nearest,
        "distance": judgement.distance,
        "cells": judgement.cells,
        **zones,
    }


def _pack_region(region: Region) -> dict[str, int | float | str | None]:
    packed: dict[str, int | float | str | None] = {
        "top": region.top,
        "left": region.left,
        "height": region.height,
        "width": region.width,
        "area_px": region.area_px,
        "peak": region.peak,
    }
    if region.area_mm2 is not None:
        packed |= {
            "area_mm2": region.area_mm2,
            "height_mm": region.height_mm,
            "width_mm": region.width_mm,
        }
    if region.zone:
        packed["zone"] = region.zone
    return packed


def decode_judgement(packed: bytes) -> Judgement:
    """Read what an engine said.

    Raises:
        ForeignVerdict: truncated, foreign, of another schema version, or out of bounds.
    """
    return _decode(packed, with_mask=True)


def _decode(packed: bytes, *, with_mask: bool) -> Judgement:
    """Read a judgement, and its mask if asked: the size of a mask is checked in any case."""
    fields = Fields(packed, MAX_JUDGEMENT_BYTES, ForeignVerdict)
    judged = fields.text("judged")
    if judged not in {Decision.OK, Decision.NG}:
        raise ForeignVerdict(f"field 'judged': {judged!r:.40}")
    engine = fields.many("engine", (str, str, str))
    timings = fields.many("timings", (float, float, float, int))
    if engine is None or timings is None:
        raise ForeignVerdict("fields 'engine' and 'timings' are needed")
    return Judgement(
        judged=Decision(judged),
        score=fields.real("score"),
        normalised=fields.real("normalised"),
        threshold=fields.real("threshold"),
        pixel_threshold=fields.real("pixel_threshold"),
        regions=tuple(_decode_region(region) for region in fields.take("regions", list)),
        mask=_decode_mask(fields.many("mask", (int, int, bytes)), inflated=with_mask),
        engine=EngineName(*engine),
        timings=Timings(*timings),
        worker=fields.text("worker"),
        nearest=tuple(_numbers(fields.take("nearest", list), (int,))),
        distance=tuple(map(float, _numbers(fields.take("distance", list), (int, float)))),
        cells=_decode_cells(fields.everything().get("cells", [])),
        zone=_decode_name(fields.everything().get("zone", "")),
        zones=_decode_name(fields.everything().get("zones", "")),
    )


def _decode_name(found: object) -> str:
    """Read what workers of an earlier release, or without zones, do not say."""
    if not isinstance(found, str) or len(found) > MAX_NAME_CHARS:
        raise ForeignVerdict(f"name of a zone: {shown(found)}")
    return found


def _decode_cells(found: object) -> tuple[float, ...]:
    """Read what workers of an earlier release do not say."""
    if not isinstance(found, list) or len(found) > MAX_CELLS:
        raise ForeignVerdict(f"field 'cells': {shown(found)}")
    return tuple(map(float, _numbers(found, (int, float))))


def _numbers(found: list[Any], kinds: tuple[type, ...]) -> list[Any]:
    for number in found:
        if type(number) not in kinds or not math.isfinite(number):
            raise ForeignVerdict(f"a number was expected, got {shown(number)}")
    return found


_WHOLE_FIELDS = ("top", "left", "height", "width", "area_px")
_MM_FIELDS = ("area_mm2", "height_mm", "width_mm")


def _decode_region(packed: object) -> Region:
    if not isinstance(packed, dict):
        raise ForeignVerdict(f"a region was expected, got {type(packed).__name__}")
    sizes = _numbers([packed.get(name) for name in _WHOLE_FIELDS], (int,))
    if min(sizes) < 0 or max(sizes) > MAX_PIXELS:
        raise ForeignVerdict(f"region {sizes} lies in no picture")
    top, left, height, width, area_px = sizes
    peak = float(*_numbers([packed.get("peak")], (int, float)))
    zone = _decode_name(packed.get("zone", ""))
    if "area_mm2" not in packed:
        return Region(top, left, height, width, area_px, peak, zone=zone)
    scaled = _numbers([packed.get(name) for name in _MM_FIELDS], (int, float))
    area_mm2, height_mm, width_mm = map(float, scaled)
    return Region(top, left, height, width, area_px, peak, area_mm2, height_mm, width_mm, zone=zone)


def _decode_mask(found: list[Any] | None, *, inflated: bool) -> NDArray[np.bool_] | None:
    if found is None:
        return None
    height, width, bits = found
    if inflated:
        return unpack_mask(bits, height, width)
    check_mask_size(height, width)
    return None
