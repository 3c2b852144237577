"""Read the orientation in picture files, which is never applied.

Pixels stay in the order in which the file holds them, for every format: a frame of a line carries
no orientation, and a mask is drawn on the pixels. TIFF 6.0 calls the tag Orientation (274), EXIF
2.3 has the same tag in JPEG (APP1) and PNG (eXIf).
"""

import struct

_TIFF_ORDER = {b"II*\x00": "<", b"MM\x00*": ">"}
_TAG = 274
_SHORT = 3
_UPRIGHT = 1
_JPEG_START, _JPEG_SCAN, _JPEG_APP1 = 0xD8, 0xDA, 0xE1
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EXIF = b"Exif\0\0"


def read_orientation(content: bytes) -> int:
    """Return the orientation that a picture file states, 1 to 8; 1 if it states none."""
    try:
        asked = tiff_short(_exif(content) or b"", _TAG)
    except (struct.error, IndexError):
        return _UPRIGHT  # damaged: decoding the pixels will report it
    return asked if asked is not None and 1 <= asked <= 8 else _UPRIGHT  # noqa: PLR2004


def tiff_short(tiff: bytes, tag: int) -> int | None:
    """Return the first value of a tag of 16-bit numbers in a TIFF file, or None without it."""
    try:
        place = _place(tiff, tag, _SHORT)
        if place is None:
            return None
        return int(struct.unpack_from(_TIFF_ORDER[tiff[:4]] + "H", tiff, place)[0])
    except struct.error:
        return None


def has_tiff_tag(tiff: bytes, tag: int) -> bool:
    """Return whether the first directory of a TIFF file has a tag, of any type."""
    try:
        return _place(tiff, tag) is not None
    except struct.error:
        return False


def without_orientation(content: bytes) -> bytes:
    """Return a TIFF file with its orientation set to upright, other files as they are.

    OpenCV rotates the pixels of a TIFF by its orientation and has no switch against it.
    """
    if content[:4] not in _TIFF_ORDER:
        return content
    try:
        place = _place(content, _TAG, _SHORT)
    except struct.error:
        return content
    if place is None:
        return content
    upright = struct.pack(_TIFF_ORDER[content[:4]] + "H", _UPRIGHT)
    return content[:place] + upright + content[place + len(upright) :]


def _exif(content: bytes) -> bytes | None:
    """Return the part of a file that has the form of a TIFF file."""
    if content[:4] in _TIFF_ORDER:
        return content
    if content[:8] == _PNG_SIGNATURE:
        return _png_exif(content)
    return _jpeg_exif(content) if content[:2] == b"\xff\xd8" else None


def _png_exif(content: bytes) -> bytes | None:
    at = 8
    while at + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        if kind == b"eXIf":
            return content[at + 8 : at + 8 + length]
        at += 12 + length
    return None


def _jpeg_exif(content: bytes) -> bytes | None:
    at = 2
    while at + 4 <= len(content):
        if content[at] != 0xFF:  # noqa: PLR2004  # stray bytes before a marker
            at += 1
            continue
        marker = content[at + 1]
        if marker in {0xFF, _JPEG_START, 0x00, 0x01} or 0xD0 <= marker <= 0xD9:  # noqa: PLR2004
            at += 1 if marker == 0xFF else 2  # noqa: PLR2004
            continue
        if marker == _JPEG_SCAN:
            return None
        (length,) = struct.unpack_from(">H", content, at + 2)
        start = at + 4
        if marker == _JPEG_APP1 and content[start : start + 6] == _EXIF:
            return content[start + 6 : at + 2 + length]
        at += 2 + length
    return None


def _place(tiff: bytes, wanted: int, of_kind: int | None = None) -> int | None:
    """Return where the value of a tag, of one type or any, lies in the first directory."""
    order = _TIFF_ORDER.get(tiff[:4])
    if order is None:
        return None
    (start,) = struct.unpack_from(order + "I", tiff, 4)
    (entries,) = struct.unpack_from(order + "H", tiff, start)
    for entry in range(entries):
        at = start + 2 + 12 * entry
        tag, kind = struct.unpack_from(order + "HH", tiff, at)
        if tag == wanted:
            return at + 8 if of_kind in {None, kind} else None
    return None
