"""`pipeline-worker`: from flags to a running worker."""

import gc
import logging
import sys
import tempfile

from pydantic import Field

from engines.cost import CostCurve, batch_sizes, measure_cost
from engines.errors import AdmissionError
from engines.flags import File, Folder
from engines.machine import machine_name
from engines.manifest import Manifest
from engines.open import Backend, OpenedEngine, open_engine
from pipeline.archive import Archive
from pipeline.errors import SettingsError
from pipeline.logs import start_logs
from pipeline.ring import RingReader
from pipeline.settings import LineSettings
from pipeline.signals import stopped_by_signals
from pipeline.streams.clock import warn_if_apart
from pipeline.streams.control import Controls
from pipeline.streams.intake import Limits
from pipeline.streams.work import Work
from pipeline.telemetry import Telemetry, served
from pipeline.worker.archivist import Archivist, Keeping
from pipeline.worker.loop import Options, Worker, capacity, worker_name
from pipeline.worker.post import Post
from pipeline.worker.tray import Tray
from pipeline.worker.unpack import Rings

SWITCH_S = 0.0002  # threads hand frames on: 5 ms, the default, added 0.4 ms to each
_DAY_S = 86_400.0
REPEATS = 9  # calls of each batch size at the start
MEASURE_S = 3.0  # no more rounds of them after this
_log = logging.getLogger(__name__)


class WorkerSettings(LineSettings):
    """Judge the frames of a line with an engine; run one per GPU, or one per group of cores."""

    engine: File = Field(description="engine file, its manifest beside it: prn.onnx, prn.plan")
    backend: Backend = Field(
        default="auto",
        description="what runs the engine; auto: OpenVINO on a CPU, for a plan what built it",
    )
    device: str = Field(
        default="auto", description="auto (the CPU, for a plan the first GPU), cpu, cuda or cuda:N"
    )
    skip_admission: bool = Field(
        default=False,
        description="serve an engine that engine-admit has not proved, or has refused",
    )
    threads: int = Field(default=0, ge=0, description="CPU cores for the engine; 0: all")
    threshold: float | None = Field(
        default=None, description="raw score above which a part is NG; default: the manifest's"
    )
    pixel_threshold: float | None = Field(
        default=None, ge=0, le=1, description="map value above which a pixel is mask"
    )
    max_batch: int = Field(
        default=0, ge=0, description="most frames scored together; 0: what the cost curve says"
    )
    batch_wait_ms: float = Field(
        default=0.0, ge=0, description="how long a frame waits for company, engine free, ms"
    )
    max_deliveries: int = Field(
        default=3, ge=1, description="workers a frame may outlive before it is given up"
    )
    results_kept: int = Field(default=100_000, ge=1, description="verdicts kept, about")
    results_mb: float = Field(
        default=256.0, gt=0, description="memory that the verdicts kept may take, about, MB"
    )
    archive: Folder | None = Field(
        default=None,
        description="keep frames here for labels that come later: NG, UNKNOWN, near the "
        "threshold, and a few others; the line's workers may share it. default: none is kept",
    )
    archive_mb: float = Field(
        default=10_240.0, gt=0, description="what the line's archive may take, MB"
    )
    archive_days: float = Field(
        default=14.0, gt=0, description="days after which archived frames go, labelled ones aside"
    )
    archive_share: float = Field(
        default=0.02, ge=0, le=1, description="share of the OK frames that is kept by chance"
    )
    archive_near: float = Field(
        default=0.05,
        ge=0,
        le=0.5,
        description="keep OK frames whose normalised score is so near to 0.5, the threshold",
    )
    drain_s: float = Field(default=10.0, ge=0, description="seconds to finish after SIGTERM")
    host: str = Field(default="127.0.0.1", description="where health and metrics are served")
    port: int = Field(
        default=0, ge=0, le=65535, description="port of health and metrics; 0: a free one"
    )


