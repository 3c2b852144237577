"""A frame's head: everything that travels with a frame but its pixels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from pipeline.codecs import Codec, check_shape
from pipeline.errors import UnreadableFrame
from pipeline.frames import FrameMeta
from pipeline.wire.fields import MAX_NAME_CHARS, Fields, pack, pack_open_map, pack_value

MAX_HEADER_BYTES = 4096
MAX_IDENTITY_BYTES = 65_536  # of a header that is read for its identity alone
MAX_MM_PER_PIXEL = 1e6  # a kilometre: no camera sees one in a pixel, and areas stay finite

_Value = TypeVar("_Value")


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
class FrameHeader:
    """Everything that travels with a frame but its pixels."""

    meta: FrameMeta
    codec: Codec
    shape: tuple[int, int]  # (height, width)
    ring: RingPlace | None = None


def encode_frame_header(header: FrameHeader) -> bytes:
    """Pack a frame's header for the field `m`."""
    return pack(_header_fields(header))


def encode_part_header(header: FrameHeader, station: str) -> tuple[bytes, bytes]:
    """Pack the header of a part from that of a view's frame: all up to its seq, and the seq.

    The seq comes last, so that a station can put its own number in its place.
    """
    fields = {**_header_fields(header), "camera": station, "ring": None}
    seq = fields.pop("seq")
    return pack_open_map(fields, "seq"), pack_value(seq)


def _header_fields(header: FrameHeader) -> dict[str, Any]:
    meta, ring = header.meta, header.ring
    return {
        "camera": meta.camera,
        "seq": meta.seq,
        "part": meta.part_id,
        "captured_ns": meta.captured_ns,
        "deadline_ns": meta.deadline_ns,
        "codec": header.codec.value,
        "shape": header.shape,
        "mm": meta.mm_per_pixel,
        "ring": (ring.name, ring.slot, ring.generation) if ring else None,
    }


def decode_frame_header(packed: bytes) -> FrameHeader:
    """Read a frame's head.

    Raises:
        UnreadableFrame: truncated, foreign, of another schema version, or out of bounds.
    """
    fields = Fields(packed, MAX_HEADER_BYTES, UnreadableFrame)
    codec = fields.text("codec")
    if codec not in set(Codec):
        raise UnreadableFrame(f"codec {codec!r:.40}: known are {', '.join(Codec)}")
    shape = fields.many("shape", (int, int))
    if shape is None:
        raise UnreadableFrame("field 'shape' is missing")
    check_shape((shape[0], shape[1]))
    return FrameHeader(
        _decode_meta(fields), Codec(codec), (shape[0], shape[1]), _decode_ring(fields)
    )


def decode_identity(packed: bytes) -> Identity:
    """Read which frame a head speaks of: a third of the time of `decode_frame_header`.

    Identities are read from later schema versions too: these fields are never changed.

    Raises:
        UnreadableFrame: truncated, foreign, or out of bounds.
    """
    fields = Fields(packed, MAX_IDENTITY_BYTES, UnreadableFrame, any_version=True)
    return Identity(fields.text("camera"), fields.whole("seq"), fields.whole("deadline_ns"))


def decode_known_meta(packed: bytes) -> FrameMeta:
    """Read as much of a head as can be read: camera and seq, the rest where it is sound.

    Raises:
        UnreadableFrame: it names no frame.
    """
    fields = Fields(packed, MAX_IDENTITY_BYTES, UnreadableFrame, any_version=True)
    camera, seq = fields.text("camera"), fields.whole("seq")

    def or_else(read: Callable[[str], _Value], key: str, instead: _Value) -> _Value:
        try:
            return read(key)
        except UnreadableFrame:
            return instead

    return FrameMeta(
        camera=camera,
        seq=seq,
        part_id=or_else(fields.text, "part", ""),
        captured_ns=or_else(fields.whole, "captured_ns", 0),
        deadline_ns=or_else(fields.whole, "deadline_ns", 0),
    )


def check_scale(mm_per_pixel: tuple[float, float]) -> None:
    """Refuse millimetres per pixel that no camera has, and whose areas would not be finite.

    Raises:
        UnreadableFrame: not from above 0 to `MAX_MM_PER_PIXEL`.
    """
    if not all(0 < mm <= MAX_MM_PER_PIXEL for mm in mm_per_pixel):
        raise UnreadableFrame(
            f"{mm_per_pixel} are no millimetres per pixel: above 0, up to {MAX_MM_PER_PIXEL:g}"
        )


def _decode_meta(fields: Fields) -> FrameMeta:
    scale = fields.many("mm", (float, float))
    if scale:
        check_scale((scale[0], scale[1]))
    return FrameMeta(
        camera=fields.text("camera"),
        seq=fields.whole("seq"),
        part_id=fields.text("part"),
        captured_ns=fields.whole("captured_ns"),
        deadline_ns=fields.whole("deadline_ns"),
        mm_per_pixel=(scale[0], scale[1]) if scale else None,
    )


def _decode_ring(fields: Fields) -> RingPlace | None:
    place = fields.many("ring", (str, int, int))
    if place is None:
        return None
    name, slot, generation = place
    if len(name) > MAX_NAME_CHARS or slot < 0 or generation < 0:
        raise UnreadableFrame(f"field 'ring': {place!r:.80}")
    return RingPlace(name, slot, generation)
