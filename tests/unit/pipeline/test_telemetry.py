import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.errors import SettingsError
from pipeline.frames import EngineName
from pipeline.telemetry import MOST_CONNECTIONS, Telemetry, served

Samples = dict[str, list[tuple[dict[str, str], float]]]


class Worker:
    """Reports its health."""

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


def connect(address: str) -> socket.socket:
    host, _, port = address.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=60)


def exchange(address: str, request: bytes) -> bytes:
    with connect(address) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(4096), b""))


@pytest.mark.parametrize("sent", [b"", b"GET /heal", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"])
def test_silent_client_keeps_neither_probes_nor_the_end_waiting(sent: bytes) -> None:
    with ExitStack() as clients:
        with page(Telemetry("line-1"), Worker()) as address:
            for _ in range(3):
                clients.enter_context(connect(address)).sendall(sent)
            for path in ("healthz", "readyz", "metrics"):
                assert b"200 OK" in exchange(address, f"GET /{path} HTTP/1.1\r\n\r\n".encode())
        with pytest.raises(ConnectionRefusedError):  # it ended, and the clients are still there
            connect(address)


def test_oldest_connection_gives_way_where_there_are_too_many() -> None:
    with page(Telemetry("line-1"), Worker()) as address, ExitStack() as clients:
        silent = [clients.enter_context(connect(address)) for _ in range(MOST_CONNECTIONS + 3)]
        assert b"200 OK" in exchange(address, b"GET /healthz HTTP/1.1\r\n\r\n")
        assert silent[0].recv(1) == b""


def test_slow_client_is_given_up() -> None:
    with served(Telemetry("line-1"), "127.0.0.1", 0, str, str, timeout_s=0.05) as port:
        assert exchange(f"http://127.0.0.1:{port}", b"GET /heal") == b""


@pytest.mark.parametrize("method", ["POST", "DELETE", "TRACE", "FOO"])
def test_only_get_and_head_are_answered(method: str) -> None:
    with page(Telemetry("line-1"), Worker()) as address:
        refused = exchange(address, f"{method} /healthz HTTP/1.1\r\n\r\n".encode())
        answered = exchange(address, b"HEAD /healthz HTTP/1.1\r\n\r\n")
    assert b" 501 " in refused.splitlines()[0]
    assert b" 200 " in answered.splitlines()[0]
    assert answered.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("path", ["healthz", "nothing", "metrics"])
def test_page_does_not_say_what_serves_it(path: str) -> None:
    with page(Telemetry("line-1"), Worker()) as address:
        answer = exchange(address, f"GET /{path} HTTP/1.1\r\n\r\n".encode())
    assert b"Server:" not in answer
    assert b"Python/" not in answer


@pytest.mark.parametrize("host", ["::", "::1", "localhost", "0.0.0.0"])  # noqa: S104
def test_page_is_served_on_every_kind_of_address(host: str) -> None:
    with served(Telemetry("line-1"), host, 0, lambda: "", lambda: "") as port:
        asked = "[::1]" if ":" in host else "127.0.0.1"
        with urllib.request.urlopen(f"http://{asked}:{port}/healthz", timeout=60) as answer:
            assert answer.status == 200


def test_port_in_use_is_said_with_its_flag() -> None:
    with (
        page(Telemetry("line-1"), Worker()) as address,
        pytest.raises(SettingsError, match=f"port {address.rpartition(':')[2]} .*--port"),
    ):
        served(
            Telemetry("line-2"), "127.0.0.1", int(address.rpartition(":")[2]), str, str
        ).__enter__()


def test_host_of_another_machine_is_said_with_its_flag() -> None:
    with pytest.raises(SettingsError, match=r"--host 192\.0\.2\.1"):
        served(Telemetry("line-1"), "192.0.2.1", 0, str, str).__enter__()
