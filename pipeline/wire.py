"""Values <-> msgpack, and nowhere else. What comes in is checked field by field.

A frame's head (field `m`):  v, camera, seq, part, captured_ns, deadline_ns, codec, shape [H, W],
                             mm [vertical, horizontal] or nil, ring [name, slot, generation] or nil
A judgement (field `j`):     v, judged, score, normalised, threshold, pixel_threshold, regions,
                             mask, engine [model, version, sha256], timings, worker, nearest,
                             distance
A control message:           v, kind, and what the kind needs
A key that is not listed is ignored, so a field may be added; `v` rises when a meaning changes.
"""

import math
import zlib
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from pipeline.codecs import MAX_PIXELS, Codec, check_shape
from pipeline.errors import ForeignVerdict, UnreadableFrame
from pipeline.frames import Decision, EngineName, FrameMeta, Judgement, Region, Timings

WIRE_VERSION = 1
MAX_HEAD_BYTES = 4096
MAX_JUDGEMENT_BYTES = 4 << 20
MAX_NAME_CHARS = 200
MAX_REGIONS = 256
_MAX_NS = 1 << 62


@dataclass(frozen=True, slots=True)
class RingPlace:
    """Where in a shared-memory ring the pixels of a frame lie."""

    name: str
    slot: int
    generation: int


@dataclass(frozen=True, slots=True)
class Identity:
    """Which frame a head speaks of."""

    camera: str
    seq: int
    deadline_ns: int  # UTC, nanoseconds since the epoch


@dataclass(frozen=True, slots=True)
class Head:
    """Everything that travels with a frame but its pixels."""

    meta: FrameMeta
    codec: Codec
    shape: tuple[int, int]  # (height, width)
    ring: RingPlace | None = None


class _Fields:
    """Checked reading of a foreign map."""

    def __init__(self, packed: bytes, limit: int, foreign: type[Exception]) -> None:
        self._foreign = foreign
        if len(packed) > limit:
            raise foreign(f"{len(packed)} bytes of fields, limit {limit}")
        try:
            fields = msgpack.unpackb(packed, strict_map_key=True)
        except (ValueError, msgpack.UnpackException) as error:
            raise foreign(f"not msgpack: {error or type(error).__name__}") from error
        if not isinstance(fields, dict):
            raise foreign(f"a map was expected, got {type(fields).__name__}")
        self._fields: dict[str, Any] = fields
        if (version := fields.get("v")) != WIRE_VERSION:
            raise foreign(
                f"schema version {version!r}, this program reads {WIRE_VERSION}: "
                "bring camera, worker and consumer to the same release"
            )

    def take(self, key: str, kind: type | tuple[type, ...]) -> Any:  # noqa: ANN401
        found = self._fields.get(key)
        if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
            raise self._foreign(f"field {key!r}: got {type(found).__name__}")
        return found

    def text(self, key: str) -> str:
        found = str(self.take(key, str))
        if len(found) > MAX_NAME_CHARS:
            raise self._foreign(f"field {key!r}: {len(found)} characters, limit {MAX_NAME_CHARS}")
        return found

    def whole(self, key: str, low: int = 0, high: int = _MAX_NS) -> int:
        found = int(self.take(key, int))
        if not low <= found <= high:
            raise self._foreign(f"field {key!r}: {found} is outside {low}..{high}")
        return found

    def real(self, key: str) -> float:
        found = float(self.take(key, (int, float)))
        if not math.isfinite(found):
            raise self._foreign(f"field {key!r}: {found} is no number")
        return found

    def many(self, key: str, kinds: tuple[type, ...]) -> list[Any] | None:
        """A list with one value of each of `kinds`, or None where the field is nil."""
        if self._fields.get(key) is None:
            return None
        found = self.take(key, list)
        if len(found) != len(kinds) or not all(map(isinstance, found, kinds)):
            raise self._foreign(f"field {key!r}: {found!r:.80}")
        if not all(math.isfinite(value) for value in found if isinstance(value, float)):
            raise self._foreign(f"field {key!r}: {found!r:.80} holds what is no number")
        return list(found)


def encode_head(head: Head) -> bytes:
    """Pack a frame's head for the field `m`."""
    meta = head.meta
    ring = head.ring
    return bytes(
        msgpack.packb(
            {
                "v": WIRE_VERSION,
                "camera": meta.camera,
                "seq": meta.seq,
                "part": meta.part_id,
                "captured_ns": meta.captured_ns,
                "deadline_ns": meta.deadline_ns,
                "codec": head.codec.value,
                "shape": head.shape,
                "mm": meta.mm_per_pixel,
                "ring": (ring.name, ring.slot, ring.generation) if ring else None,
            }
        )
    )


def decode_head(packed: bytes) -> Head:
    """Read a frame's head.

    Raises:
        UnreadableFrame: truncated, foreign, of another schema version, or out of bounds.
    """
    fields = _Fields(packed, MAX_HEAD_BYTES, UnreadableFrame)
    codec = fields.text("codec")
    if codec not in set(Codec):
        raise UnreadableFrame(f"codec {codec!r:.40}: known are {', '.join(Codec)}")
    shape = fields.many("shape", (int, int))
    if shape is None:
        raise UnreadableFrame("field 'shape' is missing")
    check_shape((shape[0], shape[1]))
    return Head(_decode_meta(fields), Codec(codec), (shape[0], shape[1]), _decode_ring(fields))


