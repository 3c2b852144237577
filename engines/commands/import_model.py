"""`engine-import`: turn an anomaly model in ONNX into an engine file."""

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import CliPositionalArg

from engines.commandline.flags import File, Folder, Metavar
from engines.commandline.picture_flags import AllowStrayBytes, PictureBits, picture_rules
from engines.commandline.run import CommandSettings
from engines.commandline.terminal import Terminal
from engines.conversion.foreign.options import MAX_BATCH, PEAK_OF_MAP, ImportOptions, Layout


class ImportSettings(CommandSettings):
    """Make an engine file from an anomaly model in ONNX, as anomalib's exporter writes it."""

    source: CliPositionalArg[File] = Field(description="ONNX file to import")
    engine: CliPositionalArg[File] = Field(description="engine file to write, .onnx")
    size: Annotated[str, Metavar("HEIGHTxWIDTH")] | None = Field(
        default=None,
        pattern=r"^\d{1,4}(x\d{1,4})?$",
        description="of the frames, pixels, or the side of square ones; if the file fixes none",
    )
    input_layout: Layout | None = Field(
        default=None, description="position of the input's channels; if the file does not state it"
    )
    input_scale: float | None = Field(
        default=None,
        gt=0,
        description="value of white in the model's input: 1 for 0..1, 255 for 0..255; needed "
        "unless the outputs have anomalib's names",
    )
    mean: list[float] = Field(
        default=[], description="of R, G and B in 0..1, to subtract; if the file does not do it"
    )
    std: list[float] = Field(
        default=[], description="of R, G and B in 0..1, to divide by; if the file does not do it"
    )
    score_output: str | None = Field(
        default=None,
        description=f"output with the score, or {PEAK_OF_MAP}: the map's highest value; default: "
        "pred_score, the only one with one value a frame, else the map's highest value",
    )
    map_output: str | None = Field(
        default=None,
        description="output with the map; default: anomaly_map, else the only one like a map",
    )
    map_channel: int | None = Field(
        default=None, ge=0, description="of a map with several channels, the one to take"
    )
    map_range: list[float] = Field(
        default=[],
        description="two values of the map that become 0 and 1; needed if it leaves 0..1",
    )
    good_images: Folder | None = Field(
        default=None,
        description="pictures of good parts, if possible not seen in training: calibrates the "
        "map's range and both thresholds on them",
    )
    allow_stray_bytes: AllowStrayBytes = False
    picture_bits: PictureBits = None
    false_reject_rate: float = Field(
        default=0.01, gt=0, lt=1, description="of good parts, with --good-images, 0..1"
    )
    score: str | None = Field(default=None, description="old name of --score-output")
    map: str | None = Field(default=None, description="old name of --map-output")
    image_threshold: float | None = Field(
        default=None,
        description="score above which a part is NG; default: 0.5 in anomalib's form, else needed",
    )
    pixel_threshold: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="map value, as 0..1, above which a pixel is in the mask; default: as above",
    )
    name: str = Field(default="imported", min_length=1, description="name of the model")
    max_batch: int = Field(default=MAX_BATCH, ge=1, le=4096, description="most frames in a batch")

    @field_validator("mean", "std")
    @classmethod
    def _three(cls, values: list[float]) -> list[float]:
        if len(values) not in (0, 3):
            raise ValueError(f"{len(values)} numbers, expected 3: for R, G and B")
        return values

    @field_validator("map_range")
    @classmethod
    def _two(cls, values: list[float]) -> list[float]:
        if len(values) not in (0, 2):
            raise ValueError(f"{len(values)} numbers, expected 2: LOW,HIGH")
        return values


def run_import(settings: ImportSettings) -> None:
    """Import a model; print what was imported and what is left to do."""
    from engines.conversion.onnx_import import import_model  # noqa: PLC0415  # help stays fast

    manifest = import_model(settings.source, settings.engine, _options(settings))
    console = Terminal()
    for name, text in manifest.settings.items():
        console.print(f"{name:7} {text}", soft_wrap=True)
    thresholds = manifest.thresholds
    console.print(
        f"wrote {settings.engine} and its manifest: frames of {manifest.height} x "
        f"{manifest.width}, up to {manifest.max_batch} in a batch, NG above "
        f"{thresholds.image:g}, mask above {thresholds.pixel:g} ({thresholds.method}); prove it "
        "with engine-admit, judge labelled pictures with trainer-evaluate",
        soft_wrap=True,
    )


def _options(settings: ImportSettings) -> ImportOptions:
    low_high = settings.map_range
    return ImportOptions(
        size=_height_and_width(settings.size),
        layout=settings.input_layout,
        input_scale=settings.input_scale,
        mean=_rgb(settings.mean),
        std=_rgb(settings.std),
        score=settings.score_output or settings.score,
        map=settings.map_output or settings.map,
        map_channel=settings.map_channel,
        map_range=(low_high[0], low_high[1]) if low_high else None,
        image_threshold=settings.image_threshold,
        pixel_threshold=settings.pixel_threshold,
        good_images=settings.good_images,
        rules=picture_rules(settings),
        false_reject_rate=settings.false_reject_rate,
        name=settings.name,
        max_batch=settings.max_batch,
    )


def _height_and_width(size: str | None) -> tuple[int, int] | None:
    if size is None:
        return None
    height, _, width = size.partition("x")
    return int(height), int(width or height)


def _rgb(values: list[float]) -> tuple[float, float, float] | None:
    if not values:
        return None
    red, green, blue = values
    return red, green, blue
