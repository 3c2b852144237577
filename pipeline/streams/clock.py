"""Redis's clock against ours: deadlines are decided on Redis's."""

import logging
import time
from typing import Any

from pipeline.streams.connect import Client, translated

WARNING_MS = 20.0
_log = logging.getLogger(__name__)


def server_ahead_ms(client: Client) -> float:
    """How far Redis's clock is ahead of ours, give or take half a round trip."""
    with translated():
        before = time.time()
        answer: Any = client.time()
        after = time.time()
    if isinstance(answer, dict):  # a cluster: one of its nodes
        answer = next(iter(answer.values()))
    seconds, micros = answer
    return (float(seconds) + float(micros) / 1e6 - (before + after) / 2) * 1e3


def warn_if_apart(client: Client) -> None:
    """Log a warning where the clocks differ so much that deadlines shift."""
    ahead_ms = server_ahead_ms(client)
    if abs(ahead_ms) > WARNING_MS:
        why = "deadlines shift by as much: keep both clocks in step (NTP, PTP)"
        _log.warning("clock.apart", extra={"redis_ahead_ms": round(ahead_ms, 1), "why": why})
