"""Print reports as tables."""

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table

from engines.admission.timing import BenchReport
from engines.commandline.terminal import styled
from engines.manifest import Admission, Manifest


def admission_report(manifest: Manifest, admission: Admission) -> RenderableType:
    """Build the table of an admission: the checks, the cost curve, the decision."""
    title = f"{manifest.model} {manifest.version} against ONNX Runtime on the CPU"
    checks = Table("check", "found", "allowed", box=SIMPLE_HEAD, title=title, title_justify="left")
    checks.add_row(
        "score error", f"{admission.score_error:.2e}", f"{admission.score_tolerance:.2e}"
    )
    checks.add_row("map error", f"{admission.map_error:.2e}", f"{admission.map_tolerance:.2e}")
    allowed = str(admission.unlike_tolerance)
    checks.add_row("decisions unlike the reference", str(admission.unlike), allowed)
    checks.add_row("of them clear of the threshold", str(admission.rank_flips), "0")
    checks.add_row("same in every slot and batch", _yes(holds=admission.batch_invariant), "yes")
    checks.add_row("same in every run", _yes(holds=admission.repeatable), "yes")
    if admission.gain is not None:
        asked = f"{admission.least_gain or 0:g} or more"
        checks.add_row(
            f"times as fast as {admission.gain_over or 'the float32 engine'}",
            f"{admission.gain:.2f}",
            asked,
        )
    checks.add_row("peak memory of the process", f"{admission.peak_memory_mb:.0f} MB", "")
    cost = Table(box=SIMPLE_HEAD, title="cost of a call", title_justify="left")
    for name in ("batch", "median ms", "p99 ms", "frames/s"):
        cost.add_column(name, justify="right", no_wrap=True)
    for point in admission.cost:
        rate = point.batch * 1000 / point.median_ms if point.median_ms else 0.0
        cost.add_row(str(point.batch), _short(point.median_ms), _short(point.p99_ms), _short(rate))
    frames = f"{admission.images} frames: {admission.source}"
    synthetic = admission.source.startswith("SYNTHETIC")
    return Group(
        checks,
        styled(f"tolerance: {admission.tolerance_reason}"),
        cost,
        styled(f"{admission.backend} on {admission.machine}"),
        styled(frames, style="bold yellow" if synthetic else ""),
        *(styled(f"refused: {reason}", style="red") for reason in admission.reasons),
        styled("admitted", style="bold green")
        if admission.admitted
        else styled("NOT ADMITTED", style="bold red"),
    )


def bench_report(report: BenchReport) -> RenderableType:
    """Build the table of a bench: one row per batch size."""
    title = f"{report.engine}, frames of {report.height}x{report.width}"
    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left")
    for name in ("batch", "ms a call", "p5..p95", "p99", "frames/s", "p5..p95", "CPU ms"):
        table.add_column(name, justify="right", no_wrap=True)
    for point in report.points:
        table.add_row(
            str(point.batch),
            _short(point.median_ms),
            f"{_short(point.p5_ms)}..{_short(point.p95_ms)}",
            _short(point.p99_ms),
            _short(point.frames_per_s),
            f"{_short(point.frames_per_s_low)}..{_short(point.frames_per_s_high)}",
            _short(point.cpu_ms_per_frame),
        )
    calls = min(point.calls for point in report.points)
    return Group(
        table,
        styled(f"{calls} calls of each size; ms a call, frames/s and CPU ms (per frame, over all"),
        styled("cores) are medians, the spread is that of single calls"),
        styled(f"{report.backend} on {report.machine}"),
    )


def _yes(*, holds: bool) -> str:
    return "yes" if holds else "NO"


def _short(value: float) -> str:
    """Format with three significant digits, or all before the point: 0.53, 37.1, 1706."""
    if value < 10:  # noqa: PLR2004
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"  # noqa: PLR2004
