"""`pipeline-control`: thresholds, pause and resume of a running line, and its state."""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Self

from pydantic import Field, model_validator
from rich.console import Console
from rich.table import Table

from engines.commandline.terminal import Terminal
from pipeline.control import (
    FROM_THE_FIRST,
    LOOK,
    LineState,
    ManualThreshold,
    _log,
    _texts,
    apply_messages,
)
from pipeline.drift.detector import DriftState
from pipeline.errors import SettingsError, UnreadableFrame
from pipeline.logs import start_logs
from pipeline.settings import LineSettings
from pipeline.streams.control import Controls
from pipeline.wire import decode_report, encode_control

_REPORTED = ("engine", "version", "threshold", "pixel_threshold", "frames", "swap")
_SHA_CHARS = 12


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
    with settings.connect() as connection:
        controls = Controls(connection.client, settings.line)
        workers = [_read_beat(name, beat) for name, beat in controls.workers().items()]
        engines = sorted(set(_texts(worker.get("sha256") for worker in workers)))
        if settings.thresholds() and not engines:
            raise SettingsError(
                f"a threshold is of an engine, and no worker of {settings.line} is alive to say of "
                "which: start pipeline-worker, then set it"
            )
        for message in settings.messages(engines):
            controls.send(message)
        state, _ = apply_messages(controls, LineState(), FROM_THE_FIRST)
    if settings.as_json:
        fields = {"line": settings.line, **asdict(state), "workers": workers}
        del fields["looks"]  # how often somebody asked says nothing of what holds
        sys.stdout.write(json.dumps(fields) + "\n")
    elif settings.show:
        _print(Terminal(), settings.line, state, workers)
    else:
        heard = f"{len(workers)} workers hear it" if workers else "no worker of this line is alive"
        sys.stdout.write(f"{settings.line}: {_sentence(state)}; {heard}\n")
    return 0


def _read_beat(name: str, beat: bytes) -> dict[str, Any]:
    try:
        return {**decode_report(beat), "worker": name}
    except UnreadableFrame as error:
        _log.warning("worker.unreadable", extra={"worker": name, "why": str(error)})
        return {"worker": name}


def _sentence(state: LineState) -> str:
    taking = "paused" if state.paused else "taking frames"
    image, pixel = _threshold(state.threshold), _threshold(state.pixel)
    return f"threshold {image}, pixel threshold {pixel}, {taking}"


def _threshold(manual: ManualThreshold | None) -> str:
    if manual is None:
        return "the engine's"
    return f"{manual.value:g} (of {', '.join(sha[:_SHA_CHARS] for sha in manual.engines)})"


def _print(console: Console, line: str, state: LineState, workers: list[dict[str, Any]]) -> None:
    console.print(f"{line}: {_sentence(state)}")
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
    for worker in workers:
        if worker.get("zones"):
            which = f"zones of {worker['worker']}: {worker['zones']}"
            console.print(which, soft_wrap=True, markup=False)
        if worker.get("zones_refused"):
            why = f"{worker['worker']} refuses its zones file: {worker['zones_refused']}"
            console.print(why, soft_wrap=True, markup=False)
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
    if drift.get("state") == DriftState.LEARNING and isinstance(learned, float):
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
