"""`engine-import`: turn an anomaly model in ONNX into an engine file."""

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import CliPositionalArg

from engines.commandline.flags import File, Metavar
from engines.commandline.run import CommandSettings
from engines.commandline.terminal import Terminal
from engines.conversion.onnx_import import MAX_BATCH, ImportOptions, import_model


class ImportSettings(CommandSettings):
    """Make an engine file of an anomaly model in ONNX, as anomalib's exporter writes it."""

    source: CliPositionalArg[File] = Field(description="ONNX file to take over")
    engine: CliPositionalArg[File] = Field(description="engine file to write, .onnx")
    size: Annotated[str, Metavar("HEIGHTxWIDTH")] | None = Field(
        default=None,
        pattern=r"^\d{1,4}(x\d{1,4})?$",
        description="of the frames, pixels, or the side of square ones; where the file fixes none",
    )
    mean: list[float] = Field(
        default=[], description="of R, G and B in 0..1, to subtract; none where the file does it"
    )
    std: list[float] = Field(
        default=[], description="of R, G and B in 0..1, to divide by; none where the file does it"
    )
    score: str | None = Field(
        default=None, description="output with the score; default: pred_score, else the map's peak"
    )
    map: str | None = Field(default=None, description="output with the map; default: anomaly_map")
    image_threshold: float = Field(default=0.5, description="score above which a part is NG")
    pixel_threshold: float = Field(
        default=0.5, ge=0, le=1, description="map value above which a pixel is in the mask"
    )
    name: str = Field(default="imported", min_length=1, description="what the model is called")
    max_batch: int = Field(default=MAX_BATCH, ge=1, le=4096, description="most frames in a batch")

    @field_validator("mean", "std")
    @classmethod
    def _three(cls, values: list[float]) -> list[float]:
        if len(values) not in (0, 3):
            raise ValueError(f"{len(values)} numbers, wanted are 3: of R, G and B")
        return values


def run_import(settings: ImportSettings) -> None:
    """Take a model over as the settings say, and say what is left to do."""
    options = ImportOptions(
        size=_height_and_width(settings.size),
        mean=_rgb(settings.mean),
        std=_rgb(settings.std),
        score=settings.score,
        map=settings.map,
        image_threshold=settings.image_threshold,
        pixel_threshold=settings.pixel_threshold,
        name=settings.name,
        max_batch=settings.max_batch,
    )
    manifest = import_model(settings.source, settings.engine, options)
    Terminal().print(
        f"wrote {settings.engine} and its manifest: frames of {manifest.height} x "
        f"{manifest.width}, up to {manifest.max_batch} in a batch, NG above "
        f"{manifest.thresholds.image:g} (not calibrated here); prove it with engine-admit, judge "
        "labelled pictures with trainer-evaluate",
        soft_wrap=True,
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
