"""What a PLC or MES program imports: the verdicts of a line, from where the program left off.

    with Consumer(line="line-1", program="plc") as verdicts:
        for verdict in verdicts:
            reject = verdict.decision is not Decision.OK
            ...
            verdicts.acknowledge(verdict)

Each verdict comes at least once: what was not acknowledged when the program ended comes again at
its next start, before what is new. `verdict.meta.camera` and `.seq` tell a repetition. A loop with
its own fail-safe asks `verdicts.next(timeout_s)`, which never waits longer, whatever Redis does.
`verdicts.label(verdict, LabelKind.NORMAL)` says what the part truly was, for the next training.

Nothing is left out in silence. What this program cannot read, as from a later release, comes as
UNKNOWN with the reason FOREIGN; `verdict.unread` says why. Where not even the frame can be told,
the camera is empty and the seq is -1. `verdicts.missed` counts what was dropped unread.
A program's name belongs to one process at a time; a second one is refused.
"""

import contextlib
import logging
import math
import queue
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from pipeline.control import LineStatus, LineWatch
from pipeline.errors import ConnectionLost, LabelError, RedisFull, RedisUnfit
from pipeline.frames import Label, LabelKind, Outline, Verdict
from pipeline.label_rules import check_against
from pipeline.labels.queue import LabelQueue
from pipeline.logs import CountedEvents
from pipeline.settings import RedisAccess, RedisArguments
from pipeline.streams.clock import ServerClock
from pipeline.streams.connection import RedisConnection
from pipeline.streams.control import Controls
from pipeline.streams.labels import LabelStream
from pipeline.streams.result_reader import MissedVerdicts, ProgramName, Result, ResultReader
from pipeline.streams.rollback.watch import RollbackWatch
from pipeline.streams.server_checks import read_clocks
from pipeline.verdicts import VerdictGone, has_identity, read_verdict

READ_AHEAD = 256  # verdicts fetched before the program asks for them
BLOCK_MS = 50  # so long may an acknowledgement wait for the reader
_PAGE = 64
_POLL_S = 0.005
_LOOK_S = 0.5
_WATCH_EVERY_S = 0.25
_SAY_EVERY_S = 10.0  # what may happen with every verdict
_MISSED = "dropped before they were read: the program is slower than the line or was away, and the "
_MISSED += "workers keep too few (pipeline-worker --results-kept, --results-mb)"
_log = logging.getLogger(__name__)


