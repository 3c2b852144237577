"""Check what a picture file announces before any decoder sees its bytes.

Decoders trust a file: OpenCV allocates the length that a damaged PNG chunk states, and libjpeg
processes the whole picture once for each scan, even an empty one. So a few bytes can cost gigabytes
or minutes. The checks here walk the chunks or markers and never decode. A picture that passes as
`bounded` costs its decoder no more than the announced size allows. Others are decoded under limits
in another process (`engines.pictures.decode_process`).

PNG (ISO/IEC 15948), JPEG (ITU-T T.81), BMP and TIFF 6.0 are read. Every other format is refused,
even if a decoder supports it.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from engines.errors import PictureError

MAX_PIXELS = 64 << 20  # 64 megapixels: 192 MiB of RGB
MAX_SCANS = 16  # scans of a JPEG; libjpeg's own progressive files have 10
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
JPEG_START = b"\xff\xd8"

_MAX_CHUNKS = 1 << 16  # OpenCV and libpng write chunks of 8 KiB: enough for 512 MiB
_MAX_SEGMENTS = 1 << 12
_SLACK_BYTES = 1 << 16
_INFLATE_MOST = 1032  # most bytes that one byte of a deflate stream can expand to
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_PNG_CRITICAL = frozenset({b"IHDR", b"PLTE", b"IDAT", b"IEND"})
_PNG_KEPT = _PNG_CRITICAL | {b"tRNS"}
_PNG_ANIMATED = frozenset({b"acTL", b"fcTL", b"fdAT"})
_PNG_IHDR_BYTES = 13
_CHUNK_FRAME_BYTES = 12  # length, name and checksum
_ANCILLARY = 0x20  # bit of the first letter of a chunk's name

_SOF_SEQUENTIAL, _SOF_EXTENDED, _SOF_PROGRESSIVE = 0xC0, 0xC1, 0xC2
_SOF_READ = frozenset({_SOF_SEQUENTIAL, _SOF_EXTENDED, _SOF_PROGRESSIVE})
_SOF_REFUSED = frozenset({*range(0xC3, 0xD0)} - {0xC4, 0xC8, 0xCC})  # without DHT, JPG, DAC
_EOI, _SOS, _DNL = 0xD9, 0xDA, 0xDC
_BARE_MARKERS = frozenset({0x00, 0x01, *range(0xD0, 0xD9)})  # no segment, out of place
_ENTROPY_END = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
_FILL = re.compile(rb"\xff+")
_ENTROPY_BYTES_A_SAMPLE = 4  # a Huffman code of 16 bits and 11 more
_BLOCK = 8
_CMYK = 4

_BMP_HEADER_BYTES = 54
_BMP_UNCOMPRESSED = frozenset({0, 3})  # BI_RGB, BI_BITFIELDS
_BMP_BITS = frozenset({1, 4, 8, 16, 24, 32})
_TIFF_ORDER = {b"II*\x00": "<", b"MM\x00*": ">"}
_OTHERS = {
    rb"(?s)RIFF....WEBP": "WebP",
    rb"GIF8": "GIF",
    rb"(II\+\x00|MM\x00\+)": "BigTIFF",
    rb"(?s)....ftyp": "HEIC, AVIF or a video",
    rb"\x00\x00\x00\x0cjP": "JPEG 2000",
    rb"P[1-7]\s": "PNM",
    rb"(?i)\s*<(!doctype|html)": "a web page",
    rb"version https://git-lfs": "a Git LFS pointer: fetch the file",
    rb"\Z": "an empty file",
}
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_TIFF_SHORT = 3


@dataclass(frozen=True, slots=True)
class PictureHeader:
    """A picture that passed the checks."""

    kind: str
    height: int
    width: int
    content: bytes  # bytes for the decoder: of a PNG only the chunks that hold pixels
    bounded: bool  # whether the announced size bounds what the decoder can cost


@dataclass(frozen=True, slots=True)
class PngHeader:
    """The IHDR chunk of a PNG, and the other chunks that a decoder needs."""

    height: int
    width: int
    bits: int  # of a channel
    colour: int  # 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha
    content: bytes


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """The frame header of a JPEG and the number of its scans."""

    height: int
    width: int
    components: int
    scans: int


def check_picture(content: bytes) -> PictureHeader:
    """Check a picture file and return what it announces.

    Raises:
        PictureError: an unsupported format, too large, truncated, or crafted to cost its decoder
            more than its size allows.
    """
    try:
        return _check(content)
    except (struct.error, IndexError) as error:
        raise PictureError(f"does not decode, truncated or damaged ({error})") from error


def _check(content: bytes) -> PictureHeader:
    if content[:8] == PNG_SIGNATURE:
        png = check_png(content)
        return PictureHeader("PNG", png.height, png.width, png.content, bounded=True)
    if content[:2] == JPEG_START:
        jpeg = check_jpeg(content)
        return PictureHeader("JPEG", jpeg.height, jpeg.width, content, bounded=True)
    if content[:2] == b"BM":
        return _check_bmp(content)
    if content[:4] in _TIFF_ORDER:
        height, width = _tiff_size(content, _TIFF_ORDER[content[:4]])
        check_pixels(height, width)
        return PictureHeader("TIFF", height, width, content, bounded=False)
    name = next((name for start, name in _OTHERS.items() if re.match(start, content)), "")
    but = f" but {name}" if name else ""
    raise PictureError(f"not a PNG, JPEG, BMP or TIFF picture{but}: convert it to one of them")


def check_pixels(height: int, width: int) -> None:
    """Refuse a picture that is too large to allocate memory for."""
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise PictureError(f"picture of {height}x{width}, limit {MAX_PIXELS} pixels: crop it")


def check_png(content: bytes, size: tuple[int, int] | None = None) -> PngHeader:
    """Walk the chunks of a PNG up to its end.

    Args:
        content: the file.
        size: (height, width) that the picture must have; None accepts every size within the limit.

    Raises:
        PictureError: truncated, animated, of another size, or more pixel data than the size needs.
        struct.error: shorter than its first chunk.
    """
    width, height, bits, colour = struct.unpack_from(">IIBB", content, 16)
    _check_announced((height, width), size, "PNG")
    kept, pixel_bytes, ancillary = [slice(0, 8)], 0, False
    for name, start, end in _png_chunks(content):
        if name in _PNG_KEPT:
            kept.append(slice(start, end))
            pixel_bytes += (end - start - _CHUNK_FRAME_BYTES) * (name == b"IDAT")
        elif name in _PNG_ANIMATED:
            raise PictureError("animated PNG: save one picture")
        elif not name[0] & _ANCILLARY:
            raise PictureError(f"PNG with an unknown chunk {name!r}: damaged")
        else:
            ancillary = True
    if bits not in _PNG_DEPTHS.get(colour, ()):
        raise PictureError(f"PNG of {bits} bits and colour type {colour}: damaged")
    row_bits = width * bits * _PNG_CHANNELS[colour]
    _check_png_data(height, row_bits, pixel_bytes)
    if ancillary:
        content = b"".join(content[part] for part in kept)
    return PngHeader(height, width, bits, colour, content)


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and end of every chunk; the last one is IEND."""
    at = len(PNG_SIGNATURE)
    for number in range(_MAX_CHUNKS):
        if at + _CHUNK_FRAME_BYTES > len(content):
            raise PictureError("PNG without its end, truncated: copy the file again")
        length, name = struct.unpack_from(">I4s", content, at)
        end = at + length + _CHUNK_FRAME_BYTES
        if end > len(content):
            raise PictureError(
                f"PNG chunk {name!r} announces {length} bytes, {len(content) - at} are left: "
                "truncated or damaged"
            )
        if (number == 0) != (name == b"IHDR") or (number == 0 and length != _PNG_IHDR_BYTES):
            raise PictureError("PNG that does not begin with one IHDR chunk: damaged")
        yield name, at, end
        if name == b"IEND":
            return
        at = end
    raise PictureError(f"PNG of more than {_MAX_CHUNKS} chunks")


