"""A refused password: the error names where it came from, whoever asks, and what else to set."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import redis
from rigs.topology import WAIT_S, Server, free_port, wait_until

from pipeline.announce import announce
from pipeline.consumer import Consumer
from pipeline.errors import ConnectionLost, RedisUnfit
from pipeline.labels import Label, LabelBook, LabelKind
from pipeline.settings import LineSettings, RedisAccess, RedisArguments
from pipeline.streams.connect import Access
from trainer.retrain_settings import RetrainSettings

ADMIN = {"username": "line", "password": "right"}
SOURCES = (
    "PRN_REDIS_PASSWORD",
    "the argument",
    "secrets/redis",
    "the URL",
    "no password was given",
)


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users.conf"
    path.write_text("user default off\nuser line on >right ~* &* +@all\n")
    return path


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secrets" / "redis"
    path.parent.mkdir()
    path.write_text("wrong\n")
    path.chmod(0o600)
    return path


def named(access: RedisAccess | LineSettings) -> list[str]:
    """Connect, be refused, and return the sources that the error names."""
    with pytest.raises(RedisUnfit, match="Redis refuses this user") as refused, access.connect():
        pass
    said = str(refused.value)
    assert "wrong" not in re.sub("WRONGPASS|wrong number", "", said)
    return [source for source in SOURCES if source in said]


@pytest.mark.parametrize(
    ("given", "environment", "source"),
    [
        ({"password": "wrong"}, {"PRN_REDIS_PASSWORD": "right"}, "the argument"),
        ({}, {"PRN_REDIS_PASSWORD": "wrong"}, "PRN_REDIS_PASSWORD"),
        ({}, {"PRN_REDIS_PASSWORD": "right", "PRN_REDIS_PASSWORD_FILE": "FILE"}, "secrets/redis"),
        ({"password_file": "FILE"}, {"PRN_REDIS_PASSWORD": "right"}, "secrets/redis"),
        ({"redis_url": "redis://line:wrong@"}, {"PRN_REDIS_PASSWORD": "right"}, "the URL"),
    ],
)
def test_program_is_told_which_password_was_refused(
    server: Server,
    users: Path,
    secret: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: RedisArguments,
    environment: dict[str, str],
    source: str,
) -> None:
    port = server("--aclfile", str(users))
    for name, value in environment.items():
        monkeypatch.setenv(name, value.replace("FILE", str(secret)))
    url = given.get("redis_url", "redis://")
    where: RedisArguments = {"redis_url": f"{url}127.0.0.1:{port}", "username": "line"}
    if "password_file" in given:
        given = {"password_file": secret}
    assert named(RedisAccess.from_arguments({**given, **where})) == [source]


def test_command_is_told_which_password_was_refused(
    server: Server, users: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = server("--aclfile", str(users))
    flags = {"redis_url": f"redis://127.0.0.1:{port}", "redis_username": "line"}
    monkeypatch.setenv("PRN_REDIS_PASSWORD", "wrong")
    assert named(LineSettings(**flags)) == ["PRN_REDIS_PASSWORD"]
    assert named(LineSettings(**flags, redis_password_file=secret)) == ["secrets/redis"]
    monkeypatch.delenv("PRN_REDIS_PASSWORD")
    nothing = ["PRN_REDIS_PASSWORD", "no password was given"]  # what to set
    assert named(LineSettings(redis_url=flags["redis_url"])) == nothing


def test_node_of_a_cluster_names_it_too(server: Server, users: Path, secret: Path) -> None:
    bus = ("--cluster-port", str(free_port()))
    port = server("--cluster-enabled", "yes", *bus, "--aclfile", str(users))
    with redis.Redis(port=port, **ADMIN) as admin:
        admin.execute_command("CLUSTER ADDSLOTSRANGE", 0, 16383)
        wait_until(lambda: admin.cluster("INFO")["cluster_state"] == "ok")
    access = Access(f"redis+cluster://127.0.0.1:{port}", "line", password_file=secret)
    assert named(RedisAccess(access, Path())) == ["secrets/redis"]
    secret.write_text("right\n")
    with RedisAccess(access, Path()).connect() as connection:
        assert connection.client.ping()


def consume(where: RedisArguments) -> object:
    with Consumer("line", "plc", **where) as verdicts:
        return verdicts.next(0.0)


def label(where: RedisArguments) -> object:
    with LabelBook("line", **where) as book:
        return book.since()


def retrain(where: RedisArguments) -> object:
    settings = RetrainSettings(
        store=Path("store"),
        registry="registry",
        runs=Path("runs"),
        redis_url=where["redis_url"] or "",
        redis_username=where["username"],
        redis_password_file=where["password_file"],
    )
    with LabelBook("line", **settings.redis_arguments()) as book:
        return book.since()


@pytest.mark.parametrize("program", [consume, label, retrain])
def test_program_waits_for_redis_at_its_start(
    server: Server,
    users: Path,
    secret: Path,
    tmp_path: Path,
    program: Callable[[RedisArguments], object],
    caplog: pytest.LogCaptureFixture,
) -> None:
    secret.write_text("right\n")
    address = tmp_path / "redis.sock"
    where: RedisArguments = {
        "redis_url": f"unix://{address}",
        "username": "line",
        "password_file": secret,
    }
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(program, where)
        wait_until(lambda: any(row.message == "redis.awaited" for row in caplog.records))
        assert not running.done()
        server("--aclfile", str(users), "--unixsocket", str(address))
        running.result(WAIT_S)


def test_program_goes_on_under_a_new_password(server: Server, users: Path, secret: Path) -> None:
    port = server("--aclfile", str(users))
    secret.write_text("right\n")
    where: RedisArguments = {
        "redis_url": f"redis://127.0.0.1:{port}",
        "username": "line",
        "password_file": secret,
    }
    with (
        redis.Redis(port=port, **ADMIN) as admin,
        Consumer("line", "plc", **where) as verdicts,
        LabelBook("line", **where) as book,
    ):
        assert book.since() == []
        secret.write_text("new\n")
        admin.execute_command("ACL SETUSER", "line", ">new", "<right")
        admin.execute_command("CLIENT KILL", "USER", "line", "SKIPME", "yes")
        label_id = retry(lambda: book.send(Label("1764140000000-0", LabelKind.NORMAL)))
        assert [found for found, _ in book.since()] == [label_id]
        assert verdicts.next(0.0) is None
    with Consumer("line", "plc", **where) as verdicts:
        assert verdicts.next(0.0) is None


def retry(send: Callable[[], str]) -> str:
    """Send again after the connection was cut."""
    try:
        return send()
    except ConnectionLost:
        return send()


def test_message_after_a_promotion_waits_for_nobody(tmp_path: Path) -> None:
    with pytest.raises(ConnectionLost):
        announce("line", redis_url=f"unix://{tmp_path}/none.sock")
