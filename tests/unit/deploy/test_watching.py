"""Alerts and dashboard: every expression parses (promql-parser), every metric exists.

promtool has no package that pip can install: the form of the rule file is held to the model below.
The dashboard is read and written by Grafana's own SDK: what it does not know would not come back.
"""

import json
from collections.abc import Iterator
from itertools import combinations
from typing import Annotated, Any, Literal

import pytest
import yaml
from fakes.deploy_files import DEPLOY, judge, services
from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.telemetry import Telemetry

EXPORTED = {  # by others: Prometheus, redis_exporter, deploy/bin/say-retrained, kube-state-metrics
    "up": {"job"},
    "redis_up": set(),
    "redis_memory_used_bytes": set(),
    "redis_memory_max_bytes": set(),
    "prn_retrain_last_success_timestamp_seconds": {"line"},
    "kube_cronjob_status_last_successful_time": {"cronjob"},
}
OF_EVERY_TARGET = {"instance", "job"}
DURATION = r"^([0-9]+(ms|s|m|h|d|w|y))+$"


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Annotations(Strict):
    summary: Annotated[str, Field(min_length=10)]
    description: Annotated[str, Field(min_length=10)]


class Rule(Strict):
    expr: str
    record: Annotated[str, Field(pattern=r"^[a-z_]+(:[a-z0-9_]+)+$")] | None = None
    alert: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z]+$")] | None = None
    wait: Annotated[str, Field(pattern=DURATION)] | None = Field(default=None, alias="for")
    labels: dict[Literal["severity"], Literal["page", "ticket"]] = {}
    annotations: Annotations | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "Rule":
        if (self.record is None) is (self.alert is None):
            raise ValueError("a rule records or alerts")
        if self.alert and not (self.labels and self.annotations):
            raise ValueError("an alert says how urgent it is and what to do")
        if self.record and (self.wait or self.labels or self.annotations):
            raise ValueError("a recording rule has an expression only")
        return self


class Group(Strict):
    name: str
    rules: list[Rule]


class RuleFile(Strict):
    groups: list[Group]


def rules() -> list[Rule]:
    text = (DEPLOY / "prometheus" / "rules.yml").read_text("utf-8")
    return [
        rule
        for group in RuleFile.model_validate(yaml.safe_load(text)).groups
        for rule in group.rules
    ]


RULES = rules()
ALERTS = {rule.alert: rule for rule in RULES if rule.alert}
BOARD = json.loads((DEPLOY / "grafana" / "line.json").read_text("utf-8"))
PANELS = {panel["title"]: panel for panel in BOARD["panels"] if panel["type"] != "row"}


def metrics() -> dict[str, set[str]]:
    """Every series there is, with its labels."""
    found = {name: labels | OF_EVERY_TARGET for name, labels in EXPORTED.items()}
    for collector, names in Telemetry("line-1").registry._collector_to_names.items():
        labels: set[str] = {*collector._labelnames}  # type: ignore[attr-defined]  # of all metrics
        found |= {name: labels | {"le"} | OF_EVERY_TARGET for name in names}
    return found | {rule.record: {"line", "answer"} for rule in RULES if rule.record}


def parts(node: Any) -> Iterator[Any]:  # noqa: ANN401  # the parser's classes share no base
    yield node
    for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
        if (child := getattr(node, name, None)) is not None:
            yield from parts(child)
    for child in getattr(node, "args", None) or ():
        yield from parts(child)


def check(expression: str) -> None:
    """Refuse an expression that does not parse, or asks for what nobody exports."""
    for variable in ("$__rate_interval", "$__range"):
        expression = expression.replace(variable, "5m")
    promql_parser = judge("promql_parser")
    there = metrics()
    used: set[str] = set()
    known: set[str] = set()
    grouped: set[str] = set()
    for node in parts(promql_parser.parse(expression)):
        if isinstance(node, promql_parser.VectorSelector):
            assert node.name in there, f"nobody exports {node.name}"
            used.add(node.name)
            known |= there[node.name]
            matched = {matcher.name for matcher in node.matchers.matchers}
            assert matched <= there[node.name], f"{node.name} has no label {matched}"
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
            grouped |= set(node.modifier.labels)
    assert used, "an expression without a metric"
    assert grouped <= known, f"no label {grouped - known} of {used}"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.alert or rule.record)
def test_rule_asks_for_metrics_and_labels_that_exist(rule: Rule) -> None:
    check(rule.expr)


