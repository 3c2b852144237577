"""`pipeline-camera`: shots of a source -> frames offered to a line."""

import logging
import random
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import islice
from typing import Annotated

from pydantic import Field, field_validator

from engines.commandline.flags import File, Metavar, Name
from engines.commandline.picture_flags import AllowStrayBytes, PictureBits, picture_rules
from engines.pictures.headers import MAX_PIXELS
from engines.pictures.jpeg import DEFAULT_JPEG, Chroma, JpegSetting
from pipeline.camera.background import name_lease, run_in_background
from pipeline.camera.offer import FrameOffer, RingSender
from pipeline.camera.open import SOURCES, SourceOptions, open_source
from pipeline.camera.picture_guard import PictureGuard, guarded
from pipeline.camera.prepare import Preparation, Roi
from pipeline.camera.reconnect import reconnecting
from pipeline.camera.source import Source
from pipeline.camera.sources.watched_folder import WatchedFolderSource
from pipeline.codecs import Codec, Transport
from pipeline.errors import SettingsError, UnreadableFrame
from pipeline.logs import library_lines, start_logs
from pipeline.progress import progress
from pipeline.settings import WatchingSettings
from pipeline.signals import stopped_by_signals
from pipeline.streams.checkpoints import Checkpoints
from pipeline.streams.connection import BackOff, RedisConnection
from pipeline.streams.frame_consumer import OverdueFrames
from pipeline.streams.frame_producer import FrameProducer
from pipeline.streams.keys import LineLimits
from pipeline.streams.ledger import Ledger
from pipeline.streams.rollback.watch import RollbackWatch
from pipeline.wire import check_scale

_DEADLINE_MS = {True: 2_000.0, False: 600_000.0}  # live sources, files
_CURSOR_CHARS = 80  # of a cursor in the log
_log = logging.getLogger(__name__)


class CameraSettings(WatchingSettings):
    """Offer the pictures of a source to a line, one frame per part."""

    source: str = Field(description="where pictures come from\n" + SOURCES)
    camera: Name = Field(default="cam-1", description="the camera's name, one process each")
    size: Annotated[str, Metavar("HEIGHTxWIDTH")] = Field(
        default="256x256", description="pixels that the engine takes"
    )
    roi: Annotated[str, Metavar("TOP,LEFT,HEIGHT,WIDTH")] | None = Field(
        default=None, description="what of the full picture to keep, pixels"
    )
    mm_per_pixel: Annotated[str, Metavar("VERTICAL,HORIZONTAL")] | None = Field(
        default=None, description="millimetres per pixel of the full picture"
    )
    codec: Transport = Field(
        default=Codec.RAW, description="how pixels travel; ring: shared memory of this machine"
    )
    jpeg_quality: int = Field(
        default=DEFAULT_JPEG.quality, ge=1, le=100, description="of JPEG frames"
    )
    jpeg_chroma: Chroma = Field(
        default=DEFAULT_JPEG.chroma,
        description="colour in JPEG frames; 420: half its resolution, 444: all, in twice the time",
    )
    deadline_ms: float | None = Field(
        default=None,
        gt=0,
        description="after capture, when a verdict no longer helps, ms; "
        "default: 2000 from live sources, 600000 from files",
    )
    budget_mb: float = Field(
        default=64.0, gt=0, description="frames that may wait on the line, MB; the same for all"
    )
    results_kept: int = Field(default=100_000, ge=1, description="verdicts kept, about")
    rate: float | None = Field(default=None, gt=0, description="pictures per second")
    passes: int | None = Field(default=1, ge=0, description="of a folder; 0: without end")
    part_pattern: Annotated[str, Metavar("PATTERN")] | None = Field(
        default=None, description="regular expression whose group is the part id in a file name"
    )
    allow_stray_bytes: AllowStrayBytes = False
    picture_bits: PictureBits = None
    count: int | None = Field(default=None, ge=1, description="end after so many pictures")
    variety: int | None = Field(
        default=None, ge=1, description="draw so many synthetic parts, then show them in turn"
    )
    live: bool = Field(
        default=False, description="synthetic parts pass whether or not the line is full"
    )
    settle_s: float = Field(
        default=0.3,
        gt=0,
        description="a picture in a watched folder is whole when it has its end and did not change "
        "for so long, seconds",
    )
    patience_s: float = Field(
        default=10.0,
        gt=0,
        description="how long a copy into a watched folder may stall, seconds; what is not whole "
        "then is UNREADABLE",
    )
    cti: File | None = Field(
        default=None,
        description="GenTL producer of a GenICam camera; default: those in the folders of "
        "GENICAM_GENTL64_PATH",
    )
    lost_s: float = Field(default=5.0, gt=0, description="a live camera is lost after, seconds")
    show_progress: bool = Field(default=False, description="a progress bar on stderr")

    @field_validator("size")
    @classmethod
    def _check_size(cls, size: str) -> str:
        parse_size(size)
        return size


