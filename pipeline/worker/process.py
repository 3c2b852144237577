"""`pipeline-worker`: from flags to a running worker."""

import gc
import logging
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from pipeline.errors import SettingsError
from pipeline.logs import library_lines, start_logs
from pipeline.signals import stopped_by_signals
from pipeline.streams.connection import RedisConnection
from pipeline.streams.control import Controls
from pipeline.streams.frame_consumer import FrameConsumer
from pipeline.streams.keys import LineLimits
from pipeline.telemetry import Telemetry, served
from pipeline.worker.active_engine import ActiveEngine
from pipeline.worker.context import FrameArchive, WorkerContext
from pipeline.worker.decode import Ring, RingReaders
from pipeline.worker.in_flight import InFlight
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.swap.interfaces import Follower, WorkerHandle
from pipeline.worker.swap.loading import FIXED_NOTE, load_engine
from pipeline.worker.worker import Worker, worker_name

_DAY_S = 86_400.0
SWITCH_S = 0.0002  # threads hand frames on: 5 ms, the default, added 0.4 ms to each
_log = logging.getLogger(__name__)


def run(settings: WorkerSettings) -> int:
    """Serve until a signal; exit status 1 where the worker failed."""
    start_logs(settings.log_level, settings.log_format)
    sys.setswitchinterval(SWITCH_S)
    start = _Start(worker_name(settings.device), Telemetry(settings.line))
    note = FIXED_NOTE if settings.serves_fixed_engine() else ""
    page = served(
        start.telemetry, settings.host, settings.port, start.failure, start.not_ready, note
    )
    with library_lines(settings.log_format), page as start.port:
        fields = {"worker": start.name, "line": settings.line, "port": start.port}
        _log.info("worker.starting", extra=fields)
        if settings.engine is None:
            return _serve_promoted(settings, start)
        # before Redis is asked for: a wrong file is said at once
        first = load_engine(settings.engine, settings.engine_options())
        with closing(ActiveEngine(first)) as active, settings.connect() as connection:
            return _serve(settings, connection, active, start, None)


@dataclass
class _Start:
    """What the page says of a worker, also while it loads its engine or waits for Redis."""

    name: str
    telemetry: Telemetry
    port: int = 0
    worker: Worker | None = None  # None: it has not started yet

    def failure(self) -> str:
        """Return what is wrong with the process, or nothing."""
        return self.worker.failure() if self.worker else ""

    def not_ready(self) -> str:
        """Return why the process takes no frames, or nothing."""
        if self.worker is None:
            return "starting: it loads its engine or waits for Redis, as its log says"
        return self.worker.not_ready()


def _serve_promoted(settings: WorkerSettings, start: _Start) -> int:
    """Serve what a registry promotes."""
    from engines.registry.registry import Registry  # noqa: PLC0415  # only with --registry
    from pipeline.streams.swap_coordinator import RedisSwapCoordinator  # noqa: PLC0415
    from pipeline.worker.swap.controller import SwapController  # noqa: PLC0415
    from pipeline.worker.swap.engine_source import EngineSource  # noqa: PLC0415
    from pipeline.worker.swap.start import load_promoted  # noqa: PLC0415

    options = settings.engine_options()
    source = EngineSource(Registry(settings.registry), settings.cache(), settings.line)
    with settings.connect() as connection:
        coordinator = RedisSwapCoordinator(connection.client, settings.line, start.name)
        with closing(ActiveEngine(load_promoted(source, coordinator, options))) as active:

            def follow(worker: WorkerHandle) -> SwapController:
                return SwapController(
                    active, source, coordinator, options, worker, settings.rollout_settings()
                )

            return _serve(settings, connection, active, start, follow)


def _serve(
    settings: WorkerSettings,
    connection: RedisConnection,
    active: ActiveEngine,
    start: _Start,
    follow: Callable[[WorkerHandle], Follower] | None,
) -> int:
    context = _context(settings, connection, start, active)
    worker = Worker(context, active, settings.worker_options(active.current), follow)
    with stopped_by_signals(context.shutdown.draining.set):
        connection.clocks.look()
        start.worker = worker
        fields = {"worker": start.name, "line": settings.line, "redis": connection.server}
        _log.info("worker.started", extra={**fields, "port": start.port})
        gc.collect()
        gc.freeze()  # what a start leaves lives as long as the process: never look at it again
        worker.run(settings.drain_s)
    if context.shutdown.failure:
        _log.error("worker.failed", extra={"why": context.shutdown.failure})
        return 1
    return 0


def _context(
    settings: WorkerSettings, connection: RedisConnection, start: _Start, active: ActiveEngine
) -> WorkerContext:
    from pipeline.streams.rollback.watch import RollbackWatch  # noqa: PLC0415  # once connected

    limits = LineLimits(
        results_kept=settings.results_kept, results_bytes=int(settings.results_mb * (1 << 20))
    )
    frame_consumer = FrameConsumer(connection.client, settings.line, start.name, limits)
    who = f"pipeline-worker {start.name}"
    watch = RollbackWatch(connection.client, settings.line, who, file=settings.books)
    frame_consumer.on_publish = watch.note_verdict
    return WorkerContext(
        start.name,
        connection,
        frame_consumer,
        Controls(connection.client, settings.line),
        start.telemetry,
        InFlight(active.capacity),
        RingReaders(_attach),
        open_archiver(settings, start.telemetry),
        rollback_watch=watch,
    )


def _attach(name: str) -> Ring:
    from pipeline.ring.ring import RingReader  # noqa: PLC0415  # only for cameras that share memory

    return RingReader.attach(name)


def open_archiver(settings: WorkerSettings, telemetry: Telemetry) -> FrameArchive | None:
    """Return who archives, not started yet; None where nothing is archived.

    Raises:
        SettingsError: the folder cannot be written.
    """
    if settings.archive is None:
        why = "frames cannot be labelled after their verdicts: --archive DIR keeps them"
        _log.info("archive.none", extra={"why": why})
        return None
    from pipeline.archive import Archive  # noqa: PLC0415  # only with --archive
    from pipeline.worker.archiver import Archiver, RetentionPolicy  # noqa: PLC0415

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
    fields = {"folder": str(archive.folder), "mb": settings.archive_mb}
    _log.info("archive.ready", extra={**fields, "days": settings.archive_days})
    policy = RetentionPolicy(
        share=settings.archive_share,
        near=settings.archive_near,
        most_bytes=int(settings.archive_mb * (1 << 20)),
        most_age_s=settings.archive_days * _DAY_S,
    )
    return Archiver(archive, settings.line, policy, telemetry)
