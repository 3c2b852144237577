import os
import signal
import struct
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from inputs.bombs import large_tiff

from engines.errors import PictureError
from engines.pictures.decode_process import LimitedDecoder
from engines.pictures.headers import check_picture
from engines.pictures.read import decode_picture


@pytest.fixture
def decoder() -> Iterator[LimitedDecoder]:
    opened = LimitedDecoder()
    yield opened
    opened.close()


def tiff(height: int, width: int) -> bytes:
    drawn = np.random.default_rng(2).integers(0, 256, (height, width, 3), np.uint8)
    done, encoded = cv2.imencode(".tiff", drawn)
    assert done
    return encoded.tobytes()


def with_tag(content: bytes, tag: int, value: int) -> bytes:
    """Set a tag of the first directory of a little-endian TIFF to a 32-bit value."""
    (start,) = struct.unpack_from("<I", content, 4)
    (entries,) = struct.unpack_from("<H", content, start)
    changed = bytearray(content)
    for at in range(start + 2, start + 2 + 12 * entries, 12):
        if struct.unpack_from("<H", content, at) == (tag,):
            struct.pack_into("<HII", changed, at + 2, 4, 1, value)
    return bytes(changed)


def test_picture_comes_back_as_from_this_process(decoder: LimitedDecoder) -> None:
    content = tiff(30, 40)
    expected = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    for _ in range(2):
        assert np.array_equal(decoder.decode(check_picture(content)), expected)


def test_large_picture_fits_its_limit(decoder: LimitedDecoder) -> None:
    assert decoder.decode(check_picture(tiff(3000, 4000))).shape == (3000, 4000, 3)


def test_damaged_picture_is_refused_and_the_next_one_is_read(decoder: LimitedDecoder) -> None:
    content = tiff(30, 40)
    for tag, value in ((278, 0), (277, 0x10000000), (258, 0xFFFFFFFF), (279, 0x7FFFFFFF)):
        with pytest.raises(PictureError):
            decoder.decode(check_picture(with_tag(content, tag, value)))
    assert decoder.decode(check_picture(content)).shape == (30, 40, 3)


def test_picture_that_kills_its_decoder_is_refused_and_the_next_one_is_read(
    decoder: LimitedDecoder,
) -> None:
    content = tiff(30, 40)
    decoder.decode(check_picture(content))
    assert decoder._process is not None
    os.kill(decoder._process.pid, signal.SIGKILL)
    with pytest.raises(PictureError, match="its decoder crashed"):
        decoder.decode(check_picture(content))
    assert decoder.decode(check_picture(content)).shape == (30, 40, 3)


def test_decoder_that_never_answers_is_ended() -> None:
    decoder = LimitedDecoder(wait_s=0.5)
    content = tiff(30, 40)
    decoder._running()
    assert decoder._process is not None
    os.kill(decoder._process.pid, signal.SIGSTOP)
    with pytest.raises(PictureError, match="its decoder crashed"):
        decoder.decode(check_picture(content))
    decoder.close()


def test_picture_that_takes_more_cpu_than_it_may_ends_its_decoder() -> None:
    decoder = LimitedDecoder(cpu_s=0)  # up to one second, as the kernel counts whole ones
    decoder._running()
    child = decoder._process
    assert child is not None
    with pytest.raises(PictureError, match="exceeded 0 s of CPU"):
        decoder.decode(check_picture(large_tiff(8000, 16)))
    assert child.returncode == -signal.SIGXCPU
    assert decoder.decode(check_picture(tiff(30, 40))).shape == (30, 40, 3)
    decoder.close()


def test_cpu_of_one_picture_is_not_charged_to_the_next() -> None:
    decoder = LimitedDecoder(cpu_s=2)
    content = check_picture(large_tiff(4000, 4))  # about half a second each
    decoder.decode(content)
    child = decoder._process
    for _ in range(8):
        decoder.decode(content)
    assert decoder._process is child
    decoder.close()


def test_decoder_ends_with_the_process_that_it_serves(decoder: LimitedDecoder) -> None:
    decoder.decode(check_picture(tiff(3, 4)))
    assert decoder._process is not None
    assert decoder._pipe is not None
    decoder._pipe.close()
    assert decoder._process.wait(20) == 0


def test_picture_file_of_such_a_kind_is_decoded_there() -> None:
    assert decode_picture(tiff(30, 40), "p").shape == (30, 40, 3)
