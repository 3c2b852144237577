"""What a person says of a model that the file itself does not say."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engines.pictures.rules import AS_STORED, PictureRules

Layout = Literal["nchw", "nhwc"]
MAX_BATCH = 32
PEAK_OF_MAP = "peak"  # as the score: the highest value of the map


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What the file itself does not say. None: as the file says, or the import asks."""

    size: tuple[int, int] | None = None  # (height, width) of frames
    layout: Layout | None = None  # of the input
    input_scale: float | None = None  # what white becomes: 1 for 0..1, 255 for 0..255
    # of RGB in 0..1, to subtract and to divide by
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    score: str | None = None  # name of an output, or PEAK_OF_MAP
    map: str | None = None  # name of an output
    map_channel: int | None = None  # of a map with several
    map_range: tuple[float, float] | None = None  # what becomes 0 and 1
    image_threshold: float | None = None  # on the model's own scores
    pixel_threshold: float | None = None  # on the map in 0..1
    good_images: Path | None = None  # pictures of good parts to calibrate on
    rules: PictureRules = AS_STORED  # of their files
    false_reject_rate: float = 0.01  # wanted of the image threshold, where there are good images
    name: str = "imported"
    max_batch: int = MAX_BATCH
