"""`pipeline-worker`: from flags to a running worker."""

import gc
import logging
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing

from pipeline.errors import SettingsError
from pipeline.logs import start_logs
from pipeline.signals import stopped_by_signals
from pipeline.streams.connection import Link
from pipeline.streams.control import Controls
from pipeline.streams.frame_consumer import Work
from pipeline.streams.keys import LineLimits
from pipeline.streams.server_checks import warn_if_apart
from pipeline.telemetry import Telemetry, served
from pipeline.worker.active_engine import InForce
from pipeline.worker.context import FrameArchive, Post
from pipeline.worker.decode import Ring, Rings
from pipeline.worker.in_flight import Tray
from pipeline.worker.settings import WorkerSettings
from pipeline.worker.swap.interfaces import Around, Follower
from pipeline.worker.swap.loading import open_serving
from pipeline.worker.worker import Worker, worker_name

_DAY_S = 86_400.0
SWITCH_S = 0.0002  # threads hand frames on: 5 ms, the default, added 0.4 ms to each
_log = logging.getLogger(__name__)


def run(settings: WorkerSettings) -> int:
    """Serve until a signal; exit status 1 where the worker failed."""
    start_logs(settings.log_level, settings.log_format)
    sys.setswitchinterval(SWITCH_S)
    name = worker_name(settings.device)
    if settings.engine is None:
        return _serve_promoted(settings, name)
    # before Redis is asked for: a wrong file is said at once
    first = open_serving(settings.engine, settings.way())
    with closing(InForce(first)) as in_force, settings.link() as link:
        return _serve(settings, link, in_force, name, None)


def _serve_promoted(settings: WorkerSettings, name: str) -> int:
    """Serve what a registry promotes."""
    from engines.registry.registry import Registry  # noqa: PLC0415  # only with --registry
    from pipeline.streams.swap_coordinator import Swaps  # noqa: PLC0415
    from pipeline.worker.swap.controller import Swapper  # noqa: PLC0415
    from pipeline.worker.swap.engine_source import Source  # noqa: PLC0415
    from pipeline.worker.swap.start import open_promoted  # noqa: PLC0415

    way = settings.way()
    source = Source(Registry(settings.registry), settings.cache(), settings.line)
    with settings.link() as link:
        swaps = Swaps(link.client, settings.line, name)
        with closing(InForce(open_promoted(source, swaps, way))) as in_force:

            def follow(around: Around) -> Swapper:
                return Swapper(in_force, source, swaps, way, around, settings.pace())

            return _serve(settings, link, in_force, name, follow)


def _serve(
    settings: WorkerSettings,
    link: Link,
    in_force: InForce,
    name: str,
    follow: Callable[[Around], Follower] | None,
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
        Rings(_attach),
        open_archivist(settings, telemetry),
    )


def _attach(name: str) -> Ring:
    from pipeline.ring.ring import RingReader  # noqa: PLC0415  # only for cameras that share memory

    return RingReader.attach(name)


def open_archivist(settings: WorkerSettings, telemetry: Telemetry) -> FrameArchive | None:
    """Give who archives, not started yet; None where nothing is archived.

    Raises:
        SettingsError: the folder cannot be written.
    """
    if settings.archive is None:
        why = "frames cannot be labelled after their verdicts: --archive DIR keeps them"
        _log.info("archive.none", extra={"why": why})
        return None
    from pipeline.archive import Archive  # noqa: PLC0415  # only with --archive
    from pipeline.worker.archiver import Archivist, Keeping  # noqa: PLC0415

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
    keeping = Keeping(
        share=settings.archive_share,
        near=settings.archive_near,
        most_bytes=int(settings.archive_mb * (1 << 20)),
        most_age_s=settings.archive_days * _DAY_S,
    )
    return Archivist(archive, settings.line, keeping, telemetry)
