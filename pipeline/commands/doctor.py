"""`pipeline-doctor`: what this machine lacks to run a line, and how to mend it."""

import json
import logging
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from pydantic import Field
from rich.console import Console
from rich.table import Table

from engines.commandline.completion import completion_script, installed_commands
from engines.commandline.flags import File
from engines.commandline.terminal import Terminal, styled
from engines.errors import ManifestError
from engines.manifest import read_manifest
from pipeline.commands.library_checks import check_installation
from pipeline.commands.machine_checks import (
    CheckStatus,
    HealthCheck,
    check_machine,
    check_replication,
)
from pipeline.errors import ConnectionLost, PipelineError
from pipeline.logs import start_logs
from pipeline.ring.files import (
    RingFile,
    UnlinkedRing,
    find_rings,
    find_unlinked_rings,
    remove_left_rings,
)
from pipeline.settings import LineSettings
from pipeline.streams.connect import read_replication
from pipeline.streams.embedded import find_server
from pipeline.streams.server_checks import WARNING_MS, ServerReport, probe

FAILURE_STATUS = 1
ROUND_TRIP_WARNING_MS = 2.0
_COLOURS = {CheckStatus.OK: "green", CheckStatus.WARNING: "yellow", CheckStatus.FAILURE: "bold red"}


class DoctorSettings(LineSettings):
    """List what this machine lacks for a line, and how to mend it; exit status 1 on a failure."""

    engine: File | None = Field(default=None, description="engine file to check as well")
    remove_rings: bool = Field(
        default=False,
        description="first remove the frame rings that no camera holds; "
        "frames that still wait in one are then UNREADABLE",
    )
    as_json: bool = Field(default=False, description="print one JSON object")
    completion: Literal["bash", "zsh"] | None = Field(
        default=None,
        description="check nothing, print the shell's completion of every command instead: "
        'eval "$(pipeline-doctor --completion bash)"',
    )


def run(settings: DoctorSettings) -> int:
    """Check the machine, the Redis and the engine; 1 where something must be mended."""
    if settings.completion is not None:
        sys.stdout.write(completion_script(settings.completion, installed_commands()))
        return 0
    start_logs(settings.log_level, settings.log_format)
    logging.getLogger("pipeline.streams").setLevel(logging.ERROR)  # we say it ourselves
    removed = remove_left_rings() if settings.remove_rings else []
    checks = [*check_machine(settings.state_dir), *check_installation()]
    checks += check_rings(removed, find_rings(), time.time())
    checks += check_unlinked_rings(find_unlinked_rings())
    checks += check_redis(settings)
    if settings.engine is not None:
        checks.append(check_engine(settings.engine))
    failed = any(check.state is CheckStatus.FAILURE for check in checks)
    if settings.as_json:
        fields = {"healthy": not failed, "checks": [asdict(check) for check in checks]}
        sys.stdout.write(json.dumps(fields) + "\n")
    else:
        _print(Terminal(), checks)
    return FAILURE_STATUS if failed else 0


def check_rings(removed: list[RingFile], found: list[RingFile], now_s: float) -> list[HealthCheck]:
    """Name every ring in shared memory, and what to do about those without a camera.

    Args:
        removed: those just removed.
        found: those that are there.
        now_s: since the epoch.
    """
    mend = "its camera goes on in it; if it never starts again: pipeline-doctor --remove-rings"
    return [
        *(
            HealthCheck("frame ring", CheckStatus.OK, f"{_ring(ring, now_s)}: removed")
            for ring in removed
        ),
        *(
            HealthCheck("frame ring", CheckStatus.OK, f"{_ring(ring, now_s)}: in use")
            if ring.alive
            else HealthCheck(
                "frame ring", CheckStatus.WARNING, f"{_ring(ring, now_s)}, no camera: {mend}"
            )
            for ring in found
        ),
    ]


def check_unlinked_rings(found: list[UnlinkedRing]) -> list[HealthCheck]:
    """Name every ring that has no file any more but still takes memory."""
    return [
        HealthCheck(
            "frame ring",
            CheckStatus.WARNING,
            f"{ring.name}, {ring.size_bytes / (1 << 20):.1f} MB, removed but still open in process "
            f"{', '.join(str(pid) for pid in ring.pids)}: if it is a worker, start it again",
        )
        for ring in found
    ]


def _ring(ring: RingFile, now_s: float) -> str:
    hours = (now_s - ring.made_s) / 3600
    size = f"{ring.size_bytes / (1 << 20):.1f} MB"
    return f"{ring.name}, {size}, {hours:.1f} h old, {ring.waiting} frames wait in it"


