"""`pipeline-worker`: from flags to a running worker."""

import gc
import logging
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, closing

from engines.registry.registry import Registry
from pipeline.archive import Archive
from pipeline.errors import SettingsError
from pipeline.logs import start_logs
from pipeline.ring.ring import RingReader
from pipeline.signals import stopped_by_signals
from pipeline.streams.connection import Link
from pipeline.streams.control import Controls
from pipeline.streams.frame_consumer import Work
from pipeline.streams.keys import LineLimits
from pipeline.streams.server_checks import warn_if_apart
from pipeline.streams.swap_coordinator import Swaps
from pipeline.telemetry import Telemetry, served
from pipeline.worker.active_engine import InForce
from pipeline.worker.archiver import Archivist
from pipeline.worker.context import Post
from pipeline.worker.decode import Rings
from pipeline.worker.in_flight import Tray
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.swap.controller import Swapper
from pipeline.worker.swap.engine_source import Source
from pipeline.worker.swap.interfaces import Around
from pipeline.worker.swap.loading import open_promoted, open_serving
from pipeline.worker.worker import Worker, worker_name

SWITCH_S = 0.0002  # threads hand frames on: 5 ms, the default, added 0.4 ms to each
_log = logging.getLogger(__name__)


def run(settings: WorkerSettings) -> int:
    """Serve until a signal; exit status 1 where the worker failed."""
    start_logs(settings.log_level, settings.log_format)
    sys.setswitchinterval(SWITCH_S)
    name = worker_name(settings.device)
    way = settings.way()
    with ExitStack() as opened:
        if settings.engine is not None:  # before Redis is asked for: a wrong file is said at once
            in_force = opened.enter_context(closing(InForce(open_serving(settings.engine, way))))
            return _serve(settings, opened.enter_context(settings.link()), in_force, name, None)
        source = Source(Registry(settings.registry), settings.cache(), settings.line)
        link = opened.enter_context(settings.link())
        swaps = Swaps(link.client, settings.line, name)
        first = open_promoted(source, swaps, way)
        in_force = opened.enter_context(closing(InForce(first)))

        def follow(around: Around) -> Swapper:
            return Swapper(in_force, source, swaps, way, around, settings.pace())

        return _serve(settings, link, in_force, name, follow)


def _serve(
    settings: WorkerSettings,
    link: Link,
    in_force: InForce,
    name: str,
    follow: Callable[[Around], Swapper] | None,
) -> int:
    warn_if_apart(link.client)
    post = _post(settings, link, name, in_force)
    worker = Worker(post, in_force, settings.options(), follow)
    page = served(post.telemetry, settings.host, settings.port, worker.ailing, worker.not_ready)
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


def _post(settings: WorkerSettings, link: Link, name: str, in_force: InForce) -> Post:
    limits = LineLimits(
        results_kept=settings.results_kept, results_bytes=int(settings.results_mb * (1 << 20))
    )
    telemetry = Telemetry(settings.line)
    return Post(
        name,
        link,
        Work(link.client, settings.line, name, limits),
        Controls(link.client, settings.line),
        telemetry,
        Tray(in_force.room),
        Rings(RingReader.attach),
        open_archivist(settings, telemetry),
    )


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
    fields = {"folder": str(archive.folder), "mb": settings.archive_mb}
    _log.info("archive.ready", extra={**fields, "days": settings.archive_days})
    return Archivist(archive, settings.line, settings.keeping(), telemetry)