class Verdicts:
    """The verdicts of one line for one program; a thread of its own talks to Redis.

    The link is borrowed. `close` sends what was acknowledged.
    """

    def __init__(
        self,
        connection: RedisConnection,
        line: str,
        program: str,
        *,
        from_start: bool,
        books: Path | None = None,
    ) -> None:
        self._connection = connection
        self._line = line
        self._program = program
        self._result_reader = ResultReader(connection.client, line)
        self._ready: queue.SimpleQueue[Verdict | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._acknowledging: list[str] = []
        self._held: set[str] = set()  # result ids handed out and not yet acknowledged in Redis
        self._again_after: str | None = "0"  # where to look for what Redis thinks we have
        self._labels = LabelQueue(LabelStream(connection.client, line))
        self._watch = LineWatch(Controls(connection.client, line))
        self._watched, self._watch_due_s = False, 0.0
        self._clock, self._answered_s = ServerClock(), -math.inf
        self._stopping = False
        self._failure: Exception | None = None
        watch = RollbackWatch(connection.client, line, f"program {program}", file=books)
        self._name = ProgramName(connection.client, line, program)
        self._name.take()
        try:
            position = self._result_reader.join(program, from_start=from_start)
        except BaseException:
            self._release_name()
            raise
        if position.number is None:
            why = "nobody kept how far this program had read: what it missed until now is not known"
            _log.warning("verdicts.position_unknown", extra={"program": program, "why": why})
        self._counter = MissedVerdicts(position)
        self._saved = position
        self._rollback_watch = watch
        self._events = CountedEvents(_log, _SAY_EVERY_S, time.monotonic)
        self._reader = threading.Thread(target=self._read, name=f"verdicts-{program}", daemon=True)
        self._reader.start()

    def _release_name(self) -> None:
        with contextlib.suppress(ConnectionLost, RedisFull, RedisUnfit):
            self._name.release()

    @property
    def missed(self) -> int:
        """How many verdicts were dropped before this program could read them, since it started.

        Those of the time before it started, when it was away, are among them. A program that must
        know the part of every verdict stops its line, or looks at the camera's seqs, when it rises.
        """
        return self._counter.count

    def line_state(self) -> LineStatus:
        """Return what is known of the line now; never waits.

        It is read from the first call on, four times a second: before that, and while Redis does
        not answer, `redis_silence_s` grows and the rest is what was seen last.
        """
        self._watched = True
        silence_s = time.monotonic() - self._answered_s
        return self._watch.status(silence_s, self.redis_ms(), self.missed)

    def redis_ms(self) -> float | None:
        """Return Redis's time, ms since the epoch, ahead by a round trip at most; never waits.

        None before the first answer after `line_state` was first called. Deadlines
        (`verdict.due_ms`) are of this clock.
        """
        return self._clock.now_ms()

    def kept(self, before: str = "+") -> list[Verdict]:
        """Return a page of the verdicts that the line still keeps, newest first.

        They are read again, whatever this or another program has acknowledged. Waits for Redis;
        may be called from any thread.

        Args:
            before: a result id: those before it; `+` begins with the newest.

        Returns: up to 64 verdicts; none if nothing is kept before that one.

        Raises:
            PipelineError: Redis does not answer, or refuses this user.
        """
        results = self._result_reader.kept(before, _PAGE)
        return [read_verdict(self._line, result) for result in results]

    def __iter__(self) -> Iterator[Verdict]:
        """Yield verdicts, waiting for each, until `stop`."""
        while not self._stopping:
            if (verdict := self.next(_LOOK_S)) is not None:
                yield verdict
        self.check()

    def next(self, timeout_s: float) -> Verdict | None:
        """Return the next verdict, or None after `timeout_s` seconds or when stopped.

        Raises:
            PipelineError: the server refuses this program; trying again would not help.
        """
        if not self._stopping:
            with contextlib.suppress(queue.Empty):
                verdict = self._ready.get(timeout=max(timeout_s, 0.0))
                if verdict is not None:
                    return verdict
        self.check()
        return None

    def check(self) -> None:
        """Raise what ended the verdicts, unless it was `stop`."""
        if self._failure is not None:
            raise self._failure

    def acknowledge(self, verdict: Verdict) -> None:
        """Acknowledge a verdict, so that it does not come again. Never waits."""
        self._done.put(verdict.result_id)

    def label(
        self,
        verdict: Verdict,
        kind: LabelKind,
        *,
        defect: str = "",
        mask: NDArray[np.bool_] | None = None,
        predicted: bool = False,
        outlines: tuple[Outline, ...] = (),
    ) -> None:
        """Label a frame in this program's name. Never waits; `close` sends.

        Args:
            verdict: of the frame.
            kind: what it truly is.
            defect: kind of a defect.
            mask: its pixels, bool [H, W] of the frame.
            predicted: whether the verdict's mask is right.
            outlines: polygons around it; `labels.box` makes one.

        Raises:
            LabelError: it says nothing or two things, does not fit the verdict, or nobody sends it
                any more because these verdicts were closed.
            PipelineError: what ended the verdicts.
        """
        self.check()
        if not self._reader.is_alive():
            raise LabelError("these verdicts are closed: label before that, or with a LabelBook")
        label = Label(verdict.entry_id, kind, defect, mask, predicted, outlines, by=self._program)
        check_against(label, verdict)
        self._labels.put(label)

    @property
    def stopped(self) -> bool:
        """Return whether no more verdicts will come."""
        return self._stopping

    def stop(self) -> None:
        """End the iteration; may be called from any thread or from a signal handler."""
        self._stopping = True
        self._ready.put(None)

    def close(self) -> None:
        """Stop, and send what was acknowledged and labelled; verdicts not sent come again."""
        self.stop()
        self._reader.join()

    def _read(self) -> None:
        try:
            while not self._stopping:
                self._step()
            self._send_acknowledged()
            self._save_position()
            self._rollback_watch.close()
        except (ConnectionLost, RedisFull) as error:
            _log.warning("verdicts.unacknowledged", extra={"why": str(error)})
        except Exception as error:  # noqa: BLE001  # the thread's edge: the program raises it
            self._failure = error
        finally:
            self._events.flush()
            self.stop()
            self._labels.close()
            self._release_name()

    def _step(self) -> None:
        self._connection.retry(self._name.keep, self._is_stopping, self._pause)
        self._connection.retry(self._send_acknowledged, self._is_stopping, self._pause)
        self._labels.send(_PAGE)
        self._look_at_line()
        self._events.flush(every_s=_SAY_EVERY_S)
        if self._ready.qsize() >= READ_AHEAD:
            time.sleep(_POLL_S)
            return
        self._connection.retry(self._rollback_watch.look, self._is_stopping, self._pause)
        missed_before = self._counter.count
        for result in self._connection.retry(self._fetch, self._is_stopping, self._pause):
            if result.result_id not in self._held:
                self._held.add(result.result_id)
                missed = self._counter.note(result)
                self._rollback_watch.note_verdict(result.number)
                self._events.add("verdicts.missed", missed, program=self._program, why=_MISSED)
                self._hand_out(result)
        if self._counter.count != missed_before:
            self._connection.retry(self._save_position, self._is_stopping, self._pause)
        if self._counter.rolled_back:
            self._counter.rolled_back = False
            why = (
                "the numbers of the verdicts went back: Redis lost its last writes, or was emptied"
            )
            _log.error("verdicts.rolled_back", extra={"program": self._program, "why": why})
            self._connection.retry(self._rollback_watch.ask, self._is_stopping, self._pause)

    def _look_at_line(self) -> None:
        if not self._watched or time.monotonic() < self._watch_due_s:
            return
        self._watch_due_s = time.monotonic() + _WATCH_EVERY_S
        try:
            reading = read_clocks(self._connection.client)
            self._clock.note(reading.redis_s * 1e3, reading.monotonic_s - reading.error_ms / 1e3)
            self._watch.look()
        except (ConnectionLost, RedisFull):
            return  # the next read waits for it
        except RedisUnfit as error:
            self._events.add("line.unreadable", 1, program=self._program, why=str(error))
            return
        self._answered_s = time.monotonic()

    def _is_stopping(self) -> bool:
        return self._stopping

    def _pause(self, wait_s: float) -> None:
        until = time.monotonic() + wait_s
        while not self._stopping and time.monotonic() < until:
            time.sleep(_POLL_S)

    def _send_acknowledged(self) -> None:
        while not self._done.empty():
            self._acknowledging.append(self._done.get())
        while page := self._acknowledging[:_PAGE]:
            self._result_reader.acknowledge(self._program, page, self._counter.position)
            self._held.difference_update(page)
            del self._acknowledging[: len(page)]
            self._saved = self._counter.position

    def _save_position(self) -> None:
        """Keep how far this program has read, so that its next start does not count it again."""
        if self._counter.position != self._saved:
            self._result_reader.acknowledge(self._program, [], self._counter.position)
            self._saved = self._counter.position

    def _fetch(self) -> list[Result]:
        if self._again_after is None:
            try:
                return self._result_reader.read(self._program, _PAGE, BLOCK_MS, again=False)
            except ConnectionLost:
                self._again_after = "0"  # what was on its way to us is lost: ask for it again
                raise
        found = self._result_reader.unacknowledged(self._program, self._again_after, _PAGE)
        self._again_after = found[-1].result_id if found else None
        return found

    def _hand_out(self, result: Result) -> None:
        try:
            verdict = read_verdict(self._line, result)
        except VerdictGone:
            self._done.put(result.result_id)  # counted as missed
            return
        if has_identity(verdict):
            self._rollback_watch.note_frame(verdict.meta.camera, verdict.meta.seq)
        if verdict.unread:
            event = "verdict.foreign" if has_identity(verdict) else "verdict.nameless"
            why = f"{result.result_id}: {verdict.unread}"
            self._events.add(event, 1, program=self._program, why=why)
        self._ready.put(verdict)


class Consumer:
    """Opens a line for one program; a context that gives its `Verdicts`."""

    def __init__(
        self,
        line: str,
        program: str,
        *,
        from_start: bool = False,
        books: Path | None = None,
        **redis: Unpack[RedisArguments],
    ) -> None:
        """Name the line, and who asks.

        Args:
            line: the line's name.
            program: the reader's name: what it acknowledged is kept under it.
            from_start: a program that the line does not know yet begins with the oldest verdict
                kept instead of the next new one.
            books: file that remembers how far the line had come, so that this program notices
                after a restart that Redis went back. None: it remembers while it runs.
            redis: as `RedisArguments` says.
        """
        self._line = line
        self._program = program
        self._from_start = from_start
        self._books = books
        self._access = RedisAccess.from_arguments(redis)
        self._opened = ExitStack()

    def __enter__(self) -> Verdicts:
        """Connect.

        Raises:
            ConnectionLost: nothing answers there.
            RedisUnfit: the server would lose frames, or refuses this user.
            SettingsError: no such URL, a name that is none, or one under which another process
                reads this line.
        """
        with ExitStack() as opening:
            connection = opening.enter_context(self._access.connect())
            verdicts = Verdicts(
                connection,
                self._line,
                self._program,
                from_start=self._from_start,
                books=self._books,
            )
            opening.callback(verdicts.close)
            self._opened = opening.pop_all()
        return verdicts

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened.close()
