"""Structured logs: an event and its fields, to stderr."""

import logging
import sys
from collections.abc import Callable
from typing import Any

import structlog

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def start_logs(level: str, form: str = "auto") -> None:
    """Send every log of this process to stderr.

    Args:
        level: the least that is logged.
        form: `text` for people, `json` one object a line, `auto` text on a terminal.
    """
    text = form == "text" or (form == "auto" and sys.stderr.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer() if text else structlog.processors.JSONRenderer(default=str)
    )
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
            foreign_pre_chain=shared,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(_LEVELS[level])


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