def parse_size(text: str) -> tuple[int, int]:
    """Read HEIGHTxWIDTH.

    Raises:
        ValueError: other than two whole numbers from 8 to 16384, or too many pixels.
    """
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and 8 <= int(part) <= 16384 for part in parts):  # noqa: PLR2004
        raise ValueError(f"{text!r}: HEIGHTxWIDTH in pixels is wanted, like 256x256")
    height, width = int(parts[0]), int(parts[1])
    if height * width > MAX_PIXELS:
        raise ValueError(f"{text!r}: more than {MAX_PIXELS} pixels, which no worker takes")
    return height, width


def _parse_scale(text: str) -> tuple[float, float]:
    try:
        scale = [float(part) for part in text.split(",")]
    except ValueError:
        scale = []
    if len(scale) != 2:  # noqa: PLR2004
        raise SettingsError(f"--mm-per-pixel {text!r}: VERTICAL,HORIZONTAL, like 0.05,0.05")
    try:
        check_scale((scale[0], scale[1]))
    except UnreadableFrame as error:
        raise SettingsError(f"--mm-per-pixel {text!r}: {error}") from error
    return scale[0], scale[1]


def preparation(settings: CameraSettings) -> Preparation:
    """Read how pictures become frames.

    Raises:
        SettingsError: a scale or a region that is none.
    """
    scale = None if settings.mm_per_pixel is None else _parse_scale(settings.mm_per_pixel)
    roi = Roi.parse(settings.roi) if settings.roi else None
    return Preparation(parse_size(settings.size), roi, scale)


def run(settings: CameraSettings) -> int:
    """Offer until the source ends or a signal comes."""
    start_logs(settings.log_level, settings.log_format)
    stop, guard = threading.Event(), PictureGuard(picture_rules(settings))
    with (
        library_lines(settings.log_format),
        _source(settings, stop, guard) as source,
        settings.connect() as connection,
        stopped_by_signals(stop.set),  # before that a signal ends it at once
    ):
        limits = LineLimits(int(settings.budget_mb * (1 << 20)), settings.results_kept)
        producer = FrameProducer(connection.client, settings.line, settings.camera, limits)
        connection.retry(producer.join, stop.is_set)
        connection.clocks.look()
        watch = _watch_books(settings, producer, connection)
        _keep_memory(settings, source, connection, stop)
        offer = FrameOffer(
            producer,
            connection,
            preparation(settings),
            settings.codec,
            JpegSetting(settings.jpeg_quality, settings.jpeg_chroma),
            int((settings.deadline_ms or _DEADLINE_MS[source.live]) * 1e6),
            stop,
        )
        overdue = OverdueFrames(connection.client, settings.line, limits)
        checks = (watch.look, connection.fitness.look, connection.clocks.look)
        with (
            name_lease(producer, settings.camera, stop.is_set, stop.set) as keep,
            closing(watch),
            run_in_background(overdue.expire, keep, *checks),
            _ring(settings, offer, connection),
            guarded(guard, producer, connection, stop.is_set),
        ):
            connection.retry(watch.ask, stop.is_set)  # before asking where this camera stands
            return offer_all(settings, source, offer, producer, connection, stop)


