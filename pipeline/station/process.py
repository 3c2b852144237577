"""`pipeline-join`: one verdict per part from the verdicts of its views."""

import logging
import os
import secrets
import socket
from typing import Annotated

from pydantic import Field

from engines.commandline.flags import Metavar, Name
from pipeline.logs import library_lines, start_logs
from pipeline.settings import WaitingSettings
from pipeline.signals import stopped_by_signals
from pipeline.station.joiner import Joiner
from pipeline.streams.station.books import JoinKey, StationPlan
from pipeline.telemetry import StationTelemetry, served

_log = logging.getLogger(__name__)


class JoinSettings(WaitingSettings):
    """Join the verdicts of several views of a part into one verdict per part."""

    line: Name = Field(
        default="station-1",
        description="the station's name; its verdicts are read like those of a line",
    )
    views: Annotated[str, Metavar("LINE,...")] = Field(
        description="the lines whose verdicts are joined, one a view, 1 to 8"
    )
    by: JoinKey = Field(
        default=JoinKey.TRIGGER,
        description="what tells which verdicts show the same part: the trigger number, which the "
        "cameras count alike, or the part id",
    )
    window_ms: int = Field(
        default=10_000,
        ge=1,
        le=3_600_000,
        description="the captures of a part lie within this time; the same part or trigger number "
        "after it is a new part, as after rework",
    )
    deadline_ms: int | None = Field(
        default=None,
        ge=1,
        description="the part must be decided this long after its first capture; default: the "
        "latest deadline of the views that have come",
    )
    from_start: bool = Field(
        default=False,
        description="a view that was never joined begins with its oldest verdict kept, not with "
        "the next new one",
    )
    host: str = Field(default="127.0.0.1", description="where health and metrics are served")
    port: int = Field(
        default=0, ge=0, le=65535, description="port of health and metrics; 0: a free one"
    )
    redefine: bool = Field(
        default=False, description="change how the station joins; joiners with other settings end"
    )

    def plan(self) -> StationPlan:
        """Return how the station joins.

        Raises:
            SettingsError: no station can join so.
        """
        views = tuple(view.strip() for view in self.views.split(","))
        return StationPlan(self.line, views, self.by, self.window_ms, self.deadline_ms)


def run(settings: JoinSettings) -> int:
    """Join until a signal."""
    start_logs(settings.log_level, settings.log_format)
    plan, telemetry = settings.plan(), StationTelemetry(settings.line)
    joiners: list[Joiner] = []

    def not_ready() -> str:
        return joiners[0].not_ready() if joiners else "starting: it waits for Redis"

    # joining is all that it does: a joiner without Redis is alive, and not ready
    page = served(telemetry, settings.host, settings.port, lambda: "", not_ready)
    with library_lines(settings.log_format), page as port, settings.connect() as connection:
        joiner = Joiner(connection, plan, joiner_name(), telemetry)
        joiners.append(joiner)
        fields = {"station": plan.station, "views": list(plan.views), "port": port}
        _log.info("station.joining", extra=fields)
        with stopped_by_signals(joiner.stop):
            joiner.run(from_start=settings.from_start, redefine=settings.redefine)
        _log.info("station.stopped", extra={"station": plan.station, **joiner.counts})
    return 0


def joiner_name() -> str:
    """Return a name for this life of this process: host:pid:join:chance."""
    return f"{socket.gethostname()}:{os.getpid()}:join:{secrets.token_hex(3)}"