def decode_identity(packed: bytes) -> Identity:
    """Read which frame a head speaks of: a third of the time of `decode_head`.

    Raises:
        UnreadableFrame: truncated, foreign, of another schema version, or out of bounds.
    """
    fields = _Fields(packed, MAX_HEAD_BYTES, UnreadableFrame)
    return Identity(fields.text("camera"), fields.whole("seq"), fields.whole("deadline_ns"))


def _decode_meta(fields: _Fields) -> FrameMeta:
    scale = fields.many("mm", (float, float))
    if scale and not all(math.isfinite(mm) and mm > 0 for mm in scale):
        raise UnreadableFrame(f"field 'mm': {scale} are no millimetres per pixel")
    return FrameMeta(
        camera=fields.text("camera"),
        seq=fields.whole("seq"),
        part_id=fields.text("part"),
        captured_ns=fields.whole("captured_ns"),
        deadline_ns=fields.whole("deadline_ns"),
        mm_per_pixel=(scale[0], scale[1]) if scale else None,
    )


def _decode_ring(fields: _Fields) -> RingPlace | None:
    place = fields.many("ring", (str, int, int))
    if place is None:
        return None
    name, slot, generation = place
    if len(name) > MAX_NAME_CHARS or slot < 0 or generation < 0:
        raise UnreadableFrame(f"field 'ring': {place!r:.80}")
    return RingPlace(name, slot, generation)


def encode_judgement(judgement: Judgement) -> bytes:
    """Pack what an engine said, for the field `j`."""
    mask = judgement.mask
    timings = judgement.timings
    return bytes(
        msgpack.packb(
            {
                "v": WIRE_VERSION,
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
            }
        )
    )


def _pack_region(region: Region) -> dict[str, int | float | None]:
    packed: dict[str, int | float | None] = {
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
    return packed


def decode_judgement(packed: bytes) -> Judgement:
    """Read what an engine said.

    Raises:
        ForeignVerdict: truncated, foreign, of another schema version, or out of bounds.
    """
    fields = _Fields(packed, MAX_JUDGEMENT_BYTES, ForeignVerdict)
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
        mask=_decode_mask(fields.many("mask", (int, int, bytes))),
        engine=EngineName(*engine),
        timings=Timings(*timings),
        worker=fields.text("worker"),
        nearest=tuple(_numbers(fields.take("nearest", list), (int,))),
        distance=tuple(map(float, _numbers(fields.take("distance", list), (int, float)))),
    )


def _numbers(found: list[Any], kinds: tuple[type, ...]) -> list[Any]:
    for number in found:
        if type(number) not in kinds or not math.isfinite(number):
            raise ForeignVerdict(f"a number was expected, got {number!r:.40}")
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
    if "area_mm2" not in packed:
        return Region(top, left, height, width, area_px, peak)
    scaled = _numbers([packed.get(name) for name in _MM_FIELDS], (int, float))
    return Region(top, left, height, width, area_px, peak, *map(float, scaled))


def pack_mask(mask: NDArray[np.bool_]) -> bytes:
    """Pack a mask [H, W] into bits, row by row, highest bit first, then zlib."""
    return zlib.compress(np.packbits(mask).tobytes(), 1)


def unpack_mask(packed: bytes, height: int, width: int) -> NDArray[np.bool_]:
    """Undo `pack_mask`; never inflates more than the bits of one mask.

    Raises:
        ForeignVerdict: the bytes are no mask of that size.
    """
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise ForeignVerdict(f"mask of {height}x{width}, limit {MAX_PIXELS} pixels")
    wanted = (height * width + 7) // 8
    inflater = zlib.decompressobj()
    try:
        bits = inflater.decompress(packed, wanted + 1)
    except zlib.error as error:
        raise ForeignVerdict(f"mask does not inflate: {error}") from error
    if len(bits) != wanted:
        raise ForeignVerdict(f"mask of {height}x{width} needs {wanted} bytes, got {len(bits)}")
    flat = np.unpackbits(np.frombuffer(bits, np.uint8), count=height * width)
    return flat.reshape(height, width).astype(np.bool_)


def _decode_mask(found: list[Any] | None) -> NDArray[np.bool_] | None:
    return None if found is None else unpack_mask(found[2], found[0], found[1])


def encode_control(kind: str, **fields: str | float) -> bytes:
    """Pack a control message."""
    return bytes(msgpack.packb({"v": WIRE_VERSION, "kind": kind, **fields}))


def decode_control(packed: bytes) -> dict[str, Any]:
    """Read a control message.

    Raises:
        UnreadableFrame: foreign bytes or another schema version.
    """
    fields = _Fields(packed, MAX_HEAD_BYTES, UnreadableFrame)
    fields.text("kind")
    return dict(fields._fields)  # our own class, one page up


def encode_report(fields: dict[str, Any]) -> bytes:
    """Pack a worker's heartbeat."""
    return bytes(msgpack.packb({"v": WIRE_VERSION, **fields}))


def decode_report(packed: bytes) -> dict[str, Any]:
    """Read a worker's heartbeat."""
    fields = _Fields(packed, MAX_HEAD_BYTES, UnreadableFrame)
    return dict(fields._fields)
