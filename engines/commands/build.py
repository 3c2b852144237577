"""`engine-build`: build a TensorRT plan or an 8-bit engine from an ONNX engine file."""

import time
from collections.abc import Callable
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import CliPositionalArg

from engines.commandline.flags import File, Folder
from engines.commandline.picture_flags import AllowStrayBytes, PictureBits, picture_rules
from engines.commandline.progress import progress_bars
from engines.commandline.run import CommandSettings
from engines.commandline.terminal import Terminal
from engines.conversion.tensorrt_process import THIS_GPU
from engines.manifest import Manifest
from engines.trial_frames import LEAST_PICTURES, PICTURES


class BuildSettings(CommandSettings):
    """Build a TensorRT plan, or an 8-bit engine for CPUs, from an ONNX engine file."""

    source: CliPositionalArg[File] = Field(description="engine file, .onnx, with its manifest")
    plan: CliPositionalArg[File] = Field(
        description="file to write, .plan, or .openvino; its manifest is written beside it"
    )
    backend: Literal["tensorrt", "tensorrt_rtx", "openvino"] = Field(
        default="tensorrt",
        description="tensorrt: the vendor's full one; tensorrt_rtx: from PyPI, for GPUs of RTX "
        "class, builds without a GPU; openvino: for a CPU, with --precision int8",
    )
    calibration: Folder | None = Field(
        default=None, description="folder of good pictures on which int8 measures its ranges"
    )
    allow_stray_bytes: AllowStrayBytes = False
    picture_bits: PictureBits = None
    max_images: int = Field(
        default=PICTURES,
        ge=LEAST_PICTURES,
        le=4096,
        description="number of pictures to use from it, evenly spread",
    )
    target: str = Field(
        default=THIS_GPU,
        pattern=r"^(this-gpu|sm_\d{2,3})$",
        description="this-gpu, or an architecture as nvcc names it, such as sm_89, if the "
        "backend can build for other GPUs",
    )
    opt_batch: int = Field(
        default=8, ge=1, le=4096, description="usual batch size, which the plan is tuned for"
    )
    max_batch: int = Field(default=16, ge=1, le=4096, description="most frames in a batch")
    precision: Literal["fp16", "fp32", "int8"] = Field(
        default="fp16",
        description="of convolutions; sums and scores stay fp32. If admission refuses fp16: "
        "fp32; int8: the encoder's, the rest of a plan as in fp16, of an openvino file in fp32",
    )
    timing_cache: File | None = Field(
        default=None, description="timing cache: read if present, and updated"
    )

    @model_validator(mode="after")
    def _batches_rise(self) -> Self:
        if self.opt_batch > self.max_batch:
            raise ValueError("--opt-batch is more than --max-batch")
        return self

    @model_validator(mode="after")
    def _int8_goes_with_pictures(self) -> Self:
        if self.backend == "openvino" and self.precision != "int8":
            raise ValueError("--backend openvino and --precision int8 go together")
        if (self.precision == "int8") != (self.calibration is not None):
            raise ValueError("--precision int8 and --calibration DIR go together")
        return self


def run_build(settings: BuildSettings) -> None:
    """Build the engine, showing the phases."""
    console = Terminal()
    started = time.monotonic()
    with progress_bars(console, width=40, counted=False) as bars:
        task = bars.add_task("reading the graph", total=None)
        manifest = _built(settings, lambda phase: bars.update(task, description=phase.lower()))
        bars.update(task, description="built", total=1, completed=1)
    console.print(
        f"wrote {settings.plan} for {manifest.device}, {manifest.format_version}, "
        f"{manifest.precision}, up to {manifest.max_batch} frames, in "
        f"{time.monotonic() - started:.1f} s; prove it with engine-admit where it will serve",
        soft_wrap=True,
    )


def _built(settings: BuildSettings, on_phase: Callable[[str], None]) -> Manifest:
    if settings.backend == "openvino":
        from engines.conversion.openvino_int8 import quantise  # noqa: PLC0415  # it needs an extra

        assert settings.calibration is not None  # noqa: S101  # the settings go together
        return quantise(
            settings.source,
            settings.plan,
            settings.calibration,
            settings.max_images,
            on_phase,
            picture_rules(settings),
        )
    from engines.conversion.tensorrt import PlanOptions, build_plan  # noqa: PLC0415  # it, too

    options = PlanOptions(
        settings.backend,
        settings.target,
        settings.opt_batch,
        settings.max_batch,
        settings.precision,
        settings.timing_cache,
        calibration=settings.calibration,
        pictures=settings.max_images,
        rules=picture_rules(settings),
    )
    return build_plan(settings.source, settings.plan, options, on_phase)
