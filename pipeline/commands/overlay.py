"""Verdicts drawn over the pictures of their parts, and written as files."""

import logging
import math
import re
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.errors import PictureError
from engines.files import write_atomic
from engines.pictures.jpeg import Chroma, JpegSetting
from engines.pictures.read import PICTURE_SUFFIXES, read_picture
from pipeline.codecs import Codec, encode_pixels
from pipeline.commands.overlay_text import painter
from pipeline.frames import Decision, Region, Verdict

if TYPE_CHECKING:  # only with --zones
    from engines.zones.schema import ZoneSet

Picture = NDArray[np.uint8]  # [H, W, 3], RGB
Colour = tuple[int, int, int]
MIN_SIDE = 512  # smaller pictures are enlarged, so that text and lines stay readable
MAX_SIDE = 4096  # but no further than this
BAR_HEIGHT = 64
MAX_LABELS = 8
BACKGROUND = 96
MAX_PART_CHARS = 60
_FILL_SHARE = 0.3
_LABEL_HEIGHT = 14
_BOX_MARGIN = 4
_BAR_MARGIN = 8
_MARK: Colour = (255, 40, 40)
_BOX: Colour = (255, 230, 60)
_WHITE: Colour = (255, 255, 255)
_BLACK: Colour = (0, 0, 0)
_BAR: dict[Decision, Colour] = {
    Decision.OK: (20, 110, 50),
    Decision.NG: (170, 20, 20),
    Decision.UNKNOWN: (140, 95, 0),
}
LOG_EVERY_S = 60.0
LOOK_EVERY_S = 5.0
GREY_SIDE = 256
_MAX_NAME_CHARS = 80
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_log = logging.getLogger(__name__)


def blank(height: int, width: int) -> Picture:
    """A grey picture, where a part's own is not at hand."""
    return np.full((height, width, 3), BACKGROUND, np.uint8)


