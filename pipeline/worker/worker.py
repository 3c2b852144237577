"""A worker put together: its threads, from start to drained."""

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pipeline.errors import ConnectionLost, RedisFull
from pipeline.wire import encode_report
from pipeline.worker.active_engine import InForce, Serving
from pipeline.worker.context import Post
from pipeline.worker.housekeeping import Keeper
from pipeline.worker.in_flight import Held
from pipeline.worker.judge import Limits
from pipeline.worker.reader import Intake, Reader
from pipeline.worker.scorer import Scorer, worst_case_s
from pipeline.worker.swap.interfaces import Around, Follower
from pipeline.worker.writer import Writer

_SAID_CHARS = 500
_LAPSED = "the threshold set by hand was of another engine: this one judges by its own"
_LEAST_JOIN_S = 0.2  # for a thread that has nothing left to do, after drain_s
REDIS_UNSEEN_S = 5.0  # without an answer for so long a worker says that it is not ready
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """How a worker works."""

    batch_wait_ms: float  # how long a frame waits for company while the engine is free
    max_deliveries: int  # after so many a frame is given up: it may be what kills workers
    threshold: float | None  # in place of the manifest's, of an engine that was named by hand
    pixel_threshold: float | None


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
        post: Post,
        in_force: InForce,
        options: Options,
        follow: Callable[[Around], Follower] | None = None,
    ) -> None:
        """Put a worker together.

        Args:
            post: what its threads share.
            in_force: the engine that it begins with; borrowed.
            options: how it works.
            follow: makes what brings in other engines; None: it keeps the one it has.
        """
        self._post = post
        self._in_force = in_force
        self._options = options
        self._lapsed = False  # whether thresholds set by hand are of another engine
        self._started_ms = time.time_ns() // 1_000_000
        lanes = in_force.serving.lanes
        intake = Intake(post, lanes[0].input_size, options.max_deliveries)
        self._keeper = Keeper(post, intake, self._report, self._look)
        self._writer = Writer(post, in_force)
        self._scorers = [
            Scorer(post, in_force, lane, options.batch_wait_ms, self._writer, self.limits_of)
            for lane in range(len(lanes))
        ]
        self._swapper = None if follow is None else follow(self._around())
        self._reader = Reader(
            post, intake, self._score_at_once, lambda: self._keeper.standing.paused
        )
        halt = post.halt
        readers = len(lanes) + 1  # so that one reads while the others score
        self._reading = [halt.guard(self._reader.run, "reader") for _ in range(readers)]
        self._keeping = halt.guard(self._keeper.run, "keeper")
        self._scoring = [halt.guard(scorer.run, "scorer") for scorer in self._scorers]
        self._writing = halt.guard(self._writer.run, "writer")
        following = [] if self._swapper is None else [self._swapper.run]
        self._swapping = [halt.guard(run, "swapper") for run in following]

    def run(self, drain_s: float) -> None:
        """Work until `halt.draining` is set, then answer what is in hand.

        Args:
            drain_s: seconds that this may take; what is left then is taken over by others.
        """
        stopping = self._post.halt.draining.is_set
        self._post.link.persist(self._post.work.join, stopping)
        self._post.link.persist(self._keeper.hear, stopping)
        if self._post.archivist:
            self._post.archivist.start()
        working = (*self._reading, self._keeping, *self._scoring, self._writing)
        for thread in (*working, *self._swapping):
            thread.start()
        self._post.halt.draining.wait()
        _log.info("worker.draining", extra={"in_hand": self._post.tray.in_hand})
        timer = threading.Timer(drain_s, self._post.halt.giving_up.set)
        timer.start()
        try:
            self._drain(drain_s)
        finally:
            timer.cancel()
            self._post.rings.close()

    def _drain(self, drain_s: float) -> None:
        until_s = time.monotonic() + drain_s
        _join([*self._reading, self._keeping, *self._swapping], until_s)
        self._post.tray.close()
        _join(self._scoring, until_s)
        self._post.outbox.put(None)
        _join([self._writing], until_s)
        if self._post.tray.in_hand:
            _log.error("worker.left_frames", extra={"in_hand": self._post.tray.in_hand})
        try:
            self._post.work.leave()
        except (ConnectionLost, RedisFull) as error:
            _log.warning("worker.left_unsaid", extra={"why": str(error)})  # others see it is gone
        if self._post.archivist:
            self._post.archivist.close(until_s)
        _log.info("worker.drained", extra={"verdicts": self._writer.verdicts})

    def _score_at_once(self, held: Held) -> bool:
        """Score a frame in the reader's thread on the first lane that is free, if one is."""
        return any(scorer.score_at_once(held) for scorer in self._scorers)

    def limits(self) -> Limits:
        """The thresholds in force."""
        return self.limits_of(self._in_force.serving)

    def limits_of(self, serving: Serving) -> Limits:
        """An engine's thresholds: a control message's for it, the flag's, or its manifest's."""
        image, pixel = self._keeper.standing.thresholds_of(serving.name.sha256)
        options, built = self._options, serving.thresholds
        return Limits(
            _first(image, options.threshold, built.image),
            _first(pixel, options.pixel_threshold, built.pixel),
        )

    def ailing(self) -> str:
        """What is wrong with this process, or nothing."""
        if self._post.halt.failure:
            return self._post.halt.failure
        serving = self._in_force.serving
        stuck_s = worst_case_s(serving.curve, serving.max_batch)
        if (busy_s := max(scorer.busy_s() for scorer in self._scorers)) > stuck_s:
            return f"the engine has been at one batch for {busy_s:.0f} s"
        return ""

    def not_ready(self) -> str:
        """Why this process takes no frames, or nothing."""
        if self._post.halt.draining.is_set():
            return "draining"
        if self._keeper.standing.paused:
            return "paused: pipeline-control --resume goes on"
        if (unseen_s := self._keeper.unseen_s()) > REDIS_UNSEEN_S:
            return f"Redis has not answered for {unseen_s:.0f} s"
        return self.ailing()

    def _look(self) -> None:
        if self._swapper is not None:
            self._swapper.look()

    def _around(self) -> Around:
        post = self._post
        return Around(
            name=post.name,
            telemetry=post.telemetry,
            limits=self.limits_of,
            set_by_hand=lambda: (self._keeper.standing.threshold, self._keeper.standing.pixel),
            spare=self._has_spare_time,
            no_lane_uses_it=self._let_lanes_pass,
            unseen_s=self._keeper.unseen_s,
            draining=post.halt.draining,
        )

    def _has_spare_time(self) -> bool:
        return self._post.tray.is_empty() and not any(lane.busy_s() for lane in self._scorers)

    def _let_lanes_pass(self) -> None:
        for scorer in self._scorers:
            scorer.let_pass()

    def _report(self) -> bytes | None:
        """What this worker says of itself; nothing while it is stuck, so that others take over."""
        if self.ailing():
            return None
        serving = self._in_force.serving
        self._post.telemetry.serves(serving.name)
        limits = self.limits_of(serving)
        return encode_report(
            {
                "worker": self._post.name,
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "engine": serving.name.model,
                "version": serving.name.version,
                "sha256": serving.name.sha256,
                "promoted": serving.version,
                "swap": self._says(serving),
                "threshold": limits.image,
                "pixel_threshold": limits.pixel,
                "frames": self._writer.verdicts,
                "started_ms": self._started_ms,
                "drift": self._post.drift.report(),
            }
        )

    def _says(self, serving: Serving) -> str:
        """What the swap is at, and whether a threshold set by hand has lapsed."""
        said = "" if self._swapper is None else self._swapper.says()[:_SAID_CHARS]
        lapsed = self._keeper.standing.is_for_others(serving.name.sha256)
        if lapsed and not self._lapsed:
            _log.warning("threshold.lapsed", extra={"engine": serving.name.sha256, "why": _LAPSED})
        self._lapsed = lapsed
        return "; ".join(filter(None, (said, _LAPSED if lapsed else "")))
