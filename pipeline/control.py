"""`pipeline-control`: what every worker of a line heeds at run time, and how a worker reads it."""

import json
import logging
import math
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, Self, cast

from pydantic import Field, model_validator
from rich.console import Console
from rich.table import Table

from pipeline.drift import State
from pipeline.errors import SettingsError, UnreadableFrame
from pipeline.logs import start_logs
from pipeline.settings import LineSettings
from pipeline.streams.control import Controls
from pipeline.wire import decode_control, decode_report, encode_control

FROM_THE_FIRST = "0-0"
LOOK = "look"  # the message after a promotion
_REPORTED = ("engine", "version", "threshold", "pixel_threshold", "frames", "swap")
_SHA_CHARS = 12
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ByHand:
    """A threshold that a person set, and the engines it was set for: each has its own scale."""

    value: float
    engines: tuple[str, ...]  # SHA-256 of their files

    def of(self, sha256: str) -> float | None:
        """Give the threshold for an engine; None where it was set for others."""
        return self.value if sha256 in self.engines else None


@dataclass(frozen=True, slots=True)
class Standing:
    """What all control messages so far amount to."""

    threshold: ByHand | None = None  # on the raw score; None: the engine's own
    pixel: ByHand | None = None  # on the map, 0..1; None: the engine's own
    paused: bool = False
    looks: int = 0  # how often workers were told to look at their registry

    def thresholds_of(self, sha256: str) -> tuple[float | None, float | None]:
        """Give what holds for an engine, image and pixel; None: its own."""
        image = None if self.threshold is None else self.threshold.of(sha256)
        return image, None if self.pixel is None else self.pixel.of(sha256)

    def is_for_others(self, sha256: str) -> bool:
        """Whether a threshold was set by hand that does not hold for this engine."""
        return any(one and one.of(sha256) is None for one in (self.threshold, self.pixel))


_PLAIN: dict[str, dict[str, Any]] = {
    "pause": {"paused": True},
    "resume": {"paused": False},
    "reset": {"threshold": None, "pixel": None},
}


def apply(standing: Standing, message: Mapping[str, Any]) -> Standing:
    """Give the standing after one message, as `wire.decode_control` reads it.

    A message that is none is ignored with a warning: a line does not stop for a typing error.
    """
    kind = message.get("kind")
    if kind == LOOK:
        return replace(standing, looks=standing.looks + 1)
    if isinstance(kind, str) and kind in _PLAIN:
        return replace(standing, **_PLAIN[kind])
    if kind == "threshold":
        return _with_thresholds(standing, message)
    return _ignored(standing, message, "unknown kind")


def _with_thresholds(standing: Standing, message: Mapping[str, Any]) -> Standing:
    image, pixel = message.get("image"), message.get("pixel")
    if image is None and pixel is None:
        return _ignored(standing, message, "neither image nor pixel")
    if not all(value is None or _is_real(value) for value in (image, pixel)):
        return _ignored(standing, message, "a threshold is no number")
    if pixel is not None and not 0 <= pixel <= 1:
        return _ignored(standing, message, "pixel is outside 0..1")
    engines = _engines(message)
    if not engines:
        return _ignored(standing, message, "it does not say for which engines")
    return replace(
        standing,
        threshold=standing.threshold if image is None else ByHand(float(image), engines),
        pixel=standing.pixel if pixel is None else ByHand(float(pixel), engines),
    )


def _engines(message: Mapping[str, Any]) -> tuple[str, ...]:
    named = message.get("engines")
    return tuple(_texts(named)) if isinstance(named, list) else ()


def _texts(values: Iterable[object]) -> Iterator[str]:
    return (value for value in values if isinstance(value, str) and value)


def _is_real(value: object) -> bool:
    return type(value) in {int, float} and math.isfinite(cast("float", value))


def _ignored(standing: Standing, message: Mapping[str, Any], why: str) -> Standing:
    _log.warning("control.ignored", extra={"why": why, "message_": f"{dict(message)!r:.200}"})
    return standing


class Messages(Protocol):
    """Where control messages come from; `streams.control.Controls` is one."""

    def since(self, after: str) -> list[tuple[str, bytes]]:
        """The messages after an id, oldest first."""
        ...


def heed(messages: Messages, standing: Standing, after: str) -> tuple[Standing, str]:
    """Apply every message after an id (FROM_THE_FIRST at the start).

    Returns: the standing then, and the id to ask after next time.

    Raises:
        ConnectionLost: call again with the same arguments.
    """
    while page := messages.since(after):
        for message_id, packed in page:
            after = message_id
            try:
                standing = apply(standing, decode_control(packed))
            except UnreadableFrame as error:
                _log.warning("control.ignored", extra={"why": str(error), "id": message_id})
    return standing, after


