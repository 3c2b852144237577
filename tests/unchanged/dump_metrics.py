"""The metrics of a worker: names, types, labels, help, buckets, and the pages that serve them."""

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from names import look_up

LINE = "line-1"


def capture(root: Path) -> dict[str, Any]:
    """Return each metric of a worker that has done nothing yet, and its three pages."""
    del root
    telemetry = look_up("Telemetry")(LINE)
    return {"metrics": _declared(telemetry.registry), "pages": _pages(telemetry)}


def _declared(registry: Any) -> dict[str, Any]:  # noqa: ANN401  # prometheus_client's registry
    declared: dict[str, Any] = {}
    for collector in list(registry._collector_to_names):
        for metric in collector.describe():
            declared[metric.name] = {
                "type": metric.type,
                "help": metric.documentation,
                "unit": metric.unit,
                "labels": list(getattr(collector, "_labelnames", ())),
                "buckets": [str(bound) for bound in collector._kwargs.get("buckets", ())],
            }
    return dict(sorted(declared.items()))


def _pages(telemetry: Any) -> dict[str, Any]:  # noqa: ANN401  # a Telemetry
    pages: dict[str, Any] = {}
    with look_up("served")(telemetry, "127.0.0.1", 0, lambda: "", lambda: "no engine") as port:
        for path in ("/metrics", "/healthz", "/readyz", "/nowhere"):
            pages[path] = _page(f"http://127.0.0.1:{port}{path}")
    return pages


def _page(url: str) -> list[str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  # our own server
            return _described(answer.status, answer)
    except urllib.error.HTTPError as error:
        with error:
            return _described(error.code, error)


def _described(status: int, answer: Any) -> list[str]:  # noqa: ANN401  # an HTTP response
    body = answer.read().decode()
    lines = [line for line in body.splitlines() if "_created" not in line]
    return [str(status), answer.headers["Content-Type"], *lines]
