import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.frames import EngineName
from pipeline.telemetry import Telemetry, served

Samples = dict[str, list[tuple[dict[str, str], float]]]


class Worker:
    """Says how it is."""

    def __init__(self) -> None:
        self.why = ""

    def not_ready(self) -> str:
        return self.why


@contextmanager
def page(telemetry: Telemetry, worker: Worker) -> Iterator[str]:
    with served(telemetry, "127.0.0.1", 0, lambda: "", worker.not_ready) as port:
        yield f"http://127.0.0.1:{port}"


def samples(address: str) -> Samples:
    with urllib.request.urlopen(f"{address}/metrics", timeout=10) as answer:  # noqa: S310  # ours
        text = answer.read().decode()
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        found[family.name] = [(sample.labels, sample.value) for sample in family.samples]
    return found


def test_metrics_say_of_readiness_what_the_page_says() -> None:
    worker = Worker()
    with page(Telemetry("line-1"), worker) as address:
        assert samples(address)["prn_ready"] == [({"line": "line-1"}, 1.0)]
        worker.why = "paused"
        assert samples(address)["prn_ready"] == [({"line": "line-1"}, 0.0)]
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{address}/readyz", timeout=10)  # noqa: S310  # ours
        with refused.value as answer:
            assert json.loads(answer.read()) == {"ok": False, "why": "paused"}


def test_note_stands_on_the_page_of_readiness() -> None:
    with served(
        Telemetry("line-1"), "127.0.0.1", 0, lambda: "", lambda: "", "serves a fixed engine"
    ) as port:
        note = {"note": "serves a fixed engine"}
        for name, shown in (("healthz", {}), ("readyz", note)):
            with urllib.request.urlopen(  # ours
                f"http://127.0.0.1:{port}/{name}", timeout=10
            ) as answer:
                said = json.loads(answer.read())
            assert said == {"ok": True, "why": "", **shown}


def test_only_the_engine_in_force_is_shown() -> None:
    telemetry = Telemetry("line-1")
    telemetry.serves(EngineName("protoad", "1", "a" * 64))
    telemetry.serves(EngineName("prn-s", "2", "b" * 64))
    with page(telemetry, Worker()) as address:
        shown = samples(address)["prn_engine"]
    labels = {"line": "line-1", "model": "prn-s", "version": "2", "sha256": "b" * 12}
    assert shown == [(labels, 1.0)]