class ControlSettings(LineSettings):
    """Change thresholds of all workers of a line, pause them, make them look, or show them."""

    threshold: float | None = Field(
        default=None,
        description="raw score above which a frame is NG, of the engines that judge now: it lapses "
        "when a worker takes another one",
    )
    pixel_threshold: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="map value, 0..1, above which a pixel belongs to the mask, of the same engines",
    )
    reset: bool = Field(default=False, description="back to the engine's own thresholds")
    pause: bool = Field(
        default=False,
        description="workers take no more frames: those that wait are answered LATE at their "
        "deadline, or SHED when the line is full",
    )
    resume: bool = Field(default=False, description="workers take frames again")
    look: bool = Field(
        default=False,
        description="workers look at once at what their registry promotes, and try again what they "
        "could not load",
    )
    show: bool = Field(default=False, description="print what holds now, and every living worker")
    as_json: bool = Field(default=False, description="with --show: print one JSON object")

    @model_validator(mode="after")
    def _check_wish(self) -> Self:
        if self.pause and self.resume:
            raise ValueError("--pause and --resume together say nothing: give one")
        if not (self.show or self.thresholds() or self.messages([])):
            raise ValueError(
                "say what: --threshold, --pixel-threshold, --reset, --pause, --resume, --look, "
                "--show"
            )
        return self

    def thresholds(self) -> dict[str, float]:
        """The thresholds that were given."""
        given = {"image": self.threshold, "pixel": self.pixel_threshold}
        return {name: value for name, value in given.items() if value is not None}

    def messages(self, engines: list[str]) -> list[bytes]:
        """The control messages that were asked for; `engines` are those that judge now."""
        messages = [encode_control("reset")] if self.reset else []
        if fields := self.thresholds():
            messages.append(encode_control("threshold", **fields, engines=engines))
        if self.pause or self.resume:
            messages.append(encode_control("pause" if self.pause else "resume"))
        messages += [encode_control(LOOK)] if self.look else []
        return messages


def run(settings: ControlSettings) -> int:
    """Send what was asked for, then show what holds.

    Raises:
        SettingsError: a threshold, and no worker says for which engine.
    """
    start_logs(settings.log_level, settings.log_format)
    with settings.link() as link:
        controls = Controls(link.client, settings.line)
        workers = [_read_beat(name, beat) for name, beat in controls.workers().items()]
        engines = sorted(set(_texts(worker.get("sha256") for worker in workers)))
        if settings.thresholds() and not engines:
            raise SettingsError(
                f"a threshold is of an engine, and no worker of {settings.line} is alive to say of "
                "which: start pipeline-worker, then set it"
            )
        for message in settings.messages(engines):
            controls.send(message)
        standing, _ = heed(controls, Standing(), FROM_THE_FIRST)
    if settings.as_json:
        fields = {"line": settings.line, **asdict(standing), "workers": workers}
        del fields["looks"]  # how often somebody asked says nothing of what holds
        sys.stdout.write(json.dumps(fields) + "\n")
    elif settings.show:
        _print(Console(highlight=False), settings.line, standing, workers)
    else:
        heard = f"{len(workers)} workers hear it" if workers else "no worker of this line is alive"
        sys.stdout.write(f"{settings.line}: {_sentence(standing)}; {heard}\n")
    return 0


def _read_beat(name: str, beat: bytes) -> dict[str, Any]:
    try:
        return {**decode_report(beat), "worker": name}
    except UnreadableFrame as error:
        _log.warning("worker.unreadable", extra={"worker": name, "why": str(error)})
        return {"worker": name}


def _sentence(standing: Standing) -> str:
    taking = "paused" if standing.paused else "taking frames"
    image, pixel = _threshold(standing.threshold), _threshold(standing.pixel)
    return f"threshold {image}, pixel threshold {pixel}, {taking}"


def _threshold(by_hand: ByHand | None) -> str:
    if by_hand is None:
        return "the engine's"
    return f"{by_hand.value:g} (of {', '.join(sha[:_SHA_CHARS] for sha in by_hand.engines)})"


def _print(console: Console, line: str, standing: Standing, workers: list[dict[str, Any]]) -> None:
    console.print(f"{line}: {_sentence(standing)}")
    if not workers:
        console.print("no worker is alive: start one with pipeline-worker")
        return
    table = Table()
    for heading in ("worker", *_REPORTED, "up_s"):
        table.add_column(heading.replace("_", " "), overflow="fold")
    for worker in workers:
        shown = [_cell(worker.get(name)) for name in _REPORTED]
        table.add_row(str(worker["worker"]), *shown, _up_s(worker.get("started_ms")))
    console.print(table)
    if any(worker.get("drift") for worker in workers):
        console.print(_drift_table(workers))


def _drift_table(workers: list[dict[str, Any]]) -> Table:
    table = Table(title="drift", title_justify="left")
    for heading in ("camera", "state", "distance", "moved by", "places moved", "NG share"):
        table.add_column(heading, overflow="fold")
    for worker in workers:
        for camera, drift in sorted((worker.get("drift") or {}).items()):
            table.add_row(camera, *_drift_cells(drift))
    return table


def _drift_cells(drift: Mapping[str, Any]) -> list[str]:
    learned = drift.get("learned")
    if drift.get("state") == State.LEARNING and isinstance(learned, float):
        return [f"learning, {learned:.0%}", "-", "-", "-", _cell(drift.get("ng_share"))]
    distance, scales = drift.get("distance") or [], drift.get("scales") or []
    return [
        str(drift.get("state")),
        " ".join(map(_cell, distance)) or "-",
        " ".join(f"{shift:+.1f}" for shift in scales) or "-",
        _cell(drift.get("cells_moved")),
        _cell(drift.get("ng_share")),
    ]


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _up_s(started_ms: object) -> str:
    if not isinstance(started_ms, int):
        return "-"
    return f"{max(time.time() - started_ms / 1e3, 0):.0f}"
