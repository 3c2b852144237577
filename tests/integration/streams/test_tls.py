"""A line over TLS: plain, with client certificates, as an ACL user, behind Sentinel, on Cluster."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
from rigs.tls import Authority, Front, tls_front
from rigs.topology import Server, free_port, prove_line, raw_info, wait_until

from pipeline.errors import ConnectionLost, RedisUnfit, SettingsError
from pipeline.streams.connect import Access
from pipeline.streams.connection import open_connection


@pytest.fixture
def authority(openssl: str, tmp_path: Path) -> Authority:
    return Authority(openssl, tmp_path / "plant")


class Fronts:
    """Makes ports with TLS that live as long as a test."""

    def __init__(self, stack: ExitStack, authority: Authority) -> None:
        self._stack = stack
        self._authority = authority

    def __call__(self, plain_port: int = 0, *, asks_clients: bool = False) -> Front:
        context = self._authority.server_context(asks_clients=asks_clients)
        front = self._stack.enter_context(tls_front(context))
        front.plain_port = plain_port
        return front


@pytest.fixture
def fronts(authority: Authority) -> Iterator[Fronts]:
    with ExitStack() as stack:
        yield Fronts(stack, authority)


def refusal(access: Access, state: Path) -> str:
    refusals = (ConnectionLost, RedisUnfit, SettingsError)
    with pytest.raises(refusals) as refused, open_connection(access, state):
        pass
    assert len(str(refused.value)) < 400
    return str(refused.value)


def test_line_runs_over_tls(
    server: Server, fronts: Fronts, authority: Authority, tmp_path: Path
) -> None:
    front = fronts(server("--save", ""))
    url = f"rediss://127.0.0.1:{front.port}?ssl_ca_certs={authority.certificate}"
    prove_line(Access(url), tmp_path)
    assert front.secret_connections > 0


def test_certificate_of_another_authority_is_told_and_which_option_mends_it(
    server: Server, fronts: Fronts, openssl: str, tmp_path: Path
) -> None:
    url = f"rediss://127.0.0.1:{fronts(server('--save', '')).port}"
    other = Authority(openssl, tmp_path / "other").certificate
    for trusted in ("", f"?ssl_ca_certs={other}"):
        said = refusal(Access(url + trusted), tmp_path)
        assert "certificate" in said
        assert "ssl_ca_certs" in said


def test_file_that_holds_no_certificate_is_told(
    server: Server, fronts: Fronts, tmp_path: Path
) -> None:
    url = f"rediss://127.0.0.1:{fronts(server('--save', '')).port}?ssl_ca_certs="
    (tmp_path / "empty.pem").touch()
    for name in ("absent.pem", "empty.pem"):
        assert "ssl_ca_certs" in refusal(Access(f"{url}{tmp_path / name}"), tmp_path)


def test_tls_to_a_server_without_it_is_told(server: Server, tmp_path: Path) -> None:
    said = refusal(Access(f"rediss://127.0.0.1:{server('--save', '')}"), tmp_path)
    assert "redis://" in said


def test_line_runs_with_a_client_certificate_and_not_without(
    server: Server, fronts: Fronts, authority: Authority, tmp_path: Path
) -> None:
    port = fronts(server("--save", ""), asks_clients=True).port
    url = f"rediss://127.0.0.1:{port}?ssl_ca_certs={authority.certificate}"
    certificate, key = authority.issue("camera")
    prove_line(Access(f"{url}&ssl_certfile={certificate}&ssl_keyfile={key}"), tmp_path)
    assert "ssl_certfile" in refusal(Access(url), tmp_path)


def test_line_runs_as_an_acl_user_over_tls(
    server: Server, fronts: Fronts, authority: Authority, tmp_path: Path
) -> None:
    users = tmp_path / "users.conf"
    users.write_text("user default off\nuser line on >secret ~{line}:* +@all\n")
    front = fronts(server("--save", "", config=users))
    url = f"rediss://127.0.0.1:{front.port}?ssl_ca_certs={authority.certificate}"
    prove_line(Access(url, "line", "secret"), tmp_path)
    assert "PRN_REDIS_PASSWORD" in refusal(Access(url, "line", "wrong"), tmp_path)


def test_line_runs_behind_sentinel_over_tls(
    server: Server, fronts: Fronts, authority: Authority, tmp_path: Path
) -> None:
    master = fronts(server("--save", ""))
    config = tmp_path / "sentinel.conf"
    config.write_text(f"sentinel monitor line-redis 127.0.0.1 {master.port} 1\n")
    sentinel = fronts(server("--sentinel", config=config))
    url = f"rediss+sentinel://127.0.0.1:{sentinel.port}/line-redis"
    prove_line(Access(f"{url}?ssl_ca_certs={authority.certificate}"), tmp_path)
    assert sentinel.secret_connections > 0
    assert master.secret_connections > 0
    assert "ssl_ca_certs" in refusal(Access(url), tmp_path)


def test_line_runs_on_a_cluster_over_tls(
    server: Server, fronts: Fronts, authority: Authority, tmp_path: Path
) -> None:
    nodes = [cluster_node(server, fronts(), at) for at in range(2)]
    first, second = (redis.Redis(port=front.plain_port, protocol=2) for front, _ in nodes)
    first.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 8191)
    second.execute_command("CLUSTER", "ADDSLOTSRANGE", 8192, 16383)
    first.execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[1][0].plain_port, nodes[1][1])
    for node in (first, second):
        wait_until(lambda node=node: b"cluster_state:ok" in raw_info(node))  # type: ignore[misc]
        node.close()
    url = f"rediss+cluster://127.0.0.1:{nodes[0][0].port}"
    prove_line(Access(f"{url}?ssl_ca_certs={authority.certificate}"), tmp_path)
    assert all(front.secret_connections > 0 for front, _ in nodes)
    assert "ssl_ca_certs" in refusal(Access(url), tmp_path)


def cluster_node(server: Server, front: Front, number: int) -> tuple[Front, int]:
    """Start a node that tells clients the port with TLS; gives that one and its bus port."""
    bus = free_port()
    flags = ("--cluster-port", str(bus), "--cluster-config-file", f"nodes-{number}.conf")
    announced = (
        "--cluster-announce-port",
        str(front.port),
        "--cluster-announce-bus-port",
        str(bus),
    )
    front.plain_port = server("--cluster-enabled", "yes", "--save", "", *flags, *announced)
    return front, bus
