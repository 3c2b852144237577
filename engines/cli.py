"""engine-admit and engine-bench."""

import sys
from typing import Annotated, NoReturn

from pydantic import Field
from rich.console import Console

from engines.admit import admit as admit_engine
from engines.bench import BenchReport, bench_engine
from engines.command import CommandSettings, run_command
from engines.cost import batch_sizes
from engines.errors import EngineError, ShapeError
from engines.flags import File, Folder
from engines.machine import machine_name
from engines.manifest import read_manifest
from engines.open import Backend, open_engine
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


class BenchSettings(_EngineSettings):
    """Measure how fast an engine is on this machine: frames/s and ms at each batch size."""

    batches: list[Annotated[int, Field(ge=1)]] = Field(
        default=[], description="batch sizes; none for powers of two up to the engine's largest"
    )
    repeats: int = Field(
        default=50, ge=1, le=100_000, description="timed calls for each batch size"
    )
    seconds: float = Field(default=60.0, gt=0, description="no new round of calls after so long, s")


def admit() -> NoReturn:
    """Run engine-admit; exits with 1 where the engine is refused."""
    run_command("engine-admit", AdmitSettings, run_admit, expected=(EngineError,))


def bench() -> NoReturn:
    """Run engine-bench."""
    run_command("engine-bench", BenchSettings, run_bench, expected=(EngineError,))


def run_admit(settings: AdmitSettings) -> int:
    """Admit as the settings say, print the report, give the exit status."""
    if settings.images is not None and not settings.images.is_dir():
        raise NotADirectoryError(f"--images {settings.images} is no folder")
    admission = admit_engine(
        settings.engine,
        settings.images,
        settings.backend,
        settings.device,
        settings.threads,
        settings.max_images,
        settings.repeats,
    )
    if settings.as_json:
        sys.stdout.write(admission.model_dump_json(indent=2) + "\n")
    else:
        Console().print(admission_report(read_manifest(settings.engine), admission))
    return 0 if admission.admitted else REFUSED_STATUS


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
