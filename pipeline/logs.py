"""Structured logs: an event and its fields, to stderr.

An event that repeats is written at most `MOST_A_MINUTE` times a minute; how often it was left out
is logged then. Lines that libraries write past Python come as the event `library.line`.
"""

import atexit
import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog

from engines.commandline.terminal import visible

MOST_A_MINUTE = 30
_WINDOW_S = 60.0
_MOST_CHARS = 500  # of a library's line
_JOIN_S = 1.0  # a child that outlives us may hold the other end of the pipe
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Window:
    """One event in one minute."""

    began_s: float
    written: int = 0
    left_out: int = 0


class RepeatLimit(logging.Filter):
    """A limit of `MOST_A_MINUTE` records of each event a minute, with a count of the rest."""

    def __init__(
        self,
        write: Callable[[logging.LogRecord], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take what writes the record that tells how many were left out."""
        super().__init__()
        self._write = write
        self._clock = clock
        self._windows: dict[tuple[str, int, str], _Window] = {}
        self._changing = threading.Lock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a record is to be written."""
        now_s = self._clock()
        with self._changing:
            over = self._take_over(lambda window: now_s - window.began_s >= _WINDOW_S)
            key = (record.name, record.levelno, str(record.msg))
            window = self._windows.setdefault(key, _Window(now_s))
            passes = window.written < MOST_A_MINUTE
            window.written += passes
            window.left_out += not passes
        self._tell(over)
        return passes

    def close(self) -> None:
        """Report what was left out and not reported yet."""
        with self._changing:
            over = self._take_over(lambda _: True)
        self._tell(over)

    def _take_over(self, is_over: Callable[[_Window], bool]) -> dict[tuple[str, int, str], _Window]:
        over = {key: window for key, window in self._windows.items() if is_over(window)}
        for key in over:
            del self._windows[key]
        return over

    def _tell(self, over: dict[tuple[str, int, str], _Window]) -> None:
        for (name, level, event), window in over.items():
            if window.left_out:
                fields = {"of": event, "records": window.left_out, "within_s": _WINDOW_S}
                told = logging.LogRecord(name, level, "", 0, "log.left_out", None, None)
                told.__dict__.update(fields)
                self._write(told)


def start_logs(level: str, form: str = "auto") -> None:
    """Send every log of this process to stderr.

    Args:
        level: the least that is logged.
        form: `text` for people, `json` one object a line, `auto` text on a terminal.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_formatter(as_text=_is_text(form)))
    limit = RepeatLimit(handler.emit)
    handler.addFilter(limit)
    atexit.register(limit.close)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])


def _is_text(form: str) -> bool:
    return form == "text" or (form == "auto" and sys.stderr.isatty())


def _formatter(*, as_text: bool) -> logging.Formatter:
    rendering: list[Any] = (
        [_write_out_controls, structlog.dev.ConsoleRenderer()]
        if as_text
        else [structlog.processors.JSONRenderer(default=str)]
    )
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
    ]
    return structlog.stdlib.ProcessorFormatter(
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            *rendering,
        ],
        foreign_pre_chain=shared,
    )


def _write_out_controls(
    _logger: object, _method: str, fields: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Escape what could control a terminal: parts are named after files."""
    return {name: visible(got) if isinstance(got, str) else got for name, got in fields.items()}


@contextmanager
def library_lines(form: str = "auto") -> Iterator[None]:
    """Log what libraries write to stderr past Python, while the context lasts.

    Call it after `start_logs`, with the same form. Text logs are left alone.
    """
    if _is_text(form):
        yield
        return
    ours, theirs = os.pipe()
    kept = os.dup(sys.__stderr__.fileno() if sys.__stderr__ else 2)
    before = sys.stderr
    stream = open(kept, "w", buffering=1, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115, PTH123
    _redirect(stream)
    if not faulthandler.is_enabled():
        faulthandler.enable(stream)  # what a dying library wrote last may stay in the pipe
    os.dup2(theirs, 2)
    os.close(theirs)
    reader = threading.Thread(target=_log_lines, args=(ours,), name="library-lines", daemon=True)
    reader.start()
    try:
        yield
    finally:
        os.dup2(kept, 2)
        reader.join(_JOIN_S)
        _redirect(before)


def _redirect(stream: Any) -> None:  # noqa: ANN401  # a text stream
    sys.stderr = stream
    for handler in logging.getLogger().handlers:
        if type(handler) is logging.StreamHandler:  # ours
            handler.setStream(stream)


def _log_lines(source: int) -> None:
    with open(source, encoding="utf-8", errors="replace") as lines:
        while line := lines.readline(_MOST_CHARS):
            if text := line.strip():
                _log.warning("library.line", extra={"text": text})


class CountedEvents:
    """Logs events that may come with every frame: at once, then counted and every few seconds."""

    def __init__(self, log: logging.Logger, every_s: float, clock: Callable[[], float]) -> None:
        """Start with nothing to log.

        Args:
            log: where to.
            every_s: between two lines of one event.
            clock: monotonic seconds.
        """
        self._log = log
        self._every_s = every_s
        self._clock = clock
        self._waiting: dict[str, tuple[int, dict[str, Any]]] = {}
        self._logged_s: dict[str, float] = {}

    def add(self, event: str, times: int, **fields: str) -> None:
        """Count an event; of fields that differ the last are logged."""
        if times:
            before, _ = self._waiting.get(event, (0, {}))
            self._waiting[event] = (before + times, fields)
            self.flush(every_s=self._every_s)

    def flush(self, *, every_s: float = 0.0) -> None:
        """Log what is waiting, as an error, unless the last line of its kind is too young."""
        now_s = self._clock()
        for event in list(self._waiting):
            logged_s = self._logged_s.get(event)
            if logged_s is None or now_s - logged_s >= every_s:
                times, fields = self._waiting.pop(event)
                self._log.error(event, extra={"verdicts": times, **fields})
                self._logged_s[event] = now_s