def run(settings: WorkerSettings) -> int:
    """Serve until a signal; exit status 1 where the worker failed."""
    start_logs(settings.log_level, settings.log_format)
    sys.setswitchinterval(SWITCH_S)
    with open_engine(
        settings.engine, settings.backend, settings.device, settings.threads
    ) as opened:
        if why := unproven(opened.manifest, opened.backend):
            if not settings.skip_admission:
                raise AdmissionError(
                    f"{settings.engine} {why}: run engine-admit --engine {settings.engine} here, "
                    "or say --skip-admission"
                )
            _log.warning("engine.not_admitted", extra={"engine": str(settings.engine), "why": why})
        curve = _cost_curve(opened, settings.max_batch)
        max_batch = settings.max_batch or curve.best_batch()
        max_batch = min(max_batch, opened.engine.max_batch)
        max_batch = -(-max_batch // (1 + len(opened.more_lanes)))  # lanes share what is worthwhile
        fields = {"backend": opened.backend, "max_batch": max_batch, "one_ms": curve.ms(1)}
        _log.info("engine.ready", extra=fields)
        return _serve(settings, opened, curve, max_batch)


def unproven(manifest: Manifest, backend: str) -> str:
    """Say why an engine may not judge here; empty where it may, or is the fixed one of dry runs.

    Args:
        manifest: of the engine.
        backend: what runs it here.
    """
    if manifest.format == "fixed":
        return ""
    admission = manifest.admission
    if admission is None:
        return "has not proved itself"
    if not admission.admitted:
        return f"was refused on {admission.machine} ({'; '.join(admission.reasons)})"
    if (admission.machine, admission.backend) != (machine_name(), backend):
        return (
            f"proved itself on {admission.machine} with {admission.backend}, not on this machine, "
            f"{machine_name()} with {backend}"
        )
    return ""


def open_archivist(settings: WorkerSettings, telemetry: Telemetry) -> Archivist | None:
    """Give who archives, not started yet; None where nothing is archived.

    Raises:
        SettingsError: the folder cannot be written.
    """
    if settings.archive is None:
        why = "frames cannot be labelled after their verdicts: --archive DIR keeps them"
        _log.info("archive.none", extra={"why": why})
        return None
    archive = Archive(settings.archive, settings.line)
    try:
        archive.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=archive.folder):
            pass
    except OSError as error:
        raise SettingsError(
            f"--archive {settings.archive}: {error.strerror or error}: choose a folder that this "
            "user can write"
        ) from error
    keeping = Keeping(
        settings.archive_share,
        settings.archive_near,
        int(settings.archive_mb * (1 << 20)),
        settings.archive_days * _DAY_S,
    )
    fields = {"folder": str(archive.folder), "mb": settings.archive_mb}
    _log.info("archive.ready", extra={**fields, "days": settings.archive_days})
    return Archivist(archive, settings.line, keeping, telemetry)


def _cost_curve(opened: OpenedEngine, max_batch: int) -> CostCurve:
    """The curve that this engine was admitted with here, else a new one."""
    admission = opened.manifest.admission
    if admission and (admission.machine, admission.backend) == (machine_name(), opened.backend):
        return CostCurve.through(admission.cost)
    most = opened.engine.max_batch
    sizes = batch_sizes(min(max_batch or most, most))
    return CostCurve.through(measure_cost(opened.engine, sizes, REPEATS, MEASURE_S))


def _serve(settings: WorkerSettings, opened: OpenedEngine, curve: CostCurve, max_batch: int) -> int:
    manifest: Manifest = opened.manifest
    lanes = (opened.engine, *opened.more_lanes)
    name = worker_name(settings.device)
    telemetry = Telemetry(settings.line)
    options = Options(
        max_batch,
        settings.batch_wait_ms,
        settings.max_deliveries,
        settings.threshold,
        settings.pixel_threshold,
    )
    limits = Limits(
        results_kept=settings.results_kept, results_bytes=int(settings.results_mb * (1 << 20))
    )
    with settings.link() as link:
        warn_if_apart(link.client)
        post = Post(
            name,
            link,
            Work(link.client, settings.line, name, limits),
            Controls(link.client, settings.line),
            telemetry,
            Tray(capacity(max_batch, len(lanes))),
            Rings(RingReader.attach),
            open_archivist(settings, telemetry),
        )
        worker = Worker(post, lanes, curve, manifest, options)
        page = served(telemetry, settings.host, settings.port, worker.ailing, worker.not_ready)
        with page as port, stopped_by_signals(post.halt.draining.set):
            fields = {"worker": name, "line": settings.line, "redis": link.server, "port": port}
            _log.info("worker.started", extra=fields)
            gc.collect()
            gc.freeze()  # what a start leaves lives as long as the process: never look at it again
            worker.run(settings.drain_s)
    if post.halt.failure:
        _log.error("worker.failed", extra={"why": post.halt.failure})
        return 1
    return 0
