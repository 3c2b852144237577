"""Maps of fields <-> msgpack, only here; each field is checked when read; masks as zlib bits."""

import math
import reprlib
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from engines.pictures.headers import MAX_PIXELS
from pipeline.errors import ForeignVerdict

WIRE_VERSION = 1
MAX_NAME_CHARS = 200
_MAX_NS = 1 << 62
_SHOWN_CHARS = 80


def pack(fields: Mapping[str, Any]) -> bytes:
    """Pack fields under this release's schema version."""
    return bytes(msgpack.packb({"v": WIRE_VERSION, **fields}))


def pack_open_map(fields: Mapping[str, Any], last: str) -> bytes:
    """Pack fields under this release's version, and the key of a last one whose value follows."""
    packer = msgpack.Packer(autoreset=False)
    packer.pack_map_header(len(fields) + 2)
    for key, value in {"v": WIRE_VERSION, **fields}.items():
        packer.pack(key)
        packer.pack(value)
    packer.pack(last)
    return bytes(packer.bytes())


def pack_value(value: int) -> bytes:
    """Pack the value that follows `pack_open_map`."""
    return bytes(msgpack.packb(value))


def shown(value: object) -> str:
    """Show a foreign value in a message: shortly, however deeply it is nested."""
    return reprlib.repr(value)[:_SHOWN_CHARS]  # repr fails on a thousand lists in each other


def _counting(most: int) -> dict[str, Callable[[Any], Any]]:
    """Return what msgpack calls with each list and map, and what refuses one more than `most`."""
    left = most

    def count(nested: Any) -> Any:  # noqa: ANN401  # a list or a map
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError(f"more than {most} lists and maps")
        return nested

    return {"list_hook": count, "object_hook": count}


class Fields:
    """Checked reading of a foreign map."""

    def __init__(
        self,
        packed: bytes,
        limit: int,
        foreign: type[Exception],
        *,
        any_version: bool = False,
        most_nested: int | None = None,
    ) -> None:
        """Unpack the map.

        Args:
            packed: as it came.
            limit: bytes that it may have.
            foreign: the error to raise for what cannot be read.
            any_version: whether a later schema version is read too.
            most_nested: lists and maps that may be in it: one takes a byte packed, and 60 unpacked.
        """
        self._foreign = foreign
        if len(packed) > limit:
            raise foreign(f"{len(packed)} bytes of fields, limit {limit}")
        hooks = {} if most_nested is None else _counting(most_nested)
        try:
            fields = msgpack.unpackb(packed, strict_map_key=True, **hooks)
        except (ValueError, msgpack.UnpackException) as error:
            raise foreign(f"not msgpack: {error or type(error).__name__}") from error
        if not isinstance(fields, dict):
            raise foreign(f"a map was expected, got {type(fields).__name__}")
        self._fields: dict[str, Any] = fields
        version = fields.get("v")
        if any_version and type(version) is int and version >= WIRE_VERSION:
            return
        if version != WIRE_VERSION:
            raise foreign(
                f"schema version {shown(version)}, this program reads {WIRE_VERSION}: "
                "bring camera, worker and consumer to the same release"
            )

    def take(self, key: str, kind: type | tuple[type, ...]) -> Any:  # noqa: ANN401
        """Return a field of a kind; a truth value is no number."""
        found = self._fields.get(key)
        if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
            raise self._foreign(f"field {key!r}: got {type(found).__name__}")
        return found

    def text(self, key: str) -> str:
        """Return a text of at most `MAX_NAME_CHARS`."""
        found = str(self.take(key, str))
        if len(found) > MAX_NAME_CHARS:
            raise self._foreign(f"field {key!r}: {len(found)} characters, limit {MAX_NAME_CHARS}")
        return found

    def whole(self, key: str, low: int = 0, high: int = _MAX_NS) -> int:
        """Return a whole number from `low` to `high`."""
        found = int(self.take(key, int))
        if not low <= found <= high:
            raise self._foreign(f"field {key!r}: {found} is outside {low}..{high}")
        return found

    def real(self, key: str) -> float:
        """Return a finite number."""
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
            raise self._foreign(f"field {key!r}: {shown(found)}")
        if not all(math.isfinite(value) for value in found if isinstance(value, float)):
            raise self._foreign(f"field {key!r}: {shown(found)} holds what is no number")
        return list(found)

    def everything(self) -> dict[str, Any]:
        """All fields as they came; only the version is checked."""
        return dict(self._fields)


def pack_mask(mask: NDArray[np.bool_]) -> bytes:
    """Pack a mask [H, W] into bits, row by row, highest bit first, then zlib."""
    return zlib.compress(np.packbits(mask).tobytes(), 1)


def check_mask_size(height: int, width: int) -> None:
    """Refuse a mask without pixels, or with more than a picture may have.

    Raises:
        ForeignVerdict: there is no such mask.
    """
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise ForeignVerdict(f"mask of {height}x{width}, limit {MAX_PIXELS} pixels")


def unpack_mask(packed: bytes, height: int, width: int) -> NDArray[np.bool_]:
    """Undo `pack_mask`; never inflates more than the bits of one mask.

    Raises:
        ForeignVerdict: the bytes are no mask of that size.
    """
    check_mask_size(height, width)
    wanted = (height * width + 7) // 8
    inflater = zlib.decompressobj()
    try:
        bits = inflater.decompress(packed, wanted + 1)
    except zlib.error as error:
        raise ForeignVerdict(f"mask does not inflate: {error}") from error
    if len(bits) != wanted:
        raise ForeignVerdict(f"mask of {height}x{width} needs {wanted} bytes, got {len(bits)}")
    flat = np.unpackbits(np.frombuffer(bits, np.uint8), count=height * width)
    return flat.reshape(height, width).view(np.bool_)
