"""A worker put together: its threads, from start to drained."""

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.errors import ConnectionLost, RedisFull, RedisUnfit
from pipeline.wire import encode_report
from pipeline.worker.active_engine import ActiveEngine, LoadedEngine
from pipeline.worker.context import WorkerContext
from pipeline.worker.housekeeping import Housekeeping
from pipeline.worker.in_flight import InFlightFrame
from pipeline.worker.judge import DecisionThresholds
from pipeline.worker.peers import PeerComparison
from pipeline.worker.reader import EntryDecoder, Reader
from pipeline.worker.scorer import Scorer, worst_case_s
from pipeline.worker.swap.interfaces import Follower, WorkerHandle
from pipeline.worker.writer import Writer

if TYPE_CHECKING:  # a line without zones loads none of it
    from pipeline.worker.zones import LineZones, ZonesInForce

_SAID_CHARS = 500
_LAPSED = "the threshold set by hand was of another engine: this one judges by its own"
_LEAST_JOIN_S = 0.2  # for a thread that has nothing left to do, after drain_s
ZONES_EVERY_S = 1.0  # between two looks at the zones file
READER_STUCK_S = 10.0  # decoding is bounded: who takes so long never ends
REDIS_UNSEEN_S = 5.0  # without an answer for so long a worker says that it is not ready
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How a worker works."""

    batch_wait_ms: float  # how long a frame waits for company while the engine is free
    max_deliveries: int  # after so many a frame is given up: it may be what kills workers
    threshold: float | None  # in place of the manifest's, of an engine that was named by hand
    pixel_threshold: float | None
    zones: "ZonesInForce | None" = None  # of a file, in place of the engine's


def worker_name(device: str) -> str:
    """Name this life of this process as the line knows it: host:pid:device:chance.

    A container restarts with the same host name and process id: under the name of the worker that
    was killed in it, the frames that died with it would count as its own and never be taken over.
    """
    return f"{socket.gethostname()}:{os.getpid()}:{device}:{secrets.token_hex(3)}"


def _join(threads: Iterable[threading.Thread], until_s: float) -> None:
    for thread in threads:
        thread.join(max(_LEAST_JOIN_S, until_s - time.monotonic()))


def _first(said: float | None, flag: float | None, built: float) -> float:
    if said is not None:
        return said
    return built if flag is None else flag


class Worker:
    """Judges the frames of one line until it is told to stop."""

    def __init__(
        self,
        context: WorkerContext,
        active: ActiveEngine,
        options: WorkerOptions,
        follow: Callable[[WorkerHandle], Follower] | None = None,
    ) -> None:
        """Put a worker together.

        Args:
            context: what its threads share.
            active: the engine that it begins with; borrowed.
            options: how it works.
            follow: makes what brings in other engines; None: it keeps the one it has.
        """
        self._context = context
        self._active = active
        self._options = options
        self._lapsed = False  # whether thresholds set by hand are of another engine
        self._started_ms = time.time_ns() // 1_000_000
        lanes = active.current.lanes
        self._decoder = EntryDecoder(context, lanes[0].input_size, options.max_deliveries)
        self._peers = PeerComparison(
            context.frame_consumer.other_beats, active, self._decoder, self._zones_sha
        )
        self._housekeeping = Housekeeping(
            context, self._decoder, self._report, self._on_look, self._peers
        )
        if options.zones is not None:
            self._housekeeping.add_task(options.zones.look, ZONES_EVERY_S)
        self._engine_zones: tuple[str, LineZones] | None = None  # of which engine, and they
        self._writer = Writer(context, active)
        self._scorers = [
            Scorer(context, active, lane, options.batch_wait_ms, self._writer, self.thresholds_of)
            for lane in range(len(lanes))
        ]
        self._swap_controller = None if follow is None else follow(self._handle())
        self._reader = Reader(context, self._decoder, self._try_score, self._takes_no_frames)
        shutdown = context.shutdown
        readers = len(lanes) + 1  # so that one reads while the others score
        self._reader_threads = [
            shutdown.guarded_thread(self._reader.run, "reader") for _ in range(readers)
        ]
        self._housekeeping_thread = shutdown.guarded_thread(self._housekeeping.run, "keeper")
        self._scorer_threads = [
            shutdown.guarded_thread(scorer.run, "scorer") for scorer in self._scorers
        ]
        self._writer_thread = shutdown.guarded_thread(self._writer.run, "writer")
        following = [] if self._swap_controller is None else [self._swap_controller.run]
        self._swap_threads = [shutdown.guarded_thread(run, "swapper") for run in following]

    def run(self, drain_s: float) -> None:
        """Work until `shutdown.draining` is set, then answer what is in hand.

        Args:
            drain_s: seconds that this may take; what is left then is taken over by others.
        """
        stopping = self._context.shutdown.draining.is_set
        self._context.connection.retry(self._context.frame_consumer.join, stopping)
        self._context.connection.retry(self._housekeeping.read_controls_first, stopping)
        if self._context.archiver:
            self._context.archiver.start()
        working = (
            *self._reader_threads,
            self._housekeeping_thread,
            *self._scorer_threads,
            self._writer_thread,
        )
        for thread in (*working, *self._swap_threads):
            thread.start()
        self._context.shutdown.draining.wait()
        _log.info("worker.draining", extra={"in_hand": self._context.in_flight.count})
        timer = threading.Timer(drain_s, self._context.shutdown.giving_up.set)
        timer.start()
        try:
            self._drain(drain_s)
        finally:
            timer.cancel()
            self._context.ring_readers.close()

    def _drain(self, drain_s: float) -> None:
        until_s = time.monotonic() + drain_s
        _join([*self._reader_threads, self._housekeeping_thread, *self._swap_threads], until_s)
        self._context.in_flight.close()
        _join(self._scorer_threads, until_s)
        self._context.outbox.put(None)
        _join([self._writer_thread], until_s)
        if self._context.in_flight.count:
            _log.error("worker.left_frames", extra={"in_hand": self._context.in_flight.count})
        try:
            self._context.frame_consumer.leave()
        except (ConnectionLost, RedisFull, RedisUnfit) as error:
            _log.warning("worker.left_unsaid", extra={"why": str(error)})  # others see it is gone
        if self._context.rollback_watch:
            self._context.rollback_watch.close()
        if self._context.archiver:
            self._context.archiver.close(until_s)
        _log.info("worker.drained", extra={"verdicts": self._writer.verdicts})

    def _try_score(self, frame: InFlightFrame) -> bool:
        """Score a frame in the reader's thread on the first lane that is free, if one is."""
        return any(scorer.try_score(frame) for scorer in self._scorers)

    def thresholds(self) -> DecisionThresholds:
        """The thresholds in force."""
        return self.thresholds_of(self._active.current)

    def thresholds_of(self, loaded: LoadedEngine) -> DecisionThresholds:
        """An engine's thresholds: a control message's for it, the flag's, or its manifest's."""
        image, pixel = self._housekeeping.line_state.thresholds_of(loaded.name.sha256)
        options, built = self._options, loaded.thresholds
        zones = self._zones_of(loaded)
        peak = None if zones is None else loaded.peak_threshold
        own = built.image if peak is None else peak
        return DecisionThresholds(
            _first(image, options.threshold, own),
            _first(pixel, options.pixel_threshold, built.pixel),
            zones,
        )

    def _zones_of(self, loaded: LoadedEngine) -> "LineZones | None":
        """Return the zones to judge by: the file's, or those that the engine was trained with."""
        if self._options.zones is not None:
            return self._options.zones.current
        if loaded.zones is None:
            return None
        known = self._engine_zones
        if known is None or known[0] != loaded.name.sha256:
            from pipeline.worker.zones import LineZones  # noqa: PLC0415  # only with zones

            known = (loaded.name.sha256, LineZones(loaded.zones, loaded.lanes[0].input_size))
            self._engine_zones = known
        return known[1]

    def failure(self) -> str:
        """What is wrong with this process, or nothing."""
        if self._context.shutdown.failure:
            return self._context.shutdown.failure
        loaded = self._active.current
        stuck_s = worst_case_s(loaded.curve, loaded.max_batch)
        if (busy_s := max(scorer.busy_s() for scorer in self._scorers)) > stuck_s:
            return f"the engine has been at one batch for {busy_s:.0f} s"
        if (busy_s := self._decoder.busy_s()) > READER_STUCK_S:
            return f"a reader has been at one frame for {busy_s:.0f} s"
        return ""

    def not_ready(self) -> str:
        """Why this process takes no frames, or nothing."""
        if self._context.shutdown.draining.is_set():
            return "draining"
        if self._housekeeping.line_state.paused:
            return "paused: pipeline-control --resume goes on"
        if (unseen_s := self._housekeeping.redis_silence_s()) > REDIS_UNSEEN_S:
            return f"Redis has not answered for {unseen_s:.0f} s"
        return self._peers.misfit or self._housekeeping.refused() or self.failure()

    def _takes_no_frames(self) -> bool:
        return self._housekeeping.line_state.paused or bool(self._peers.misfit)

    def _on_look(self) -> None:
        if self._swap_controller is not None:
            self._swap_controller.look()

    def _handle(self) -> WorkerHandle:
        context = self._context
        return WorkerHandle(
            name=context.name,
            telemetry=context.telemetry,
            thresholds=self.thresholds_of,
            manual_thresholds=lambda: (
                self._housekeeping.line_state.threshold,
                self._housekeeping.line_state.pixel,
            ),
            has_spare_time=self._has_spare_time,
            wait_for_lanes=self._wait_for_lanes,
            redis_silence_s=self._housekeeping.redis_silence_s,
            draining=context.shutdown.draining,
        )

    def _has_spare_time(self) -> bool:
        return self._context.in_flight.is_empty() and not any(
            lane.busy_s() for lane in self._scorers
        )

    def _wait_for_lanes(self) -> None:
        for scorer in self._scorers:
            scorer.wait_for_batch()

    def _report(self) -> bytes | None:
        """What this worker says of itself; nothing while it is stuck, so that others take over."""
        if self.failure():
            return None
        loaded = self._active.current
        self._context.telemetry.serves(loaded.name)
        thresholds = self.thresholds_of(loaded)
        return encode_report(
            {
                "worker": self._context.name,
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "engine": loaded.name.model,
                "version": loaded.name.version,
                "sha256": loaded.name.sha256,
                "promoted": loaded.version,
                "input_size": list(loaded.lanes[0].input_size),  # height, width
                "misfit": bool(self._peers.misfit),
                "swap": self._swap_status(loaded),
                "threshold": thresholds.image,
                "pixel_threshold": thresholds.pixel,
                "frames": self._writer.verdicts,
                "started_ms": self._started_ms,
                "drift": self._context.drift_monitor.report(),
                **self._zones_report(thresholds),
            }
        )

    def _zones_sha(self) -> str:
        zones = self._zones_of(self._active.current)
        return "" if zones is None else zones.sha256

    def _zones_report(self, thresholds: DecisionThresholds) -> dict[str, str]:
        """What this worker says of zones: nothing where it has none."""
        if thresholds.zones is None:
            return {}
        refusal = self._options.zones.refusal if self._options.zones else ""
        return {"zones": thresholds.zones.sha256, "zones_refused": refusal[:_SAID_CHARS]}

    def _swap_status(self, loaded: LoadedEngine) -> str:
        """What the swap is at, and whether a threshold set by hand has lapsed."""
        said = "" if self._swap_controller is None else self._swap_controller.status()[:_SAID_CHARS]
        lapsed = self._housekeeping.line_state.has_lapsed_for(loaded.name.sha256)
        if lapsed and not self._lapsed:
            _log.warning("threshold.lapsed", extra={"engine": loaded.name.sha256, "why": _LAPSED})
        self._lapsed = lapsed
        return "; ".join(filter(None, (said, _LAPSED if lapsed else "")))