def draw_overlay(
    pixels: Picture,
    verdict: Verdict,
    found: NDArray[np.bool_] | NDArray[np.float32] | None = None,
    zones: "ZoneSet | None" = None,
) -> Picture:
    """Draw zones, mask, region boxes and a caption; the picture given stays as it is.

    Args:
        pixels: uint8 [H, W, 3] RGB, the part as the engine saw it, in any size.
        verdict: what to caption it with.
        found: mask bool [h, w], or map float [h, w] to be cut at the verdict's pixel threshold;
            None takes the verdict's own mask.
        zones: that the part was judged by, outlined and named.

    Returns: uint8 [H * s + BAR_HEIGHT, W * s, 3] RGB; s is the least whole number that makes the
        shorter side MIN_SIDE pixels, as far as the longer one stays within MAX_SIDE.
    """
    short, long = sorted(pixels.shape[:2])
    scale = max(1, min(math.ceil(MIN_SIDE / short), MAX_SIDE // long))
    height, width = pixels.shape[0] * scale, pixels.shape[1] * scale
    canvas = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    if zones is not None:
        from engines.zones.draw import draw_zones  # noqa: PLC0415  # only with --zones

        draw_zones(canvas, zones, verdict.meta.camera)
    mask = _mask(verdict, found)
    if mask is not None:
        canvas = _draw_mask(canvas, mask)
    judgement = verdict.judgement
    if judgement is not None:
        seen = pixels.shape[:2] if mask is None else mask.shape
        _draw_regions(canvas, judgement.regions, height / seen[0], width / seen[1])
    return np.vstack([canvas, _bar(verdict, width)])


def _mask(
    verdict: Verdict, found: NDArray[np.bool_] | NDArray[np.float32] | None
) -> NDArray[np.bool_] | None:
    judgement = verdict.judgement
    if found is None:
        return None if judgement is None else judgement.mask
    if found.dtype == np.bool_:
        return found.astype(np.bool_, copy=False)
    return found > (judgement.pixel_threshold if judgement else 1.0)


def _draw_mask(canvas: Picture, mask: NDArray[np.bool_]) -> Picture:
    height, width = canvas.shape[:2]
    large = cv2.resize(mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
    tinted = canvas.copy()
    tinted[large > 0] = _MARK
    mixed = cv2.addWeighted(tinted, _FILL_SHARE, canvas, 1 - _FILL_SHARE, 0)
    contours, _ = cv2.findContours(large, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(mixed, contours, -1, _MARK, 2, cv2.LINE_AA)
    return np.asarray(mixed, np.uint8)


def _draw_regions(
    canvas: Picture, regions: Sequence[Region], scale_y: float, scale_x: float
) -> None:
    """Box every region; label the highest peaks. Boxes keep off the contour they surround."""
    height, width = canvas.shape[:2]
    for number, region in enumerate(regions):
        left = max(int(region.left * scale_x) - _BOX_MARGIN, 0)
        top = max(int(region.top * scale_y) - _BOX_MARGIN, 0)
        right = min(int((region.left + region.width) * scale_x) + _BOX_MARGIN, width - 1)
        bottom = min(int((region.top + region.height) * scale_y) + _BOX_MARGIN, height - 1)
        cv2.rectangle(canvas, (left, top), (right, bottom), _BLACK, 3)
        cv2.rectangle(canvas, (left, top), (right, bottom), _BOX, 1)
        if number < MAX_LABELS:
            _label(canvas, region, left, top, bottom)


def _label(canvas: Picture, region: Region, left: int, top: int, bottom: int) -> None:
    area = f"{region.area_px} px" if region.area_mm2 is None else f"{region.area_mm2:.3g} mm2"
    zone = f", {region.zone}" if region.zone else ""
    text = f" {region.peak:.2f}, {area}{zone} "
    drawn = painter().draw(text, _LABEL_HEIGHT, _BOX, _BLACK, canvas.shape[1])
    height, width = drawn.shape[:2]
    x = max(min(left, canvas.shape[1] - width), 0)
    y = top - height if top >= height else max(min(bottom + 2, canvas.shape[0] - height), 0)
    room = canvas[y : y + height, x : x + width]
    room[:] = drawn[: len(room)]


def _bar(verdict: Verdict, width: int) -> Picture:
    bar = np.empty((BAR_HEIGHT, width, 3), np.uint8)
    bar[:] = _BAR[verdict.decision]
    for text, top, height in ((_headline(verdict), 4, 24), (_origin(verdict), 38, 16)):
        ground = _BAR[verdict.decision]
        line = painter().draw(text, height, _WHITE, ground, max(1, width - 2 * _BAR_MARGIN))
        room = bar[top : top + len(line), _BAR_MARGIN : _BAR_MARGIN + line.shape[1]]
        room[:] = line[: len(room), : room.shape[1]]
    return bar


def _headline(verdict: Verdict) -> str:
    decision = verdict.decision.value + (f" {verdict.reason.value}" if verdict.reason else "")
    judgement = verdict.judgement
    if judgement is None:
        return decision
    return f"{decision}   score {judgement.score:.4g}   threshold {judgement.threshold:.4g}"


def _origin(verdict: Verdict) -> str:
    part = verdict.meta.part_id
    shown = part if len(part) <= MAX_PART_CHARS else part[: MAX_PART_CHARS - 3] + "..."
    text = f"part {shown}   {verdict.meta.camera}/{verdict.meta.seq}"
    if verdict.judgement is not None:
        text += f"   {verdict.judgement.engine.model} {verdict.judgement.engine.version}"
    return text


class PictureFinder:
    """Finds the picture of a part in a folder: by its relative path, else by its file name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._paths: dict[str, Path] = {}
        self._looked_s = -LOOK_EVERY_S

    def find(self, part_id: str) -> Path | None:
        """Return the picture whose path or name, without its suffix, is the part id's.

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

    def __init__(
        self, folder: Path, pictures: PictureFinder | None, zones: "ZoneSet | None" = None
    ) -> None:
        """Write to a folder; find pictures with `pictures`, and draw zones."""
        self._zones = zones
        self._zones_sha = zones.sha256 if zones else ""
        self._unlike_zones: str | None = None  # of the last verdict by other zones, as logged
        self._folder = folder
        self._pictures = pictures
        self._told_s = -LOG_EVERY_S
        self.failed = 0
        self.written = 0

    def write(self, verdict: Verdict) -> None:
        """Draw and write one verdict's overlay; count and log what cannot be written."""
        drawn = draw_overlay(self._background(verdict), verdict, zones=self._zones_of(verdict))
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            picture = encode_pixels(drawn, Codec.JPEG, JpegSetting(95, Chroma.FULL))
            write_atomic(self._folder / overlay_name(verdict), picture)
        except OSError as error:
            self._count(error)
        else:
            self.written += 1

    def _zones_of(self, verdict: Verdict) -> "ZoneSet | None":
        """Return the zones to draw: none where the part was judged by others."""
        if self._zones is None or verdict.judgement is None:
            return None
        if (sha256 := verdict.judgement.zones) == self._zones_sha:
            return self._zones
        if sha256 != self._unlike_zones:
            self._unlike_zones = sha256
            shas = {"judged_by": sha256[:12] or "none", "file": self._zones_sha[:12]}
            why = "parts were judged by other zones than those of --zones, which are not drawn"
            _log.warning("overlay.other_zones", extra={**shas, "why": why})
        return None

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
