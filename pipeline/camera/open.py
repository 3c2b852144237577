"""A source by its description, as `pipeline-camera --source` takes it."""

import logging
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.extensions import SOURCES as EXTENSIONS
from engines.extensions import extension_names, find_extension
from engines.extras import install_command
from engines.pictures.rules import AS_STORED, PictureRules
from pipeline.camera.pace import FramePacer, Wait
from pipeline.camera.picture_guard import PictureGuard
from pipeline.camera.source import PartNames, Source
from pipeline.camera.sources.folder import FolderSource
from pipeline.camera.sources.live import Capture, LiveSource, public_address
from pipeline.camera.sources.stream import StreamCapture, load_av, rgb_from_stream
from pipeline.camera.sources.watched_folder import Patience, WatchedFolderSource
from pipeline.errors import SettingsError

SOURCES = """\
  DIR, folder:DIR     pictures of a folder in natural order, see --passes
  watch:DIR           pictures as they are dropped into a folder
  FILE, video:FILE    frames of a video file
  synthetic:SEED      drawn parts
  opencv:INDEX        a USB camera
  rtsp://, http://    a network camera's stream
  genicam:SERIAL      a GenICam camera; genicam: alone takes the only one
  NAME:REST           a source of another package that is installed here"""
_KINDS = frozenset({"folder", "watch", "video", "synthetic", "opencv", "genicam"})
_log = logging.getLogger(__name__)
_URL = re.compile(r"(rtsps?|rtmp|https?|udp|tcp)://.+")


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """What sources can be told; each heeds what it can."""

    rate: float | None = None  # shots a second; None: as fast as they are taken, or as they come
    passes: int | None = 1  # of a folder; None: without end
    part_pattern: str | None = None  # regular expression that finds the part id in a file name
    count: int | None = None  # of synthetic parts; None: without end
    size: tuple[int, int] = (256, 256)  # of synthetic pictures, (height, width)
    live: bool = False  # synthetic parts pass whether or not anyone looks
    variety: int | None = None  # draw so many synthetic parts and show them in turn
    timeout_s: float = 5.0  # a live camera without a picture for so long is lost
    guard: PictureGuard | None = None  # reads the pictures of folders
    rules: PictureRules = AS_STORED  # of JPEG pictures in streams and videos
    settle_s: float = 0.3  # a file of a watched folder that has not changed for so long is whole
    patience_s: float = 10.0  # one whose end is missing may still be copied so long
    producers: tuple[Path, ...] = ()  # GenTL producers; else those of GENICAM_GENTL64_PATH


def open_source(  # noqa: PLR0911  # one for each kind of source
    spec: str,
    options: SourceOptions,
    wait: Wait,
    clock: Callable[[], float] = time.monotonic,
    clock_ns: Callable[[], int] = time.time_ns,
) -> Source:
    """Open the source that `spec` describes.

    Args:
        spec: see SOURCES.
        options: what to tell it.
        wait: sleeps; True ends the source (`threading.Event().wait`).
        clock: monotonic seconds.
        clock_ns: UTC, nanoseconds since the epoch.

    Raises:
        SettingsError: no such source, or the source refuses what it was told.
    """
    if options.rate is not None and not 0 < options.rate <= 1e6:  # noqa: PLR2004
        raise SettingsError(f"rate of {options.rate} shots a second: above 0, up to a million")
    pacer = FramePacer(options.rate, clock, wait)
    kind, rest = _kind(spec)
    if kind == "folder":
        names = PartNames(options.part_pattern)
        return FolderSource(Path(rest), pacer, clock_ns, options.passes, names, options.guard)
    if kind == "watch":
        names = PartNames(options.part_pattern)
        patience = Patience(settle_s=options.settle_s, unfinished_s=options.patience_s)
        watched = WatchedFolderSource(Path(rest), pacer, clock, clock_ns, wait, names, patience)
        watched.guard = options.guard or watched.guard
        return watched
    if kind == "video":
        from pipeline.camera.sources.video import VideoSource  # noqa: PLC0415  # it needs OpenCV

        library = _video_library(rest)
        return VideoSource(Path(rest), pacer, clock_ns, library, options.rules)
    if kind == "synthetic":
        return _synthetic(rest, options, pacer, clock_ns)
    if kind == "opencv":
        return _live(rest, options, clock, clock_ns, wait)
    if extension := None if kind in _KINDS else find_extension(EXTENSIONS, kind):
        opened: Source = extension(rest, options, wait, clock, clock_ns)
        return opened
    from pipeline.camera.sources.genicam import GenicamSource, find_producers  # noqa: PLC0415

    named = list(options.producers)
    producers = named or find_producers(os.environ.get("GENICAM_GENTL64_PATH", ""))
    return GenicamSource(rest, producers, clock, clock_ns, wait, options.timeout_s)


def _live(
    address: str,
    options: SourceOptions,
    clock: Callable[[], float],
    clock_ns: Callable[[], int],
    wait: Wait,
) -> LiveSource:
    """Make the source of a USB device, which OpenCV reads, or of a stream, which PyAV reads."""
    from pipeline.camera.sources.opencv import open_opencv  # noqa: PLC0415
    from pipeline.camera.sources.pixel_formats import rgb_from_opencv  # noqa: PLC0415

    name, timeout_s = public_address(address), options.timeout_s
    library = None if address.isdecimal() else _video_library(name)
    if library is None:
        open_capture: Callable[[], Capture] = partial(open_opencv, address, timeout_s)
    else:
        open_capture = partial(StreamCapture, library, address, name, timeout_s)
    to_rgb: Callable[[Any], NDArray[np.uint8]] = rgb_from_opencv
    if library is not None:
        to_rgb = partial(rgb_from_stream, rules=options.rules)
    return LiveSource(name, open_capture, to_rgb, clock, clock_ns, wait, timeout_s, options.rate)


def _video_library(name: str) -> ModuleType | None:
    """Return PyAV; where it is not installed say what that costs."""
    library = load_av()
    if library is None:
        why = (
            "without PyAV damaged pictures and a changed size cannot be seen: they are judged as "
            f"if they were whole; {install_command('video')}"
        )
        _log.warning("video.damage_not_seen", extra={"source": name, "why": why})
    return library


def _kind(spec: str) -> tuple[str, str]:
    """Return the kind of source and what it needs."""
    if _URL.fullmatch(spec):
        return "opencv", spec
    if spec and Path(spec).is_dir():
        return "folder", spec
    if Path(spec).is_file():
        return "video", spec
    kind, colon, rest = spec.partition(":")
    if colon and kind not in _KINDS and kind in extension_names(EXTENSIONS):
        return kind, rest
    if not colon or kind not in _KINDS or (not rest and kind != "genicam"):
        raise SettingsError(f"no source {public_address(spec)!r}; there are\n{SOURCES}")
    if kind == "opencv" and not (rest.isdecimal() or _URL.fullmatch(rest)):
        raise SettingsError(f"opencv:{rest}: a device's index or a URL is needed, like opencv:0")
    return kind, rest


def _synthetic(
    seed: str, options: SourceOptions, pacer: FramePacer, clock_ns: Callable[[], int]
) -> Source:
    from pipeline.camera.sources.synthetic import SyntheticSource  # noqa: PLC0415  # it draws with OpenCV

    if not seed.isdecimal():
        raise SettingsError(f"synthetic:{seed}: a whole number is needed, like synthetic:7")
    return SyntheticSource(
        int(seed),
        pacer,
        clock_ns,
        size=options.size,
        count=options.count,
        live=options.live,
        variety=options.variety,
    )
