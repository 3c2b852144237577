"""Every log event, metric and alert of the code stands in docs/operations.md, and no other."""

import ast
import re

import pytest
from fakes.places import ROOT

from pipeline.bridge.metrics import BridgeMetrics
from pipeline.telemetry import StationTelemetry, Telemetry

PAGE = (ROOT / "docs" / "operations.md").read_text("utf-8")
LEVELS = {"debug", "info", "warning", "error", "exception", "log", "add"}
EVENT = re.compile(r"[a-z_]+\.[a-z_]+")
RULES = (ROOT / "deploy" / "prometheus" / "rules.yml").read_text("utf-8")


def events_of_the_code() -> set[str]:
    """Return the first word of every call that writes an event, in any of its forms."""
    found = set()
    for package in ("engines", "pipeline", "trainer"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    found |= _words(node) if node.func.attr in LEVELS and _is_log(node) else set()
    return found


def _is_log(call: ast.Call) -> bool:
    assert isinstance(call.func, ast.Attribute)
    return "log" in ast.unparse(call.func.value).lower() or "events" in ast.unparse(call.func.value)


def _words(call: ast.Call) -> set[str]:
    texts = [
        node.value
        for argument in call.args[:2]
        for node in ast.walk(argument)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    return {text for text in texts if EVENT.fullmatch(text)}


def section(title: str) -> str:
    """Return the page from one heading to the next of its rank."""
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(title: str) -> list[str]:
    return re.findall(r"^\| `([\w.]+)` \|", section(title), re.MULTILINE)


EVENTS = sorted(events_of_the_code())


def test_events_are_found_in_the_code() -> None:
    assert {"books.rolled_back", "verdicts.missed", "swap.failed", "frames.unknown"} <= set(EVENTS)


@pytest.mark.parametrize("event", EVENTS)
def test_event_stands_on_the_page(event: str) -> None:
    assert event in rows("Log events")


def test_page_lists_no_event_twice() -> None:
    listed = rows("Log events")
    assert sorted(listed) == sorted(set(listed))


def test_every_event_on_the_page_is_written_somewhere() -> None:
    sources = [
        path.read_text("utf-8")
        for package in ("engines", "pipeline", "trainer")
        for path in sorted((ROOT / package).rglob("*.py"))
    ]
    unknown = [
        event
        for event in rows("Log events")
        if not any(f'"{event}"' in text or _is_formatted(event, text) for text in sources)
    ]
    assert unknown == []


def _is_formatted(event: str, text: str) -> bool:
    """Return whether the event's noun is written with a verb that is filled in."""
    return f'f"{event.partition(".")[0]}.{{' in text


def test_page_lists_the_metrics_of_the_code_and_no_other() -> None:
    registries = [
        Telemetry("line-1").registry,
        StationTelemetry("station-1").registry,
        BridgeMetrics("line-1", "modbus").registry,
    ]
    families = {family.name: family.type for one in registries for family in one.collect()}
    wanted = {f"{name}_total" if kind == "counter" else name for name, kind in families.items()}
    written_by_deploy = {"prn_retrain_last_success_timestamp_seconds"}
    assert set(rows("Metrics")) == wanted | written_by_deploy


def test_page_lists_the_alerts_of_the_rules_with_their_severity() -> None:
    alerts = dict(re.findall(r"- alert: (\w+)\n(?:.*\n)*?\s+labels: \{ severity: (\w+) \}", RULES))
    listed = dict(re.findall(r"^\| `(\w+)` \| (page|ticket) \|", section("Alerts"), re.MULTILINE))
    assert listed == alerts


def test_every_row_says_what_to_do() -> None:
    empty = re.findall(r"^\| `([\w.]+)` \|.*\|\s*\|$", section("Log events"), re.MULTILINE)
    assert empty == []
