"""The same line on Cluster, behind Sentinel, with ACL users, over TLS; and servers to refuse."""

import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import redis
from line import Plant, head_of, say
from servers import SERVERS

from pipeline.consumer import Consumer
from pipeline.control import FROM_THE_FIRST, Standing, heed
from pipeline.errors import ConnectionLost, RedisFull, RedisUnfit, SettingsError
from pipeline.frames import Decision
from pipeline.proof import Report
from pipeline.reconcile import reconcile
from pipeline.settings import PASSWORD_VARIABLE, LineSettings
from pipeline.streams.clock import server_ahead_ms
from pipeline.streams.connect import Access, check_server, open_client
from pipeline.streams.control import Controls
from pipeline.streams.embedded import embedded_url
from pipeline.streams.intake import Limits, Status
from pipeline.streams.link import linked
from pipeline.streams.probe import probe
from pipeline.wire import encode_control, encode_report

WAIT_S = 20.0
Server = Callable[..., int]  # flags -> port


def free_port() -> int:
    with socket.socket() as probe_socket:
        probe_socket.bind(("127.0.0.1", 0))
        return int(probe_socket.getsockname()[1])


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        try:
            if true():
                return
        except redis.RedisError:
            pass
        time.sleep(0.05)
    pytest.fail(f"not so within {WAIT_S} s")


@pytest.fixture(params=SERVERS)
def binary(request: pytest.FixtureRequest) -> Path:
    return SERVERS[request.param]


@pytest.fixture
def server(binary: Path, tmp_path: Path) -> Iterator[Server]:
    with ExitStack() as running:

        def start(*flags: str, config: Path | None = None) -> int:
            port = free_port()
            words = [str(binary), *([str(config)] if config else []), "--port", str(port)]
            words += ["--bind", "127.0.0.1", *flags]
            process = running.enter_context(
                subprocess.Popen(words, stdout=subprocess.DEVNULL, cwd=tmp_path)
            )
            running.callback(process.terminate)
            plain = redis.Redis(port=port, protocol=2)
            wait_until(lambda: answers(plain))
            plain.close()
            return port

        yield start