def check_redis(settings: LineSettings) -> list[HealthCheck]:
    """Connect as a worker would, and see whether the server is fit for a line."""
    checks = []
    if not settings.redis_url:
        try:
            checks.append(HealthCheck("embedded Redis", CheckStatus.OK, f"{find_server()}"))
        except PipelineError as error:
            return [HealthCheck("embedded Redis", CheckStatus.FAILURE, str(error))]
    try:
        access = settings.access()
        with settings.connect() as connection:
            replication = check_replication(read_replication(connection.client))
            report, server = probe(connection.client), connection.server
    except ConnectionLost as error:
        mend = "start it, or leave --redis-url empty for the embedded server"
        return [*checks, HealthCheck("Redis", CheckStatus.FAILURE, f"{error} {mend}")]
    except (PipelineError, OSError) as error:
        return [*checks, HealthCheck("Redis", CheckStatus.FAILURE, str(error))]
    where = access.shown if access.url else f"embedded in {settings.state_dir}"
    return [
        *checks,
        HealthCheck("Redis", CheckStatus.OK, f"{server}, {where}"),
        replication,
        *_server_checks(report),
    ]


def _server_checks(report: ServerReport) -> list[HealthCheck]:
    return [
        HealthCheck("Redis persistence", *_persistence(report)),
        HealthCheck("Redis memory", *_memory(report)),
        HealthCheck("Redis clock", *_clock(report.ahead_ms)),
        HealthCheck("Redis round trip", *_round_trip(report.round_trip_ms)),
    ]


def _persistence(report: ServerReport) -> tuple[CheckStatus, str]:
    """Report what a power cut would lose."""
    if not report.append_only:
        return CheckStatus.WARNING, (
            "appendonly is no: a crash or a power cut loses everything since the last snapshot "
            f"({report.unsaved} changes by now); set appendonly yes and appendfsync always"
        )
    sentence = f"appendfsync is {report.append_fsync}: a power cut loses"
    match report.append_fsync:
        case "always":
            return CheckStatus.OK, f"{sentence} nothing, on a disk that keeps what it was told"
        case "everysec":
            lost = "frames and verdicts of the last second or two"
        case "no":
            lost = "what the system had not written yet, of the last 30 seconds or so"
        case _:
            return CheckStatus.WARNING, (
                "appendonly is yes, and this user may not ask for appendfsync: see that it is "
                "always (CONFIG GET appendfsync), or a power cut loses the last seconds"
            )
    return CheckStatus.WARNING, f"{sentence} {lost}; set appendfsync always"


def _memory(report: ServerReport) -> tuple[CheckStatus, str]:
    used = f"{report.used_memory_mb:.0f} MB in use"
    if not report.max_memory_mb:
        return CheckStatus.WARNING, f"{used}, no limit: set maxmemory below the machine's memory"
    sentence = f"{used} of {report.max_memory_mb:.0f} MB"
    if report.used_memory_mb > 0.8 * report.max_memory_mb:
        return CheckStatus.WARNING, f"{sentence}: nearly full, raise maxmemory"
    return CheckStatus.OK, sentence


def _clock(ahead_ms: float) -> tuple[CheckStatus, str]:
    sentence = f"{ahead_ms:+.1f} ms against ours"
    if abs(ahead_ms) > WARNING_MS:
        return (
            CheckStatus.WARNING,
            f"{sentence}: capture times and latencies are off by as much; use NTP or PTP",
        )
    return CheckStatus.OK, sentence


def _round_trip(median_ms: float) -> tuple[CheckStatus, str]:
    sentence = f"p50 {median_ms:.2f} ms"
    if median_ms > ROUND_TRIP_WARNING_MS:
        return CheckStatus.WARNING, f"{sentence}: run Redis nearer to the cameras and workers"
    return CheckStatus.OK, sentence


def check_engine(path: Path) -> HealthCheck:
    """Read the engine's manifest as a worker does before it loads the file."""
    try:
        manifest = read_manifest(path)
    except ManifestError as error:
        return HealthCheck("engine", CheckStatus.FAILURE, str(error))
    name = f"{manifest.model} {manifest.version} ({manifest.format}, {manifest.device})"
    admission = manifest.admission
    if admission is None:
        return HealthCheck(
            "engine", CheckStatus.WARNING, f"{name}: not admitted yet; run engine-admit {path}"
        )
    if not admission.admitted:
        why = "; ".join(admission.reasons)
        return HealthCheck(
            "engine", CheckStatus.FAILURE, f"{name}: refused on {admission.machine}: {why}"
        )
    return HealthCheck("engine", CheckStatus.OK, f"{name}, admitted on {admission.machine}")


def _print(console: Console, checks: list[HealthCheck]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    for _ in range(3):
        table.add_column(overflow="fold")
    for check in checks:
        state = styled(check.state.value, _COLOURS[check.state])
        table.add_row(state, check.what, check.found)
    console.print(table)
    wrong = [check for check in checks if check.state is not CheckStatus.OK]
    console.print(f"{len(wrong)} of {len(checks)} want a look" if wrong else "nothing is missing")
