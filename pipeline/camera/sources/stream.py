"""Streams and video files through PyAV, the extra `video`: damage is seen instead of concealed.

A picture is damaged when the container lost a piece of it, when the decoder reports an error, or
when it rests on a damaged one: then all are, up to the next undamaged key frame. The decoder's log
is read as well, since FFmpeg reports much of what it conceals nowhere else.

Pictures that a sender leaves out whole are not missed, except in files that tell their number.
"""

import importlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.errors import PictureError
from engines.pictures.read import MAX_PIXELS, decode_picture
from engines.pictures.rules import AS_STORED, PictureRules
from pipeline.errors import CameraLost, UnreadableFrame

_CONCEALED = "concealing"
_LIVE = {"rtsp_transport": "tcp", "fpsprobesize": "0"}
_DECODER = {"err_detect": "explode", "flags": "+output_corrupt", "max_pixels": str(MAX_PIXELS)}
_UNSURE_SHARE, _UNSURE_S = 0.02, 0.5  # by so much the announced duration of a whole file may be off
_EXACT_DURATIONS = ("matroska", "flv")  # formats whose header says it; others are estimated


def load_av(
    import_module: Callable[[str], ModuleType] = importlib.import_module,
) -> ModuleType | None:
    """Import PyAV, or return None where it is not installed."""
    try:
        library = import_module("av")
        logs = import_module("av.logging")
    except ImportError:
        return None
    logs.set_level(logs.INFO)  # what is concealed is told at this level; captured, never printed
    logs.set_skip_repeated(False)  # the second picture that is damaged alike is damaged too
    logging.getLogger("libav").setLevel(logging.CRITICAL)
    return library


@dataclass(frozen=True, slots=True)
class StreamPicture:
    """A picture of a stream, not converted yet."""

    content: Any  # a frame of PyAV, or the bytes of a JPEG file; None where nothing was decoded
    damage: str = ""  # why it must not be judged


def rgb_from_stream(picture: StreamPicture, rules: PictureRules = AS_STORED) -> NDArray[np.uint8]:
    """Convert a picture into uint8 [H, W, 3] RGB, upright; `rules` are for streams of JPEG.

    Raises:
        UnreadableFrame: it is damaged.
    """
    if picture.damage:
        raise UnreadableFrame(picture.damage)
    if isinstance(picture.content, bytes):
        try:
            return decode_picture(picture.content, "picture of the stream", rules)
        except PictureError as error:
            raise UnreadableFrame(str(error)) from error
    pixels = picture.content.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(pixels, round(picture.content.rotation / 90)), np.uint8)


