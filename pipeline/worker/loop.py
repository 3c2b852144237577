"""A worker put together: its threads, from start to drained."""

import logging
import os
import queue
import socket
import threading
import time
from dataclasses import dataclass

from engines.cost import CostCurve
from engines.engine import Engine
from engines.manifest import Manifest
from pipeline.frames import EngineName
from pipeline.judge import Limits
from pipeline.ring import RingReader
from pipeline.streams.control import Controls
from pipeline.streams.link import Link
from pipeline.streams.work import Work
from pipeline.telemetry import Telemetry
from pipeline.wire import encode_report
from pipeline.worker.halt import Halt
from pipeline.worker.keeper import Keeper
from pipeline.worker.outbox import Outbox
from pipeline.worker.reader import Intake, Reader
from pipeline.worker.scorer import Scorer, worst_case_s
from pipeline.worker.tray import Tray
from pipeline.worker.unpack import Rings
from pipeline.worker.writer import Writer

REDIS_UNSEEN_S = 5.0  # without an answer for so long a worker says that it is not ready
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """How a worker works."""

    max_batch: int  # frames worth scoring together
    batch_wait_ms: float  # how long a frame waits for company while the engine is free
    max_deliveries: int  # after so many a frame is given up: it may be what kills workers
    threshold: float | None  # in place of the manifest's, until a control message says otherwise
    pixel_threshold: float | None


def worker_name(device: str) -> str:
    """Name this process as the line knows it: host:pid:device."""
    return f"{socket.gethostname()}:{os.getpid()}:{device}"


class Worker:
    """Judges the frames of one line until it is told to stop."""

    def __init__(
        self,
        name: str,
        work: Work,
        controls: Controls,
        link: Link,
        engine: Engine,
        curve: CostCurve,
        manifest: Manifest,
        options: Options,
        telemetry: Telemetry,
    ) -> None:
        self._name = name
        self._work = work
        self._manifest = manifest
        self._options = options
        self._started_ms = time.time_ns() // 1_000_000
        self.halt = Halt()
        self._tray = Tray(capacity=2 * options.max_batch + 2)
        self._outbox: Outbox = queue.SimpleQueue()
        self._rings = Rings(RingReader.attach)
        intake = Intake(
            self._tray, self._outbox, self._rings, engine.input_size, options.max_deliveries
        )
        self._keeper = Keeper(
            work, controls, link, intake, self._tray, telemetry, self._report, self.halt
        )
        self._reader = Reader(
            work, link, intake, self._tray, self.halt, lambda: self._keeper.standing.paused
        )
        self._scorer = Scorer(
            engine, curve, options.max_batch, options.batch_wait_ms, self._tray, self._outbox,
            self.halt,
        )
        self._stuck_s = worst_case_s(curve, options.max_batch)
        named = EngineName(manifest.model, manifest.version, manifest.sha256)
        self._writer = Writer(
            work, link, self._outbox, self._tray, self._rings, telemetry, self.limits, name, named,
            self.halt,
        )
        halt = self.halt
        self._reading = halt.guard(self._reader.run, "reader")
        self._keeping = halt.guard(self._keeper.run, "keeper")
        self._scoring = halt.guard(self._scorer.run, "scorer")
        self._writing = halt.guard(self._writer.run, "writer")

    def run(self, drain_s: float) -> None:
        """Work until `halt.draining` is set, then answer what is in hand.

        Args:
            drain_s: seconds that this may take; what is left then is taken over by others.
        """
        self._work.join()
        self._keeper.hear()
        for thread in (self._reading, self._keeping, self._scoring, self._writing):
            thread.start()
        self.halt.draining.wait()
        _log.info("worker.draining", extra={"in_hand": self._tray.in_hand})
        timer = threading.Timer(drain_s, self.halt.giving_up.set)
        timer.start()
        try:
            self._drain(drain_s)
        finally:
            timer.cancel()
            self._rings.close()

    def _drain(self, drain_s: float) -> None:
        self._reading.join(drain_s)
        self._keeping.join(drain_s)
        self._tray.close()
        self._scoring.join(drain_s)
        self._outbox.put(None)
        self._writing.join(drain_s)
        if self._tray.in_hand:
            _log.error("worker.left_frames", extra={"in_hand": self._tray.in_hand})
        self._work.leave()
        _log.info("worker.drained", extra={"verdicts": self._writer.verdicts})

    def limits(self) -> Limits:
        """The thresholds in force: a control message's, else the flag's, else the manifest's."""
        standing, options = self._keeper.standing, self._options
        image = standing.threshold if standing.threshold is not None else options.threshold
        pixel = standing.pixel if standing.pixel is not None else options.pixel_threshold
        built = self._manifest.thresholds
        return Limits(
            built.image if image is None else image, built.pixel if pixel is None else pixel
        )

    def ailing(self) -> str:
        """What is wrong with this process, or nothing."""
        if self.halt.failure:
            return self.halt.failure
        if (busy_s := self._scorer.busy_s()) > self._stuck_s:
            return f"the engine has been at one batch for {busy_s:.0f} s"
        return ""

    def not_ready(self) -> str:
        """Why this process takes no frames, or nothing."""
        if self.halt.draining.is_set():
            return "draining"
        if self._keeper.standing.paused:
            return "paused: pipeline-control --resume goes on"
        if (unseen_s := self._keeper.unseen_s()) > REDIS_UNSEEN_S:
            return f"Redis has not answered for {unseen_s:.0f} s"
        return self.ailing()

    def _report(self) -> bytes | None:
        """What this worker says of itself; nothing while it is stuck, so that others take over."""
        if self.ailing():
            return None
        limits = self.limits()
        return encode_report(
            {
                "worker": self._name,
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "engine": self._manifest.model,
                "version": self._manifest.version,
                "sha256": self._manifest.sha256,
                "threshold": limits.image,
                "pixel_threshold": limits.pixel,
                "frames": self._writer.verdicts,
                "started_ms": self._started_ms,
            }
        )