def answers(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.AuthenticationError:
        return True


def prove_line(access: Access, tmp_path: Path) -> Report:
    """Offer, read, answer, expire, shed, take over, consume, control and reconcile on a server."""
    with linked(access, tmp_path) as link:
        plant = Plant(link.client, "line", Limits(budget_bytes=600))
        plant.offer(1, 2, in_ns=40_000_000)
        dead = plant.worker("dead")
        dead.read(1, 0)
        time.sleep(0.25)
        assert plant.worker().expire() == 2
        plant.offer(*range(3, 11), shed=True)
        dead.read(1, 0)
        time.sleep(0.25)
        (taken,) = plant.worker().take_over(8)
        assert plant.worker().answer([say(taken, Decision.OK)]) == ["OK"]
        assert plant.judge(Decision.NG) == ["NG"] * 5
        controls = Controls(link.client, "line")
        controls.send(encode_control("pause"))
        assert heed(controls, Standing(), FROM_THE_FIRST)[0].paused
        plant.worker("alive").beat(encode_report({"frames": 1}), 60_000)
        assert list(controls.workers()) == ["alive"]
        assert probe(link.client).round_trip_ms > 0
        assert abs(server_ahead_ms(link.client)) < WAIT_S * 1e3
        with Consumer(
            "line",
            "plc",
            redis_url=access.url,
            username=access.username,
            password=access.password,
            from_start=True,
        ) as verdicts:
            heard = [verdicts.next(10.0) for _ in range(10)]
        assert [verdict.meta.seq for verdict in heard if verdict] == list(range(1, 11))
        plant.offer(12, camera="other")
        report = reconcile(plant.ledger())
        assert list(plant.ledger().open_heads()) != []
    assert report.broken() == []
    assert (report.offered, report.open) == (11, 1)
    return report


def test_line_runs_on_a_cluster(server: Server, tmp_path: Path) -> None:
    port = server("--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--save", "")
    plain = redis.Redis(port=port, protocol=2)
    plain.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    wait_until(lambda: b"cluster_state:ok" in raw_info(plain))
    plain.close()
    report = prove_line(Access(f"redis+cluster://127.0.0.1:{port}"), tmp_path)
    assert report.answers["LATE"] == 2


def test_line_runs_on_a_cluster_of_several(server: Server, tmp_path: Path) -> None:
    ports, buses = [], [free_port(), free_port()]
    for at, bus in enumerate(buses):
        nodes = f"nodes-{at}.conf"
        flags = ("--cluster-port", str(bus), "--cluster-config-file", nodes, "--save", "")
        ports.append(server("--cluster-enabled", "yes", *flags))
    first, second = (redis.Redis(port=port, protocol=2) for port in ports)
    first.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
    second.execute_command("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
    first.execute_command("CLUSTER", "MEET", "127.0.0.1", ports[1], buses[1])
    for node in (first, second):
        wait_until(lambda node=node: b"cluster_state:ok" in raw_info(node))  # type: ignore[misc]
        node.close()
    prove_line(Access(f"redis+cluster://127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}"), tmp_path)


def raw_info(client: "redis.Redis") -> bytes:
    found = client.execute_command("CLUSTER INFO")
    return str(found).replace("': '", ":").encode()


@pytest.fixture
def sentinel(server: Server, tmp_path: Path) -> tuple[int, int]:
    """A master and the sentinel that watches it: their ports."""
    master = server("--save", "")
    config = tmp_path / "sentinel.conf"
    config.write_text(f"sentinel monitor line-redis 127.0.0.1 {master} 1\n")
    return master, server("--sentinel", config=config)


def test_line_runs_behind_sentinel(sentinel: tuple[int, int], tmp_path: Path) -> None:
    prove_line(Access(f"redis+sentinel://127.0.0.1:{sentinel[1]}/line-redis"), tmp_path)


def test_sentinel_that_does_not_know_the_service_is_named(
    sentinel: tuple[int, int], tmp_path: Path
) -> None:
    access = Access(f"redis+sentinel://127.0.0.1:{sentinel[1]}/other")
    with pytest.raises(ConnectionLost, match="other"), linked(access, tmp_path):
        pass


@pytest.fixture
def guarded(server: Server, tmp_path: Path) -> str:
    """The URL of a server that only the user `line` may use, and only for keys of its line."""
    config = tmp_path / "users.conf"
    config.write_text("user default off\nuser line on >secret ~{line}:* +@all\n")
    return f"redis://127.0.0.1:{server('--save', '', config=config)}"


def test_line_runs_as_an_acl_user_with_its_password_in_a_file(guarded: str, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("secret\n")
    settings = LineSettings(
        redis_url=guarded,
        redis_username="line",
        redis_password_file=secret,
        state_dir=tmp_path,
    )
    assert "secret" not in repr(settings.access())
    prove_line(settings.access(), tmp_path)


def test_password_comes_from_the_environment_too(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = server("--save", "", "--requirepass", "secret")
    monkeypatch.setenv(PASSWORD_VARIABLE, "secret")
    with Consumer("line", "plc", redis_url=f"redis://127.0.0.1:{port}") as verdicts:
        assert verdicts.next(0.1) is None


@pytest.mark.parametrize(
    ("username", "password"), [(None, None), ("line", "wrong"), ("nobody", "secret")]
)
def test_wrong_user_is_told_what_to_set(
    guarded: str, tmp_path: Path, username: str | None, password: str | None
) -> None:
    access = Access(guarded, username, password)
    with pytest.raises(RedisUnfit, match="PRN_REDIS_PASSWORD"), linked(access, tmp_path):
        pass


def test_user_without_rights_on_the_line_is_told_which(guarded: str, tmp_path: Path) -> None:
    access = Access(guarded, "line", "secret")
    with linked(access, tmp_path) as link, pytest.raises(RedisUnfit, match="grant"):
        Plant(link.client, "other-line").camera()


def test_server_that_evicts_is_refused(server: Server, tmp_path: Path) -> None:
    port = server("--save", "", "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru")
    with (
        pytest.raises(RedisUnfit, match="noeviction"),
        linked(Access(f"redis://127.0.0.1:{port}"), tmp_path),
    ):
        pass


class OldServer:
    """Answers INFO as a server of another age."""

    def __init__(self, version: str) -> None:
        self._version = version

    def info(self, section: str) -> dict[str, str]:
        if section == "server":
            return {"redis_version": self._version}
        return {"maxmemory_policy": "noeviction"}


@pytest.mark.parametrize("version", ["6.2.14", "5.0.7"])
def test_server_that_is_too_old_is_refused(version: str) -> None:
    with pytest.raises(RedisUnfit, match=version):
        check_server(OldServer(version))
    assert check_server(OldServer("7.0.0")) == "redis 7.0.0"


def test_full_server_takes_no_frame_but_still_publishes(server: Server) -> None:
    port = server("--save", "", "--maxmemory", "24mb", "--maxmemory-policy", "noeviction")
    client = open_client(Access(f"redis://127.0.0.1:{port}"))
    plant = Plant(client, "line", Limits(budget_bytes=1 << 30))
    camera, due = plant.camera(), time.time_ns() + 60 * 10**9

    def offer(seq: int) -> Status:
        head = head_of("cam", seq, due)
        return camera.offer(seq, head, b"x" * 300_000, 300_000, due, "", shed=False).status

    with pytest.raises(RedisFull):
        list(map(offer, range(1000)))
    last, _ = camera.position()
    assert last > 10
    assert plant.judge() == ["OK"] * (last + 1)
    wait_until(lambda: used_mb(client) < 20)
    assert offer(last + 1) is Status.ADMITTED
    assert reconcile(plant.ledger()).broken() == []
    client.close()


def used_mb(client: "redis.Redis") -> float:
    return float(client.info("memory")["used_memory"]) / (1 << 20)


@contextmanager
def tls_in_front_of(port: int, folder: Path, openssl: str) -> Iterator[tuple[int, Path]]:
    """End TLS before a plain server; gives the port and the certificate to trust."""
    certificate, key = folder / "plant-ca.pem", folder / "key.pem"
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([openssl, *words.split(), *names, *files], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listening, ExitStack() as open_sockets:
        accepting = threading.Thread(
            target=accept_all, args=(listening, context, port, open_sockets), daemon=True
        )
        accepting.start()
        yield listening.getsockname()[1], certificate
        listening.shutdown(socket.SHUT_RDWR)
        accepting.join()


def accept_all(
    listening: socket.socket, context: ssl.SSLContext, port: int, open_sockets: ExitStack
) -> None:
    while True:
        try:
            accepted, _ = listening.accept()
        except OSError:
            return
        try:
            secret = context.wrap_socket(accepted, server_side=True)
        except OSError:
            accepted.close()
            continue
        plain = socket.create_connection(("127.0.0.1", port))
        for one in (secret, plain):
            open_sockets.callback(one.close)
        for one, other in ((secret, plain), (plain, secret)):
            threading.Thread(target=forward, args=(one, other), daemon=True).start()


def forward(source: socket.socket, target: socket.socket) -> None:
    try:
        while content := source.recv(65536):
            target.sendall(content)
        target.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def test_line_runs_over_tls_and_trusts_only_the_certificate_given(
    server: Server, tmp_path: Path, openssl: str
) -> None:
    with tls_in_front_of(server("--save", ""), tmp_path, openssl) as (port, certificate):
        trusting = f"rediss://127.0.0.1:{port}?ssl_ca_certs={certificate}"
        prove_line(Access(trusting), tmp_path)
        with (
            pytest.raises(ConnectionLost, match="certificate"),
            linked(Access(f"rediss://127.0.0.1:{port}"), tmp_path),
        ):
            pass


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1", "redis+sentinel://127.0.0.1", "redis://127.0.0.1:port", "localhost:6379"],
)
def test_url_that_is_none_is_named(url: str) -> None:
    with pytest.raises(SettingsError, match="Redis URL"):
        open_client(Access(url))


def test_options_in_a_sentinel_url_reach_the_server_and_the_sentinels() -> None:
    url = "rediss+sentinel://one:1,two:2/line?ssl_ca_certs=/etc/plant.pem&health_check_interval=7"
    client = open_client(Access(url))
    options = client.connection_pool.connection_kwargs
    assert (options["ssl_ca_certs"], options["health_check_interval"]) == ("/etc/plant.pem", 7)
    asked = client.connection_pool.sentinel_manager.sentinels[1].connection_pool
    assert asked.connection_kwargs["ssl_ca_certs"] == "/etc/plant.pem"
    assert (asked.connection_kwargs["host"], asked.connection_kwargs["port"]) == ("two", 2)
    assert asked.connection_class is redis.SSLConnection
    client.close()


def test_program_is_not_held_up_by_a_server_that_hangs(binary: Path, tmp_path: Path) -> None:
    with embedded_url(tmp_path, server=binary) as url:
        server = int((tmp_path / "redis.pid").read_text())
        client = open_client(Access(url))
        plant = Plant(client, "line")
        plant.offer(1, 2)
        plant.judge()
        with Consumer("line", "plc", redis_url=url, from_start=True) as verdicts:
            first = verdicts.next(10.0)
            assert first is not None
            os.kill(server, signal.SIGSTOP)
            try:
                began = time.monotonic()
                verdicts.acknowledge(first)
                heard = [verdicts.next(0.1) for _ in range(5)]
                assert time.monotonic() - began < 5.0
            finally:
                os.kill(server, signal.SIGCONT)
            plant.offer(3)
            plant.judge()
            rest = [*heard, verdicts.next(15.0), verdicts.next(0.2)]
            assert [verdict.meta.seq for verdict in rest if verdict] == [2, 3]
        client.close()
