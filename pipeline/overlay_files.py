"""Overlay pictures as files, and the pictures of the parts that they are drawn on."""

import logging
import re
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.errors import PictureError
from engines.manifest import write_atomic
from engines.pictures import PICTURE_SUFFIXES, read_picture
from pipeline.codecs import Chroma, Codec, JpegSetting, encode_pixels
from pipeline.frames import Verdict
from pipeline.overlay import blank, draw_overlay

LOG_EVERY_S = 60.0
LOOK_EVERY_S = 5.0
GREY_SIDE = 256
_MAX_NAME_CHARS = 80
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_log = logging.getLogger(__name__)


class Pictures:
    """Finds the picture of a part in a folder: by its relative path, else by its file name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths: dict[str, Path] = {}
        self._looked_s = -LOOK_EVERY_S

    def find(self, part_id: str) -> Path | None:
        """Give the picture whose path or name, without its suffix, is the part id's.

        Of two pictures with the same name neither is given.
        """
        if (found := self._known(part_id)) is not None:
            return found
        if time.monotonic() - self._looked_s >= LOOK_EVERY_S:
            self._look()
        return self._known(part_id)

    def _known(self, part_id: str) -> Path | None:
        key = _without_suffix(part_id)
        return self._paths.get(key) or self._paths.get(key.rpartition("/")[2])

    def _look(self) -> None:
        self._looked_s = time.monotonic()
        found = [
            path for path in self._folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES
        ]
        times = Counter(_without_suffix(path.name) for path in found)
        self._paths = {
            name: path for path in found if times[name := _without_suffix(path.name)] == 1
        }
        for path in found:
            self._paths[_without_suffix(path.relative_to(self._folder).as_posix())] = path


def _without_suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if f"{dot}{suffix}".lower() in PICTURE_SUFFIXES else name


class OverlayFiles:
    """Writes overlays into a folder; a full disk never stops whoever asks for them."""

    def __init__(self, folder: Path, pictures: Pictures | None) -> None:
        self._folder = folder
        self._pictures = pictures
        self._told_s = -LOG_EVERY_S
        self.failed = 0
        self.written = 0

    def write(self, verdict: Verdict) -> None:
        """Draw and write one verdict's overlay; count and log what cannot be written."""
        drawn = draw_overlay(self._background(verdict), verdict)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            picture = encode_pixels(drawn, Codec.JPEG, JpegSetting(95, Chroma.FULL))
            write_atomic(self._folder / overlay_name(verdict), picture)
        except OSError as error:
            self._count(error)
        else:
            self.written += 1

    def _count(self, error: OSError) -> None:
        self.failed += 1
        if time.monotonic() - self._told_s >= LOG_EVERY_S:
            self._told_s = time.monotonic()
            _log.error("overlay.failed", extra={"why": str(error), "failed": self.failed})

    def _background(self, verdict: Verdict) -> NDArray[np.uint8]:
        """The part's picture in the size of the mask, or grey."""
        mask = verdict.judgement.mask if verdict.judgement else None
        height, width = (GREY_SIDE, GREY_SIDE) if mask is None else mask.shape
        path = self._pictures.find(verdict.meta.part_id) if self._pictures else None
        if path is None:
            return blank(height, width)
        try:
            pixels = read_picture(path)
        except PictureError as error:
            _log.warning("overlay.no_picture", extra={"why": str(error)})
            return blank(height, width)
        if mask is None:
            return pixels
        resized = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
        return np.asarray(resized, np.uint8)


def overlay_stem(camera: str, seq: int, answer: str, part_id: str) -> str:
    """Name an overlay's file, without suffix; safe whatever camera and part are called."""
    parts = (camera, f"{seq:08d}", answer, part_id)
    return "_".join(_UNSAFE.sub("-", part)[:_MAX_NAME_CHARS] for part in parts)


def overlay_name(verdict: Verdict) -> str:
    """Name the overlay's file."""
    meta = verdict.meta
    answer = verdict.reason or verdict.decision
    return overlay_stem(meta.camera, meta.seq, answer.value, meta.part_id) + ".jpg"
