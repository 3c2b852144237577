"""Facts about a model that its file does not state."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engines.pictures.rules import AS_STORED, PictureRules

Layout = Literal["nchw", "nhwc"]
MAX_BATCH = 32
PEAK_OF_MAP = "peak"  # in place of a score output: the highest value of the map


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """Facts that the file does not state. None: the file states it, or the import requests it."""

    size: tuple[int, int] | None = None  # (height, width) of frames
    layout: Layout | None = None  # layout of the input
    input_scale: float | None = None  # value of white: 1 for 0..1, 255 for 0..255
    # of RGB in 0..1, to subtract and to divide by
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    score: str | None = None  # name of an output, or PEAK_OF_MAP
    map: str | None = None  # name of an output
    map_channel: int | None = None  # channel of a map with several
    map_range: tuple[float, float] | None = None  # values that become 0 and 1
    image_threshold: float | None = None  # threshold on the model's own scores
    pixel_threshold: float | None = None  # threshold on the map in 0..1
    good_images: Path | None = None  # pictures of good parts to calibrate on
    rules: PictureRules = AS_STORED  # rules for their files
    false_reject_rate: float = 0.01  # desired, if there are good images
    name: str = "imported"
    max_batch: int = MAX_BATCH