class StreamDecoder:
    """The pictures of the first video stream of a container."""

    def __init__(self, library: ModuleType, address: str, name: str, **options: Any) -> None:  # noqa: ANN401  # PyAV's
        """Open a container.

        Args:
            library: PyAV.
            address: a URL or a path.
            name: the same as messages may show it.
            options: of `av.open`.

        Raises:
            CameraLost: it does not open, has no video, or its pictures are too large.
        """
        self._library = library
        self._name = name
        self.packets = 0  # of the video stream, so far
        self._end_s = 0.0  # of the latest packet of any stream
        try:
            self._container = library.open(address, **options)
        except (library.FFmpegError, OSError) as error:
            raise CameraLost(f"{name} does not open: {_reason(error)}") from error
        try:
            self._stream = self._video_stream()
        except BaseException:
            self._container.close()
            raise
        self._damaged = ""  # why the pictures up to the next key frame are
        self._undamaged_from: int | None = None  # earlier ones may rest on damaged ones
        self._after_corrupt = False

    def _video_stream(self) -> Any:  # noqa: ANN401  # PyAV's
        if not self._container.streams.video:
            raise CameraLost(f"{self._name} does not open: no video in it")
        stream = self._container.streams.video[0]
        decoder = stream.codec_context
        if not 1 <= decoder.height * decoder.width <= MAX_PIXELS:
            raise CameraLost(
                f"{self._name} has frames of {decoder.height}x{decoder.width}, "
                f"limit {MAX_PIXELS} pixels"
            )
        decoder.options = dict(_DECODER)
        decoder.thread_type = "SLICE"  # errors then belong to the picture at hand, and none waits
        decoder.copy_opaque = True
        return stream

    def pictures(self) -> Iterator[StreamPicture]:
        """Decode picture by picture.

        Raises:
            CameraLost: the connection or the file ended with an error.
        """
        packets = self._container.demux()
        while True:
            try:
                with self._library.logging.Capture(local=False):
                    packet = next(packets)
            except StopIteration:
                return
            except (self._library.FFmpegError, OSError) as error:
                raise CameraLost(f"breaks off: {_reason(error)}") from error
            if packet.stream_index == self._stream.index:
                yield from self._decode(packet)
            if packet.pts is not None:
                end = (packet.pts + (packet.duration or 0)) * packet.time_base
                self._end_s = max(self._end_s, float(end))

    def _decode(self, packet: Any) -> Iterator[StreamPicture]:  # noqa: ANN401  # PyAV's
        self.packets += packet.size > 0
        if self._stream.codec_context.name == "mjpeg":
            if packet.size:
                lost = "a piece of the picture was lost on the way" if packet.is_corrupt else ""
                yield StreamPicture(bytes(packet), lost)
            return
        self._follow_damage(packet)
        damage = [self._damaged or self._leading_damage(packet)]
        packet.opaque = damage  # travels with the picture, which may come out later
        # not this thread only: slices are decoded by several
        with self._library.logging.Capture(local=False) as lines:
            try:
                frames = packet.decode()
            except (self._library.FFmpegError, OSError) as error:
                self._damaged = f"does not decode: {_reason(error)}"
                frames = None
        if frames is None:
            yield StreamPicture(None, self._damaged)
            return
        if faults := [text.strip() for level, _, text in lines if _is_fault(level, text)]:
            self._damaged = damage[0] = f"damaged: {faults[0]}"
        for frame in frames:
            if frame.is_corrupt:
                self._damaged = self._damaged or "damaged: the decoder concealed a part of it"
            yield StreamPicture(
                frame, (frame.opaque or [""])[0] or (self._damaged if frame.is_corrupt else "")
            )

    def _follow_damage(self, packet: Any) -> None:  # noqa: ANN401  # PyAV's
        """Note damage that begins with this packet, or that a key frame ends."""
        if packet.is_corrupt:
            self._damaged = "a piece of the picture was lost on the way"
        elif packet.is_keyframe and self._damaged and not self._after_corrupt:
            # A container may notice a loss one packet early, so the next one is damaged as well.
            self._damaged, self._undamaged_from = "", packet.pts
        self._after_corrupt = packet.is_corrupt

    def _leading_damage(self, packet: Any) -> str:  # noqa: ANN401  # PyAV's
        """Return why a picture shown before the key frame that ended the damage is damaged."""
        if packet.pts is None or self._undamaged_from is None or packet.pts >= self._undamaged_from:
            return ""
        return "rests on a damaged picture"

    def cut_off(self, pictures: int) -> str:
        """Return why a file that gave `pictures` is not whole, or "".

        An announced number of pictures is exact in AVI and MP4 only, an announced duration holds
        for the longest stream; elsewhere both are estimates, which a whole file may miss.
        """
        kind = self._container.format.name
        announced = self._stream.frames if kind == "avi" else 0
        if "mp4" in kind:
            announced = len(self._stream.index_entries)  # without what an edit list leaves out
        if self.packets < announced:
            whole = pictures + announced - self.packets
            return f"{self._name} ends after {pictures} of {whole} frames: cut off"
        duration_s = (self._container.duration or 0) / self._library.time_base
        missing_s = duration_s - self._end_s
        exact = any(known in kind for known in _EXACT_DURATIONS)
        if exact and missing_s > max(_UNSURE_S, _UNSURE_SHARE * duration_s):
            return f"{self._name} ends after {self._end_s:.1f} of {duration_s:.1f} s: cut off"
        return ""

    def close(self) -> None:
        """Close the connection or file."""
        self._container.close()


class StreamCapture:
    """A network stream, read like a device."""

    def __init__(self, library: ModuleType, address: str, name: str, timeout_s: float) -> None:
        """Connect within `timeout_s`; each read may take as long.

        Raises:
            CameraLost: it does not open.
        """
        self._decoder = StreamDecoder(
            library, address, name, timeout=(timeout_s, timeout_s), options=dict(_LIVE)
        )
        self._pictures = self._decoder.pictures()

    def isOpened(self) -> bool:  # noqa: N802  # OpenCV's name
        """Return True: a stream that does not open is lost at once."""
        return True

    def read(self) -> tuple[bool, StreamPicture | None]:
        """Wait for the next picture; False where the stream ended."""
        picture = next(self._pictures, None)
        return picture is not None, picture

    def release(self) -> None:
        """Disconnect."""
        self._decoder.close()


def _is_fault(level: int, text: str) -> bool:
    """Return whether a line of the decoder's log tells of damage; its errors have level 16."""
    return level <= 16 or text.startswith(_CONCEALED)  # noqa: PLR2004


def _reason(error: Exception) -> str:
    """Return what happened, without the address: it may hold a password."""
    return str(getattr(error, "strerror", None) or type(error).__name__)
