"""Videos and streams made for tests: damaged, of changing size, with odd times."""

import io
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

TS_PACKET_BYTES = 188
RATE = 25


def scene(number: int, height: int = 240, width: int = 320) -> NDArray[np.uint8]:
    """A textured scene that moves, with a red spot whose place tells the number."""
    rng = np.random.default_rng(3)
    blocks = rng.integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8)
    pixels = np.roll(blocks.repeat(8, 0).repeat(8, 1), 3 * number, axis=1).copy()
    left = 7 * number % (width - 40)
    pixels[20:60, left : left + 40] = (255, number % 256, 0)
    return pixels


def write_video(
    path: Path,
    pictures: list[NDArray[np.uint8]],
    codec: str = "libx264",
    times: list[int] | None = None,
    sound_s: float = 0.0,
    **options: str,
) -> None:
    """Write pictures, 25 a second or at `times` in milliseconds, with silence beside them."""
    height, width = pictures[0].shape[:2]
    base = Fraction(1, RATE) if times is None else Fraction(1, 1000)
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=RATE, options=options)
        stream.height, stream.width, stream.gop_size = height, width, 12
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = base
        sound: Any = container.add_stream("aac", rate=8000, layout="mono") if sound_s else None
        for number, pixels in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number if times is None else times[number], base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        for at in range(0, round(8000 * sound_s), 1024):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            silence.sample_rate, silence.pts = 8000, at
            container.mux(sound.encode(silence))
        if sound_s:
            container.mux(sound.encode())


def lose_packets(content: bytes, share: float, seed: int) -> bytes:
    """Drop so many packets of a transport stream, none of its first twenty."""
    rng = random.Random(seed)  # noqa: S311  # a test's losses, not a secret
    kept = io.BytesIO()
    for at in range(0, len(content), TS_PACKET_BYTES):
        if at < 20 * TS_PACKET_BYTES or rng.random() > share:
            kept.write(content[at : at + TS_PACKET_BYTES])
    return kept.getvalue()
