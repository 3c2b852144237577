"""The state of a line: what its control messages add up to, and what a program can see of it."""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, cast

from pipeline.errors import UnreadableFrame
from pipeline.wire import decode_control, decode_report

FROM_THE_FIRST = "0-0"
LOOK = "look"  # the message after a promotion
_log = logging.getLogger(__name__)
_PLAIN: dict[str, dict[str, Any]] = {
    "pause": {"paused": True},
    "resume": {"paused": False},
    "reset": {"threshold": None, "pixel": None},
}


@dataclass(frozen=True, slots=True)
class ManualThreshold:
    """A threshold that a person set, and the engines it was set for: each has its own scale."""

    value: float
    engines: tuple[str, ...]  # SHA-256 of their files

    def for_engine(self, sha256: str) -> float | None:
        """Return the threshold for an engine; None where it was set for others."""
        return self.value if sha256 in self.engines else None


@dataclass(frozen=True, slots=True)
class LineState:
    """What all control messages so far amount to."""

    threshold: ManualThreshold | None = None  # on the raw score; None: the engine's own
    pixel: ManualThreshold | None = None  # on the map, 0..1; None: the engine's own
    paused: bool = False
    looks: int = 0  # how often workers were told to look at their registry

    def thresholds_of(self, sha256: str) -> tuple[float | None, float | None]:
        """Return what holds for an engine, image and pixel; None: its own."""
        image = None if self.threshold is None else self.threshold.for_engine(sha256)
        return image, None if self.pixel is None else self.pixel.for_engine(sha256)

    def log_fields(self) -> dict[str, bool | float | int | str | None]:
        """Return what holds, one plain value a field; engines as SHA-256, joined by blanks."""
        fields: dict[str, bool | float | int | str | None] = {
            "paused": self.paused,
            "looks": self.looks,
        }
        for name, manual in (("threshold", self.threshold), ("pixel_threshold", self.pixel)):
            fields[name] = manual.value if manual else None
            fields[f"{name}_engines"] = " ".join(manual.engines) if manual else None
        return fields

    def has_lapsed_for(self, sha256: str) -> bool:
        """Return whether a threshold was set by hand that does not hold for this engine."""
        return any(one and one.for_engine(sha256) is None for one in (self.threshold, self.pixel))


def apply_message(state: LineState, message: Mapping[str, Any]) -> LineState:
    """Return the standing after one message, as `wire.decode_control` reads it.

    A message that is none is ignored with a warning: a line does not stop for a typing error.
    """
    kind = message.get("kind")
    if kind == LOOK:
        return replace(state, looks=state.looks + 1)
    if isinstance(kind, str) and kind in _PLAIN:
        return replace(state, **_PLAIN[kind])
    if kind == "threshold":
        return _with_thresholds(state, message)
    return _ignored(state, message, "unknown kind")


def _with_thresholds(state: LineState, message: Mapping[str, Any]) -> LineState:
    image, pixel = message.get("image"), message.get("pixel")
    if image is None and pixel is None:
        return _ignored(state, message, "neither image nor pixel")
    if not all(value is None or _is_real(value) for value in (image, pixel)):
        return _ignored(state, message, "a threshold is no number")
    if pixel is not None and not 0 <= pixel <= 1:
        return _ignored(state, message, "pixel is outside 0..1")
    engines = _engines(message)
    if not engines:
        return _ignored(state, message, "it does not say for which engines")
    return replace(
        state,
        threshold=state.threshold if image is None else ManualThreshold(float(image), engines),
        pixel=state.pixel if pixel is None else ManualThreshold(float(pixel), engines),
    )


def _engines(message: Mapping[str, Any]) -> tuple[str, ...]:
    named = message.get("engines")
    return tuple(_texts(named)) if isinstance(named, list) else ()


def _texts(values: Iterable[object]) -> Iterator[str]:
    return (value for value in values if isinstance(value, str) and value)


def _is_real(value: object) -> bool:
    return type(value) in {int, float} and math.isfinite(cast("float", value))


def _ignored(state: LineState, message: Mapping[str, Any], why: str) -> LineState:
    _log.warning("control.ignored", extra={"why": why, "message_": f"{dict(message)!r:.200}"})
    return state


class Messages(Protocol):
    """Where control messages come from; `streams.control.Controls` is one."""

    def since(self, after: str) -> list[tuple[str, bytes]]:
        """The messages after an id, oldest first."""
        ...


def apply_messages(messages: Messages, state: LineState, after: str) -> tuple[LineState, str]:
    """Apply every message after an id (FROM_THE_FIRST at the start).

    Returns: the standing then, and the id to ask after next time.

    Raises:
        ConnectionLost: call again with the same arguments.
    """
    while page := messages.since(after):
        for message_id, packed in page:
            after = message_id
            try:
                state = apply_message(state, decode_control(packed))
            except UnreadableFrame as error:
                _log.warning("control.ignored", extra={"why": str(error), "id": message_id})
    return state, after


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """What a living worker reports; empty where its heartbeat could not be read."""

    name: str
    engine: str = ""
    version: str = ""
    sha256: str = ""
    misfit: bool = False  # the frames of the line do not fit its engine


@dataclass(frozen=True, slots=True)
class LineStatus:
    """What a program knows of a line at one moment."""

    redis_silence_s: float = math.inf  # since Redis last answered this program
    redis_ms: float | None = None  # Redis's time now, ms since the epoch; None: not known yet
    paused: bool = False
    workers: tuple[WorkerStatus, ...] = ()  # those whose heartbeat is in Redis, by name
    missed: int = 0  # verdicts dropped before this program could read them, since it started


class Heartbeats(Messages, Protocol):
    """Where heartbeats and control messages come from; `streams.control.Controls` is one."""

    def workers(self) -> dict[str, bytes]:
        """The heartbeats of all living workers, packed, by name."""
        ...


class LineWatch:
    """Asks for the workers' heartbeats and the control messages of a line now and then."""

    def __init__(self, heartbeats: Heartbeats) -> None:
        self._heartbeats = heartbeats
        self._state, self._after = LineState(), FROM_THE_FIRST
        self._workers: tuple[WorkerStatus, ...] = ()

    def look(self) -> None:
        """Read what holds now.

        Raises:
            ConnectionLost: call again; what was known stays.
        """
        self._state, self._after = apply_messages(self._heartbeats, self._state, self._after)
        beats = sorted(self._heartbeats.workers().items())
        self._workers = tuple(_worker_status(name, beat) for name, beat in beats)

    def status(self, silence_s: float, redis_ms: float | None, missed: int) -> LineStatus:
        """Return what the last look saw, as a value."""
        return LineStatus(silence_s, redis_ms, self._state.paused, self._workers, missed)


def _worker_status(name: str, beat: bytes) -> WorkerStatus:
    try:
        report = decode_report(beat)
    except UnreadableFrame:
        return WorkerStatus(name)  # of a later release: it lives, more is not known
    engine, version, sha256 = (
        str(report.get(field, "")) for field in ("engine", "version", "sha256")
    )
    return WorkerStatus(name, engine, version, sha256, misfit=bool(report.get("misfit")))