@pytest.mark.parametrize(
    "wrong",
    [
        "sum by (line) (rate(prn_verdicts[5m]",
        "rate(prn_no_such_metric_total[5m])",
        'prn_open_frames{lane="1"}',
        "sum by (lane) (prn_open_frames)",
        "histogram_quantile(0.9, prn_wait_seconds_bucket)",
    ],
)
def test_check_refuses_what_is_wrong(wrong: str) -> None:
    with pytest.raises((AssertionError, ValueError)):
        check(wrong)


@pytest.mark.parametrize(
    ("alert", "why"),
    {
        "PartsUnknown": "UNKNOWN",
        "PartsLate": "LATE",
        "WorkerNotReady": "ready",
        "OpenFramesGrow": "open_frames",
        "RedisMemoryHigh": "memory",
        "DriftOfCamera": "camera",
        "DriftOfProcess": "process",
        "EngineRefused": "refused",
        "EngineKept": "kept",
        "EngineRolledBack": "rolled_back",
        "RetrainOverdue": "26",
    }.items(),
)
def test_someone_is_told(alert: str, why: str) -> None:
    rule = ALERTS[alert]
    assert why.lower() in f"{rule.expr} {rule.annotations}".lower()


def test_every_alert_has_a_name_of_its_own() -> None:
    assert len(ALERTS) == sum(rule.alert is not None for rule in RULES)


def test_prometheus_scrapes_services_that_there_are_and_reads_the_rules() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text("utf-8"))
    assert [(DEPLOY / "prometheus" / name).exists() for name in config["rule_files"]] == [True]
    names = set(services())
    for job in config["scrape_configs"]:
        for found in job.get("dns_sd_configs", ()):
            assert set(found["names"]) <= names
            commands = [services()[name]["command"] for name in found["names"]]
            assert all(f"--port={found['port']}" in command for command in commands)
        for static in job.get("static_configs", ()):
            assert {target.partition(":")[0] for target in static["targets"]} <= names


@pytest.mark.parametrize("title", PANELS)
def test_panel_asks_for_metrics_that_exist(title: str) -> None:
    panel = PANELS[title]
    assert panel["targets"]
    for target in panel["targets"]:
        check(target["expr"])


def lost(given: Any, back: Any, where: str = "") -> Iterator[str]:  # noqa: ANN401  # JSON
    """What of a JSON value did not come back."""
    if isinstance(given, dict) and isinstance(back, dict):
        for name, value in given.items():
            if name in back:
                yield from lost(value, back[name], f"{where}.{name}")
            else:
                yield f"{where}.{name}"
    elif isinstance(given, list) and isinstance(back, list) and len(given) == len(back):
        for number, pair in enumerate(zip(given, back, strict=True)):
            yield from lost(*pair, f"{where}[{number}]")
    elif given != back:
        yield where


def through_grafana(board: dict[str, Any]) -> Any:  # noqa: ANN401  # JSON
    encoder = judge("grafana_foundation_sdk.cog.encoder").JSONEncoder
    dashboard = judge("grafana_foundation_sdk.models.dashboard").Dashboard
    return json.loads(encoder(sort_keys=True).encode(dashboard.from_json(board)))


def test_grafana_knows_every_word_of_the_dashboard() -> None:
    assert list(lost(BOARD, through_grafana(BOARD))) == []


def test_grafana_loses_a_word_that_it_does_not_know() -> None:
    wrong = {**BOARD, "panels": [{**BOARD["panels"][1], "titel": "x"}]}
    assert list(lost(wrong, through_grafana(wrong))) == [".panels[0].titel"]


def test_panels_have_numbers_of_their_own_and_do_not_overlap() -> None:
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    for one, other in combinations((panel["gridPos"] for panel in BOARD["panels"]), 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        below = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or below
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in BOARD["panels"])


def test_dashboard_shows_what_was_asked_for() -> None:
    shown = " ".join(target["expr"] for panel in PANELS.values() for target in panel["targets"])
    for metric in (
        "prn_line_verdicts", "prn_queue_wait_seconds_bucket", "prn_inference_seconds_bucket",
        "prn_end_to_end_seconds_bucket", "prn_open_frames", "prn:line_ng:share1h", "prn_distance",
        "prn_engine", "prn_shadow_decisions_differ",
    ):  # fmt: skip
        assert metric in shown
    variables = {each["name"] for each in BOARD["templating"]["list"]}
    assert {"datasource", "line", "camera"} == variables
