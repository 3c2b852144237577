"""The check whether a picture file is finished, as far as its content shows.

A copy may set a file's size first and fill it afterwards, so size and date say nothing. PNG and
JPEG have an end that their decoders check. BMP and TIFF have none: what is not filled yet is a hole
in the file, or zeros at its end.
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path

from engines.errors import PictureError
from engines.files import open_regular
from engines.pictures.read import MAX_FILE_BYTES

_TAIL_BYTES = 64
_WITHOUT_END = (b"BM", b"II*\0", b"MM\0*")
_TIFF_ORDER = {b"II*\0": "<", b"MM\0*": ">"}
_STRIP_OFFSETS, _STRIP_BYTES = (273, 324), (279, 325)  # of strips and of tiles
_TIFF_SIZES = {3: ("H", 2), 4: ("I", 4)}  # short, long
_MOST_STRIPS = 1 << 16


@dataclass(frozen=True, slots=True)
class FileContent:
    """A file as it was read."""

    content: bytes
    has_hole: bool  # a part was never written; False where the file system does not tell


def read_content(path: Path) -> FileContent:
    """Read a foreign file without ever waiting for a writer, as opening a FIFO would.

    Raises:
        PictureError: absent, not readable, not a regular file, or too large.
    """
    try:
        with open_regular(path) as file:
            content = file.read(MAX_FILE_BYTES + 1)
            has_hole = _has_hole(file.fileno(), len(content))
    except OSError as error:
        raise PictureError(f"{path}: {error.strerror or error}") from error
    if len(content) > MAX_FILE_BYTES:
        raise PictureError(f"{path}: file of more than {MAX_FILE_BYTES} bytes, the limit")
    return FileContent(content, has_hole)


def _has_hole(descriptor: int, size: int) -> bool:
    try:
        return size > 0 and os.lseek(descriptor, 0, os.SEEK_HOLE) < size
    except OSError:  # a file system that knows no holes
        return False


def missing_part(file: FileContent) -> str:
    """Return which part of a file was certainly never written, or ""."""
    if file.has_hole:
        return "a part of it was never written"
    if file.content[:4] in _TIFF_ORDER and _tiff_end(file.content) > len(file.content):
        return "it is shorter than its directory says"
    return ""


def ends_in_zeros(file: FileContent) -> bool:
    """Return whether a file without an end of its own may not be filled yet; it may be black."""
    tail = file.content[-min(_TAIL_BYTES, len(file.content) // 2) :]
    return file.content.startswith(_WITHOUT_END) and not tail.strip(b"\0")


def _tiff_end(content: bytes) -> int:
    """Return where the last strip or tile of the first directory ends (TIFF 6.0, sections 2, 15).

    0 where the directory cannot be read: then the picture does not decode either.
    """
    order = _TIFF_ORDER[content[:4]]
    offsets: list[int] = []
    lengths: list[int] = []
    try:
        (start,) = struct.unpack_from(order + "I", content, 4)
        (entries,) = struct.unpack_from(order + "H", content, start)
        for at in range(start + 2, start + 2 + 12 * entries, 12):
            (tag,) = struct.unpack_from(order + "H", content, at)
            if tag in _STRIP_OFFSETS:
                offsets = _tiff_numbers(content, order, at)
            if tag in _STRIP_BYTES:
                lengths = _tiff_numbers(content, order, at)
    except struct.error:
        return 0
    return max(
        (offset + length for offset, length in zip(offsets, lengths, strict=False)), default=0
    )


def _tiff_numbers(content: bytes, order: str, at: int) -> list[int]:
    """Read the numbers of a directory entry."""
    kind, count = struct.unpack_from(order + "HI", content, at + 2)
    if kind not in _TIFF_SIZES or count > _MOST_STRIPS:
        return []
    code, size = _TIFF_SIZES[kind]
    start = at + 8
    if count * size > 4:  # noqa: PLR2004  # they do not fit into the entry
        (start,) = struct.unpack_from(order + "I", content, start)
    return list(struct.unpack_from(f"{order}{count}{code}", content, start))
