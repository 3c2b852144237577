"""`engine-bench`: measure how fast an engine is."""

import sys
from typing import Annotated

from pydantic import Field

from engines.admission.timing import BenchReport, batch_sizes, bench_engine
from engines.commandline.terminal import Terminal
from engines.commands.engine_settings import EngineSettings
from engines.commands.tables import bench_report
from engines.errors import ShapeError
from engines.machine import machine_name
from engines.open import open_engine


class EngineBenchSettings(EngineSettings):
    """Measure how fast an engine is on this machine: frames/s and ms at each batch size."""

    batches: list[Annotated[int, Field(ge=1)]] = Field(
        default=[], description="batch sizes; default: powers of two up to the engine's largest"
    )
    repeats: int = Field(
        default=50, ge=1, le=100_000, description="timed calls for each batch size"
    )
    seconds: float = Field(
        default=60.0, gt=0, description="seconds after which no new round of calls starts"
    )


def run_bench(settings: EngineBenchSettings) -> None:
    """Measure and print the report."""
    with open_engine(
        settings.engine, settings.backend, settings.device, settings.threads
    ) as opened:
        most = opened.engine.max_batch
        batches = sorted(set(settings.batches)) or batch_sizes(most)
        if batches[-1] > most:
            raise ShapeError(f"--batches up to {batches[-1]}, but this engine takes at most {most}")
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
        Terminal().print(bench_report(report))