def _check_png_data(height: int, row_bits: int, pixel_bytes: int) -> None:
    raw_bytes = height * (row_bits // 8 + 2)  # a row begins with its filter byte
    if pixel_bytes > raw_bytes + raw_bytes // 8 + _SLACK_BYTES:
        raise PictureError(f"PNG with {pixel_bytes} bytes of pixels, its size needs {raw_bytes}")
    if height * row_bits // 8 > _INFLATE_MOST * (pixel_bytes + 1):
        raise PictureError(f"PNG with {pixel_bytes} bytes of pixels: truncated, copy it again")


def check_jpeg(
    content: bytes, size: tuple[int, int] | None = None, most_scans: int = MAX_SCANS
) -> JpegHeader:
    """Walk the markers of a JPEG up to its end.

    Args:
        content: the file.
        size: (height, width) that the picture must have; None accepts every size within the limit.
        most_scans: each one costs the decoder a pass over the whole picture.

    Raises:
        PictureError: truncated, of another size, too many scans, or a kind that is not read.
        IndexError, struct.error: it ends within a segment.
    """
    frame: JpegHeader | None = None
    at, scans, entropy_bytes = len(JPEG_START), 0, 0
    for _ in range(_MAX_SEGMENTS):
        code, at = _jpeg_marker(content, at)
        if code == _EOI:
            return _whole_jpeg(frame, scans, entropy_bytes)
        (length,) = struct.unpack_from(">H", content, at)
        if length < 2 or at + length > len(content):  # noqa: PLR2004  # it counts itself
            raise PictureError("JPEG segment that is longer than the file: truncated or damaged")
        if code in _SOF_READ:
            if frame is not None:
                raise PictureError("JPEG with two frame headers: damaged")
            frame = _jpeg_frame(content, at, size)
        at += length
        if code == _SOS:
            scans += 1
            scanned = _skip_scan(content, at, frame, scans, most_scans)
            entropy_bytes += scanned - at
            at = scanned
    raise PictureError(f"JPEG of more than {_MAX_SEGMENTS} segments")


def _jpeg_marker(content: bytes, at: int) -> tuple[int, int]:
    """Return the code of the marker at `at` and where its segment begins."""
    fill = _FILL.match(content, at)
    if fill is None or fill.end() >= len(content):
        raise PictureError("JPEG without its end, truncated or damaged: copy the file again")
    code = content[fill.end()]
    if code in _BARE_MARKERS or code == _DNL:
        raise PictureError(f"JPEG with marker {code:#04x} out of place: damaged")
    if code in _SOF_REFUSED:
        raise PictureError(
            "lossless, hierarchical or arithmetic JPEG: save it as baseline or progressive"
        )
    return code, fill.end() + 1


def _jpeg_frame(content: bytes, at: int, size: tuple[int, int] | None) -> JpegHeader:
    bits, height, width, components = struct.unpack_from(">BHHB", content, at + 2)
    _check_announced((height, width), size, "JPEG")
    if components == _CMYK:
        raise PictureError("JPEG with CMYK or YCCK colours: convert it to RGB or grey")
    if bits != 8 or components not in {1, 3}:  # noqa: PLR2004
        raise PictureError(f"JPEG of {bits} bits and {components} components: send 8-bit RGB")
    return JpegHeader(height, width, components, 0)


def _skip_scan(
    content: bytes, at: int, frame: JpegHeader | None, scans: int, most_scans: int
) -> int:
    """Return the end of the scan whose coded data begin at `at`."""
    if frame is None:
        raise PictureError("JPEG scan before its frame header: damaged")
    if scans > most_scans:
        raise PictureError(f"JPEG of more than {most_scans} scans: save it as baseline")
    samples = frame.height * frame.width * frame.components
    most = at + samples * _ENTROPY_BYTES_A_SAMPLE + _SLACK_BYTES
    end = _ENTROPY_END.search(content, at, most)
    if end is None:
        raise PictureError("JPEG scan without an end, truncated or damaged: copy the file again")
    return end.start()


def _whole_jpeg(frame: JpegHeader | None, scans: int, entropy_bytes: int) -> JpegHeader:
    if frame is None or not scans:
        raise PictureError("JPEG without a picture: truncated or damaged")
    blocks = -(-frame.height // _BLOCK) * -(-frame.width // _BLOCK)
    if 8 * entropy_bytes < blocks:  # each block takes at least one bit
        raise PictureError(f"JPEG with {entropy_bytes} bytes of pixels: truncated, copy it again")
    return JpegHeader(frame.height, frame.width, frame.components, scans)


def _check_announced(got: tuple[int, int], wanted: tuple[int, int] | None, kind: str) -> None:
    if wanted is not None and got != wanted:
        raise PictureError(f"{kind} of {got[0]}x{got[1]}, announced as {wanted[0]}x{wanted[1]}")
    check_pixels(*got)


def _check_bmp(content: bytes) -> PictureHeader:
    (offset, header_bytes, width, height, _, bits, compression) = struct.unpack_from(
        "<IIiiHHI", content, 10
    )
    if header_bytes < _BMP_HEADER_BYTES - 14:  # its sizes are elsewhere
        raise PictureError("BMP of an old kind, as OS/2 wrote it: save it again, uncompressed")
    height, width = abs(height), abs(width)
    check_pixels(height, width)
    # some decoders search for other formats a few bytes into the file
    if bits not in _BMP_BITS or content[4:8] == b"ftyp":
        raise PictureError("BMP of an old or foreign kind: save it again, uncompressed")
    bounded = compression in _BMP_UNCOMPRESSED
    if bounded and offset + (width * bits + 31) // 32 * 4 * height > len(content):
        raise PictureError("BMP without its end, truncated: copy the file again")
    return PictureHeader("BMP", height, width, content, bounded)


def _tiff_size(content: bytes, order: str) -> tuple[int, int]:
    """Read height and width of the first directory (TIFF 6.0, section 2)."""
    (start,) = struct.unpack_from(order + "I", content, 4)
    (entries,) = struct.unpack_from(order + "H", content, start)
    sides: dict[int, int] = {}
    for entry in range(entries):
        at = start + 2 + 12 * entry
        tag, kind = struct.unpack_from(order + "HH", content, at)
        if tag in {_TIFF_WIDTH, _TIFF_HEIGHT}:
            (sides[tag],) = struct.unpack_from(
                order + ("H" if kind == _TIFF_SHORT else "I"), content, at + 8
            )
    if len(sides) != 2:  # noqa: PLR2004  # a width and a height
        raise PictureError("TIFF that does not state its size")
    return sides[_TIFF_HEIGHT], sides[_TIFF_WIDTH]
