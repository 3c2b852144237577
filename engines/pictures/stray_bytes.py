"""Handle JPEG files with bytes that belong to no segment, as some cameras write them.

Some cameras write a few bytes between the segments of a JPEG, or its start twice. Viewers skip
them. Such files are refused unless a command's rules allow it, because a stray byte may also be
damage. Pixels and the file's end are never repaired: truncated files stay refused.
"""

import struct

_START = b"\xff\xd8"
_SOI, _EOI, _SOS = 0xD8, 0xD9, 0xDA
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a segment


def without_stray_bytes(content: bytes) -> tuple[bytes, int]:
    """Return a JPEG without the bytes between its segments, and their number.

    Other files, and those that end within a segment, are returned unchanged.
    """
    if content[:2] != _START:
        return content, 0
    kept = [slice(0, 2)]
    at, stray = 2, 0
    try:
        while True:
            marker = _next_marker(content, at)
            stray += marker - at
            code = content[marker + 1]
            at = marker + 2
            if code == _SOI:
                stray += 2
                continue
            if code not in _ALONE and code != _EOI:
                at += struct.unpack_from(">H", content, at)[0]
            if code == _SOS:
                at = _scan_end(content, at)
            kept.append(slice(marker, at))
            if code == _EOI:
                kept.append(slice(at, None))
                break
    except (IndexError, struct.error, ValueError):
        return content, 0
    return (b"".join(content[part] for part in kept), stray) if stray else (content, 0)


def _next_marker(content: bytes, at: int) -> int:
    """Return where the next marker begins.

    Raises:
        ValueError: there is none.
    """
    while True:
        at = content.index(b"\xff", at)
        if content[at + 1] not in {0x00, 0xFF}:
            return at
        at += 1


def _scan_end(content: bytes, at: int) -> int:
    """Return the end of the coded pixels that begin at `at`: a marker other than a restart."""
    while True:
        at = content.index(b"\xff", at)
        if content[at + 1] != 0x00 and content[at + 1] not in _ALONE:
            return at
        at += 2
