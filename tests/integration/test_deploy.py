import subprocess
from pathlib import Path

import pytest
import redis
from rigs.line import Plant
from rigs.topology import Server, prove_line

from pipeline.streams.connect import Access, Client, check_server, open_client
from pipeline.streams.keys import GROUP, Keys, LineLimits

DEPLOY = Path(__file__).parents[2] / "deploy"
CONF = DEPLOY / "redis.conf"


def test_redis_conf_is_accepted_and_keeps_every_frame(binary: Path, tmp_path: Path) -> None:
    socket = tmp_path / "s"
    flags = ["--port", "0", "--unixsocket", str(socket), "--dir", str(tmp_path)]
    with subprocess.Popen([str(binary), str(CONF), *flags], stdout=subprocess.DEVNULL) as server:
        try:
            while not socket.exists():
                assert server.poll() is None, f"{binary} refused {CONF.name}"
            client = open_client(Access(f"unix://{socket}"))
            assert check_server(client)
            assert client.config_get("append*")["appendfsync"] == "always"
            assert client.config_get("hz")["hz"] == "100"
            client.close()
        finally:
            server.kill()


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """A folder as make-secrets fills it."""
    folder = tmp_path / "secrets"
    subprocess.run([DEPLOY / "bin" / "make-secrets", folder], check=True)
    return folder


@pytest.fixture
def guarded(server: Server, secrets: Path) -> int:
    """The port of a server with the configuration and the users of deploy/."""
    return server("--aclfile", str(secrets / "redis-users.acl"), config=CONF)


def test_line_runs_with_the_rights_that_deploy_gives_it(
    guarded: int, secrets: Path, tmp_path: Path
) -> None:
    password = (secrets / "redis-password").read_text()
    prove_line(Access(f"redis://127.0.0.1:{guarded}", "line", password), tmp_path)


def test_nobody_reads_the_line_without_its_password(guarded: int, secrets: Path) -> None:
    address = {"port": guarded, "protocol": 2}
    password = (secrets / "redis-password").read_text()
    with redis.Redis(**address) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    with redis.Redis(**address, username="watch", password="any") as probe:  # noqa: S106  # it has none
        assert probe.ping()
        assert int(probe.info("memory")["maxmemory"]) > 0
        with pytest.raises(redis.exceptions.NoPermissionError):
            probe.xlen("{line}:frames")
    with redis.Redis(**address, username="line", password=password) as line:
        for forbidden in (line.flushall, line.shutdown, lambda: line.config_set("maxmemory", 1)):
            with pytest.raises(redis.exceptions.NoPermissionError):
                forbidden()
        with pytest.raises(redis.exceptions.NoPermissionError):
            line.get("of-somebody-else")


def test_stream_is_as_long_as_the_register_also_where_its_lag_is_not_known(
    client: Client, line: str
) -> None:
    """What the scaler goes by: a full line sheds its oldest frames, and Redis knows no lag then."""
    plant, keys = Plant(client, line, LineLimits(budget_bytes=2000)), Keys(line)
    plant.offer(*range(3))
    plant.worker().read(1, 0)
    plant.offer(*range(3, 60), shed=True)
    (group,) = client.xinfo_groups(keys.frames)
    assert (group["name"], group["lag"]) == (GROUP.encode(), None)
    assert client.xlen(keys.frames) == client.zcard(keys.open) > 1
    plant.judge()
    plant.worker().answer([])
    assert client.xlen(keys.frames) == client.zcard(keys.open) == 1  # in the first worker's hands
