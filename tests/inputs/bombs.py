"""Pictures of few bytes that cost a decoder which believes them gigabytes or minutes."""

import struct
import zlib

import cv2
import numpy as np

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SCAN_BYTES = 10  # of a scan header of one component


def chunk(name: bytes, body: bytes, length: int | None = None) -> bytes:
    """Return a PNG chunk; `length` is what it announces, if not the truth."""
    size = len(body) if length is None else length
    return struct.pack(">I", size) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(height: int, width: int, *chunks: bytes, pixels: bytes | None = None) -> bytes:
    """Return an RGB PNG whose `chunks` stand before its pixels; black unless `pixels` are given."""
    if pixels is None:
        pixels = chunk(b"IDAT", zlib.compress(b"\0" * (height * (3 * width + 1))))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"".join([PNG_SIGNATURE, header, *chunks, pixels, chunk(b"IEND", b"")])


def png_announcing(length: int, height: int, width: int) -> bytes:
    """Return a PNG of 75 bytes or so whose IDAT chunk announces `length` bytes."""
    return png(height, width, pixels=chunk(b"IDAT", zlib.compress(b"\0" * 8), length))


def png_animated(frames: int, height: int, width: int) -> bytes:
    """Return a PNG that announces `frames` pictures."""
    control = struct.pack(">IIIIIHHBB", 0, width, height, 0, 0, 1, 10, 0, 0)
    return png(
        height, width, chunk(b"acTL", struct.pack(">II", frames, 0)), chunk(b"fcTL", control)
    )


def png_with_texts(texts: int, size: int, height: int, width: int) -> bytes:
    """Return a good PNG beside whose pixels `texts` texts of `size` bytes lie compressed."""
    text = chunk(b"zTXt", b"k\0\0" + zlib.compress(b"x" * size, 9))
    return png(height, width, text * texts)


def jpeg_of_scans(scans: int, height: int, width: int) -> bytes:
    """Return a progressive JPEG with so many scans more than it needs, all empty."""
    flat = np.full((height, width, 3), 90, np.uint8)
    done, encoded = cv2.imencode(".jpg", flat, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])
    assert done
    content = encoded.tobytes()
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last : last + _SCAN_BYTES] * scans + content[-2:]


def stream_bombs(height: int, width: int) -> dict[str, tuple[str, bytes]]:
    """Return bombs of one size by name, each with the codec that it is sent as."""
    return {
        "png of 1 GB": ("png", png_announcing(0x40000000, height, width)),
        "png of 2 GB": ("png", png_announcing(0x7FFFFFFF, height, width)),
        "png of 4 GB": ("png", png_announcing(0xFFFFFFF0, height, width)),
        "animated png": ("png", png_animated(1 << 20, height, width)),
        "jpeg of 52,428 scans": ("jpeg", jpeg_of_scans(52_428, height, width)),
        "jpeg of 400,000 scans": ("jpeg", jpeg_of_scans(400_000, height, width)),
    }


def large_tiff(side: int, levels: int) -> bytes:
    """Return a compressed TIFF that takes its decoder long; more levels take longer."""
    drawn = np.random.default_rng(2).integers(0, levels, (side, side, 3), np.uint8)
    done, encoded = cv2.imencode(".tiff", drawn)
    assert done
    return encoded.tobytes()
