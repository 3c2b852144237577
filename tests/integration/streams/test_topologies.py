"""The same line on Cluster, behind Sentinel, with ACL users; and servers to refuse."""

import os
import signal
import time
from pathlib import Path

import pytest
import redis
from rigs.line import SOON_NS, Plant, head_of, say
from rigs.topology import Server, free_port, prove_line, raw_info, wait_until

from pipeline.commands.reconcile import reconcile
from pipeline.consumer import Consumer
from pipeline.errors import ConnectionLost, RedisFull, RedisUnfit, SettingsError
from pipeline.frames import Decision
from pipeline.settings import PASSWORD_VARIABLE, LineSettings
from pipeline.streams.connect import Access, check_server, open_client
from pipeline.streams.connection import open_connection
from pipeline.streams.embedded import embedded_url
from pipeline.streams.frame_producer import Status
from pipeline.streams.keys import LineLimits


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


@pytest.fixture
def sentinel(server: Server, tmp_path: Path) -> tuple[int, int]:
    """A master and the sentinel that watches it: their ports."""
    master = server("--save", "")
    config = tmp_path / "sentinel.conf"
    config.write_text(f"sentinel monitor line-redis 127.0.0.1 {master} 1\n")
    return master, server("--sentinel", config=config)


def test_line_runs_behind_sentinel(sentinel: tuple[int, int], tmp_path: Path) -> None:
    prove_line(Access(f"redis+sentinel://127.0.0.1:{sentinel[1]}/line-redis"), tmp_path)


def test_kept_connections_follow_a_failover(server: Server, tmp_path: Path) -> None:
    """The same camera and worker go on with the replica that Sentinel promoted."""
    first = server("--save", "")
    second = server("--save", "", "--replicaof", f"127.0.0.1 {first}")
    config = tmp_path / "sentinel.conf"
    config.write_text(
        f"sentinel monitor line-redis 127.0.0.1 {first} 1\n"
        "sentinel down-after-milliseconds line-redis 500\n"
        "sentinel failover-timeout line-redis 3000\n"
    )
    watcher = server("--sentinel", config=config)
    with (
        redis.Redis(port=first, protocol=2) as primary,
        redis.Redis(port=second, protocol=2) as replica,
        redis.Redis(port=watcher, protocol=2) as watching,
        open_connection(
            Access(f"redis+sentinel://127.0.0.1:{watcher}/line-redis"), tmp_path
        ) as connection,
    ):
        plant = Plant(connection.client, "line")
        camera, worker = plant.camera(), plant.worker()

        def offer(seq: int) -> Status:
            due = time.time_ns() + SOON_NS
            head = head_of("cam", seq, due)
            return camera.offer(seq, head, b"x" * 100, 100, SOON_NS, "", shed=False).status

        assert offer(1) is Status.ADMITTED
        assert worker.answer([say(entry, Decision.OK) for entry in worker.read(9, 0)]) == ["OK"]
        wait_until(lambda: bool(watching.sentinel_slaves("line-redis")))
        wait_until(lambda: replica.hget("{line}:counts", "OK") == b"1")
        primary.shutdown(nosave=True)
        never = bool
        assert connection.retry(lambda: offer(2), never) is Status.ADMITTED
        entries = connection.retry(lambda: worker.read(9, 0), never)
        assert len(entries) == 1
        said = [say(entry, Decision.OK) for entry in entries]
        assert connection.retry(lambda: worker.answer(said), never) == ["OK"]
        assert replica.hget("{line}:counts", "OK") == b"2"


def test_sentinel_that_does_not_know_the_service_is_named(
    sentinel: tuple[int, int], tmp_path: Path
) -> None:
    access = Access(f"redis+sentinel://127.0.0.1:{sentinel[1]}/other")
    known = "no master 'other'.*knows none that is up"
    with pytest.raises(ConnectionLost, match=known), open_connection(access, tmp_path):
        pass


@pytest.mark.parametrize("kind", ["sentinel", "cluster"])
def test_servers_that_do_not_answer_are_named(kind: str, tmp_path: Path) -> None:
    access = Access(f"redis+{kind}://127.0.0.1:1/line-redis")
    with (
        pytest.raises(ConnectionLost, match=r"127\.0\.0\.1:1") as lost,
        open_connection(access, tmp_path),
    ):
        pass
    assert len(str(lost.value)) < 300


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
    with pytest.raises(RedisUnfit, match="PRN_REDIS_PASSWORD"), open_connection(access, tmp_path):
        pass


def test_user_without_rights_on_the_line_is_told_which(guarded: str, tmp_path: Path) -> None:
    access = Access(guarded, "line", "secret")
    with open_connection(access, tmp_path) as connection, pytest.raises(RedisUnfit, match="grant"):
        Plant(connection.client, "other-line").camera()


def test_server_that_evicts_is_refused(server: Server, tmp_path: Path) -> None:
    port = server("--save", "", "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru")
    with (
        pytest.raises(RedisUnfit, match="noeviction"),
        open_connection(Access(f"redis://127.0.0.1:{port}"), tmp_path),
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
    plant = Plant(client, "line", LineLimits(budget_bytes=1 << 30))
    camera, due = plant.camera(), time.time_ns() + 60 * 10**9

    def offer(seq: int) -> Status:
        head = head_of("cam", seq, due)
        return camera.offer(seq, head, b"x" * 300_000, 300_000, 60 * 10**9, "", shed=False).status

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


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1", "redis+sentinel://127.0.0.1", "redis://127.0.0.1:port", "localhost:6379"],
)
def test_url_that_is_none_is_named(url: str) -> None:
    with pytest.raises(SettingsError, match="Redis URL"):
        open_client(Access(url))


def test_options_in_a_sentinel_url_reach_the_server_and_the_sentinels(tmp_path: Path) -> None:
    authority = tmp_path / "plant.pem"
    authority.touch()
    options = f"ssl_ca_certs={authority}&health_check_interval=7"
    url = f"rediss+sentinel://one:1,two:2/line?{options}"
    client = open_client(Access(url))
    got = client.connection_pool.connection_kwargs
    assert (got["ssl_ca_certs"], got["health_check_interval"]) == (str(authority), 7)
    asked = client.connection_pool.sentinel_manager.sentinels[1].connection_pool
    assert asked.connection_kwargs["ssl_ca_certs"] == str(authority)
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