def _watch_books(
    settings: CameraSettings, producer: FrameProducer, connection: RedisConnection
) -> RollbackWatch:
    """Remember what Redis was told, to notice when it goes back."""
    watch = RollbackWatch(
        connection.client,
        settings.line,
        f"pipeline-camera {settings.camera}",
        own_camera=settings.camera,
        file=settings.books,
    )
    producer.on_admission = watch.note_frame
    return watch


def offer_all(
    settings: CameraSettings,
    source: Source,
    offer: FrameOffer,
    producer: FrameProducer,
    connection: RedisConnection,
    stop: threading.Event,
) -> int:
    """Offer every shot of a source under the next seqs, passing over those of missed triggers."""
    standing = partial(producer.position, past_lost=source.live)
    last, cursor = connection.retry(standing, stop.is_set)
    seq, frames = last + 1, 0
    fields = {"camera": settings.camera, "line": settings.line, "redis": connection.server}
    _log.info("camera.started", extra={**fields, "seq": seq, "cursor": cursor[:_CURSOR_CHARS]})

    def tell(event: str, why: str) -> None:
        _log.log(
            logging.ERROR if event == "camera.lost" else logging.WARNING, event, extra={"why": why}
        )
        connection.retry(lambda: producer.record_event(event.removeprefix("camera.")), stop.is_set)

    shots = reconnecting(
        source,
        cursor,
        tell,
        time.monotonic,
        stop.wait,
        BackOff(),
        random.Random(),  # noqa: S311
    )
    synthetic = settings.source.startswith("synthetic:")  # it counts from its own first part
    most = None if synthetic else settings.count
    with progress(settings.camera, settings.count, shown=settings.show_progress) as advance:
        for shot in shots if most is None else islice(shots, most):
            if shot.missed:
                _say_lost(settings.camera, shot.missed)
                seq += shot.missed
            if not offer.offer(shot, seq, live=source.live):
                break
            seq += 1
            frames += 1
            advance(1)
    if not stop.is_set():
        connection.retry(producer.forget_cursor, stop.is_set)
    counts = {status.value: count for status, count in offer.counts.items()}
    _log.info("camera.ended", extra={"frames": frames, **counts})
    return 0


def _say_lost(camera: str, frames: int) -> None:
    """Log that parts passed without a picture: nothing can be judged or published."""
    why = "triggered, but no picture came: cable, switch and the camera's packet settings"
    _log.error("frames.lost", extra={"camera": camera, "frames": frames, "why": why})


@contextmanager
def _source(
    settings: CameraSettings, stop: threading.Event, guard: PictureGuard
) -> Iterator[Source]:
    options = SourceOptions(
        rate=settings.rate,
        passes=settings.passes or None,
        part_pattern=settings.part_pattern,
        count=settings.count,
        size=parse_size(settings.size),
        live=settings.live,
        variety=settings.variety,
        timeout_s=settings.lost_s,
        guard=guard,
        rules=guard.rules,
        settle_s=settings.settle_s,
        patience_s=settings.patience_s,
        producers=(settings.cti,) if settings.cti else (),
    )
    source = open_source(settings.source, options, stop.wait)
    try:
        yield source
    finally:
        source.close()


def _keep_memory(
    settings: CameraSettings, source: Source, connection: RedisConnection, stop: threading.Event
) -> None:
    """Keep in Redis which files a watched folder has taken."""
    if isinstance(source, WatchedFolderSource):
        patiently = partial(connection.retry, stopping=stop.is_set)
        source.remember_in(
            Checkpoints(connection.client, settings.line, settings.camera, patiently)
        )


@contextmanager
def _ring(
    settings: CameraSettings, offer: FrameOffer, connection: RedisConnection
) -> Iterator[None]:
    """Where frames travel in shared memory: a ring as large as the line's byte budget."""
    if settings.codec is not Codec.RING:
        yield
        return
    height, width = parse_size(settings.size)
    ledger = Ledger(connection.client, settings.line)
    ring = RingSender.create(
        settings.line, settings.camera, height * width * 3, settings.budget_mb, ledger
    )
    ring.free_left(settings.line)
    offer.ring = ring
    try:
        yield
    finally:
        ring.leave()
