"""engine-admit, engine-bench, engine-build and engine-import."""

import sys
import time
from collections.abc import Callable
from typing import Annotated, Literal, NoReturn, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import CliPositionalArg
from rich.console import Console
from rich.progress import Progress as RichProgress
from rich.progress import TextColumn, TimeElapsedColumn

from engines.admit import admit as admit_engine
from engines.bench import BenchReport, bench_engine
from engines.command import CommandSettings, run_command
from engines.cost import batch_sizes
from engines.eight_bits import LEAST_PICTURES, PICTURES
from engines.errors import EngineError, ShapeError
from engines.flags import File, Folder, Metavar
from engines.import_model import MAX_BATCH, ImportOptions, import_model
from engines.machine import machine_name
from engines.manifest import Manifest, read_manifest
from engines.open import Backend, Runtime, open_engine
from engines.plans.build import PlanOptions, build_plan
from engines.plans.build_process import THIS_GPU
from engines.quantise import quantise
from engines.rival import LEAST_GAIN, LEAST_PLAN_GAIN
from engines.tables import admission_report, bench_report

REFUSED_STATUS = 1


class _EngineSettings(CommandSettings):
    engine: File = Field(description="engine file; its manifest lies beside it")
    backend: Backend = Field(
        default="auto", description="auto is openvino on a CPU, onnxruntime on a GPU"
    )
    device: str = Field(default="auto", description="auto (the CPU), cpu, cuda or cuda:1")
    threads: int = Field(default=0, ge=0, le=1024, description="CPU cores; 0 for all usable ones")
    as_json: bool = Field(default=False, description="print JSON in place of tables")


class AdmitSettings(_EngineSettings):
    """Prove that an engine answers like the reference on this machine; its manifest keeps it."""

    images: Folder | None = Field(
        default=None, description="folder of pictures to compare on; without it frames are drawn"
    )
    max_images: int = Field(
        default=64, ge=1, le=4096, description="pictures taken, evenly spread over the names"
    )
    repeats: int = Field(default=20, ge=1, le=10_000, description="timed calls for each batch size")
    reference: File | None = Field(
        default=None,
        description="ONNX file that a plan was built from; without it looked for beside the plan",
    )
    rival: File | None = Field(
        default=None,
        description="plan in fp16, of the same ONNX file, that an 8-bit plan must outrun",
    )
    least_gain: float | None = Field(
        default=None,
        ge=0,
        description="times that an 8-bit engine must be as fast as in float32 (a plan: as its "
        f"rival) to be worth its risk; default: {LEAST_GAIN} (a plan: {LEAST_PLAN_GAIN})",
    )


class BenchSettings(_EngineSettings):
    """Measure how fast an engine is on this machine: frames/s and ms at each batch size."""

    batches: list[Annotated[int, Field(ge=1)]] = Field(
        default=[], description="batch sizes; none for powers of two up to the engine's largest"
    )
    repeats: int = Field(
        default=50, ge=1, le=100_000, description="timed calls for each batch size"
    )
    seconds: float = Field(default=60.0, gt=0, description="no new round of calls after so long, s")


