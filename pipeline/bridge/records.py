"""A verdict as the JSON object that every receiver of records gets."""

from dataclasses import asdict
from typing import Any

from pipeline.bridge.freshness import Freshness
from pipeline.bridge.report import VerdictReport

_FRESHNESS = Freshness()


def record_fields(report: VerdictReport, now_ms: float | None) -> dict[str, Any]:
    """Return the fields of a record.

    Args:
        report: what is sent.
        now_ms: Redis's time, ms since the epoch; a report past its deadline is `historical`.
    """
    fields = asdict(report)
    fields["code"], fields["reason"] = report.code.name, report.reason.name
    fields["historical"] = report.historical or not _FRESHNESS.is_live(report, now_ms)
    return fields