class BuildSettings(CommandSettings):
    """Build a TensorRT plan, or an 8-bit engine for CPUs, from an ONNX engine file."""

    source: CliPositionalArg[File] = Field(description="engine file, .onnx, with its manifest")
    plan: CliPositionalArg[File] = Field(
        description="file to write, .plan, or .openvino; its manifest is written beside it"
    )
    backend: Literal["tensorrt", "tensorrt_rtx", "openvino"] = Field(
        default="tensorrt",
        description="tensorrt: the vendor's full one; tensorrt_rtx: from PyPI, for GPUs of RTX "
        "class, and it builds where no GPU is; openvino: a CPU, with --precision int8",
    )
    calibration: Folder | None = Field(
        default=None, description="folder of good pictures from which int8 learns its ranges"
    )
    max_images: int = Field(
        default=PICTURES,
        ge=LEAST_PICTURES,
        le=4096,
        description="pictures taken from it, evenly spread",
    )
    target: str = Field(
        default=THIS_GPU,
        pattern=r"^(this-gpu|sm_\d{2,3})$",
        description="this-gpu, or an architecture as nvcc names it, such as sm_89, where the "
        "backend can build for absent GPUs",
    )
    opt_batch: int = Field(default=8, ge=1, le=4096, description="usual frames, tuned for")
    max_batch: int = Field(default=16, ge=1, le=4096, description="most frames in a batch")
    precision: Literal["fp16", "fp32", "int8"] = Field(
        default="fp16",
        description="of convolutions; sums and scores stay fp32. Where the gate refuses fp16: "
        "fp32; int8: the encoder's, the rest of a plan as in fp16, of an openvino file in fp32",
    )
    timing_cache: File | None = Field(
        default=None, description="what was timed before: read, and written again"
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


def admit() -> NoReturn:
    """Run engine-admit; exits with 1 where the engine is refused."""
    run_command("engine-admit", AdmitSettings, run_admit, expected=(EngineError,))


def bench() -> NoReturn:
    """Run engine-bench."""
    run_command("engine-bench", BenchSettings, run_bench, expected=(EngineError,))


def build() -> NoReturn:
    """Run engine-build."""
    run_command("engine-build", BuildSettings, run_build, expected=(EngineError,))


def take_over() -> NoReturn:
    """Run engine-import."""
    run_command("engine-import", ImportSettings, run_import, expected=(EngineError,))


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
    Console(highlight=False).print(
        f"wrote {settings.engine} and its manifest: frames of {manifest.height} x "
        f"{manifest.width}, up to {manifest.max_batch} in a batch, NG above "
        f"{manifest.thresholds.image:g} (not calibrated here); prove it with engine-admit, judge "
        "labelled pictures with trainer-evaluate",
        soft_wrap=True,
        markup=False,
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


def run_admit(settings: AdmitSettings) -> int:
    """Admit as the settings say, print the report, give the exit status."""
    if settings.images is not None and not settings.images.is_dir():
        raise NotADirectoryError(f"--images {settings.images} is no folder")
    admission = admit_engine(
        settings.engine,
        settings.images,
        Runtime(settings.backend, settings.device, settings.threads),
        settings.max_images,
        settings.repeats,
        settings.reference,
        settings.least_gain,
        settings.rival,
    )
    if settings.as_json:
        sys.stdout.write(admission.model_dump_json(indent=2) + "\n")
    else:
        Console().print(admission_report(read_manifest(settings.engine), admission))
    return 0 if admission.admitted else REFUSED_STATUS


def run_build(settings: BuildSettings) -> None:
    """Build as the settings say, showing the phases."""
    console = Console(highlight=False)
    started = time.monotonic()
    bars = RichProgress(TextColumn("{task.description:<40}"), TimeElapsedColumn(), console=console)
    with bars:
        task = bars.add_task("reading the graph", total=None)
        manifest = _built(settings, lambda phase: bars.update(task, description=phase.lower()))
        bars.update(task, description="built", total=1, completed=1)
    console.print(
        f"wrote {settings.plan} for {manifest.device}, {manifest.format_version}, "
        f"{manifest.precision}, up to {manifest.max_batch} frames, in "
        f"{time.monotonic() - started:.1f} s; prove it with engine-admit where it will serve",
        soft_wrap=True,
        markup=False,
    )


def _built(settings: BuildSettings, on_phase: Callable[[str], None]) -> Manifest:
    if settings.backend == "openvino":
        assert settings.calibration is not None  # noqa: S101  # the settings go together
        return quantise(
            settings.source, settings.plan, settings.calibration, settings.max_images, on_phase
        )
    options = PlanOptions(
        settings.backend,
        settings.target,
        settings.opt_batch,
        settings.max_batch,
        settings.precision,
        settings.timing_cache,
        calibration=settings.calibration,
        pictures=settings.max_images,
    )
    return build_plan(settings.source, settings.plan, options, on_phase)


def run_bench(settings: BenchSettings) -> None:
    """Measure as the settings say and print the report."""
    with open_engine(
        settings.engine, settings.backend, settings.device, settings.threads
    ) as opened:
        most = opened.engine.max_batch
        batches = sorted(set(settings.batches)) or batch_sizes(most)
        if batches[-1] > most:
            raise ShapeError(f"--batches up to {batches[-1]}, this engine takes {most}")
        report = BenchReport(
            engine=f"{opened.manifest.model} {opened.manifest.version}",
            backend=opened.backend,
            machine=machine_name(),
            height=opened.manifest.height,
            width=opened.manifest.width,
            points=bench_engine(opened.engine, batches, settings.repeats, settings.seconds),
        )
    if settings.as_json:
        sys.stdout.write(report.model_dump_json(indent=2) + "\n")
    else:
        Console().print(bench_report(report))
