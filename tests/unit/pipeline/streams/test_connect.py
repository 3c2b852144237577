"""What Redis refuses with, as redis-py reads it: what passes is waited for, what lasts is told."""

from pathlib import Path

import pytest
from redis._parsers.base import BaseParser

from pipeline.errors import ConnectionLost, PipelineError, RedisFull, RedisUnfit, SettingsError
from pipeline.streams.connect import Access, open_client, translated

PASSING = [
    "CLUSTERDOWN The cluster is down",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "NOREPLICAS Not enough good replicas to write.",
    "LOADING Redis is loading the dataset in memory",
    "READONLY You can't write against a read only replica.",
]
FULL = [
    "OOM command not allowed when used memory > 'maxmemory'.",
    "MISCONF Errors writing to the AOF file: No space left on device",
]
LASTING = [
    "NOAUTH Authentication required.",
    "NOPERM this user has no permissions to run the 'xadd' command",
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    "ERR unknown command 'XADD'",
]


@pytest.mark.parametrize(
    ("said", "reaction"),
    [
        *((said, ConnectionLost) for said in PASSING),
        *((said, RedisFull) for said in FULL),
        *((said, RedisUnfit) for said in LASTING),
    ],
)
def test_each_refusal_has_its_reaction(said: str, reaction: type[PipelineError]) -> None:
    with pytest.raises(reaction), translated():
        raise BaseParser.parse_error(said)


HOSTS = [
    ("[::1]:26379", [("::1", 26379)]),
    ("[fe80::2]", [("fe80::2", 26379)]),
    ("10.0.0.1:1, 10.0.0.2 ,[::3]:3", [("10.0.0.1", 1), ("10.0.0.2", 26379), ("::3", 3)]),
    ("user:secret@[::1]:5,sentinel-b", [("::1", 5), ("sentinel-b", 26379)]),
]


@pytest.mark.parametrize(("written", "hosts"), HOSTS)
def test_sentinels_are_found_under_any_kind_of_address(
    written: str, hosts: list[tuple[str, int]]
) -> None:
    client = open_client(Access(f"redis+sentinel://{written}/plant"))
    asked = client.connection_pool.sentinel_manager.sentinels
    options = [sentinel.connection_pool.connection_kwargs for sentinel in asked]
    assert [(option["host"], option["port"]) for option in options] == hosts


@pytest.mark.parametrize("hosts", ["::1", "fe80::1:26379", "", "a,,b", "[::1", "a:port"])
@pytest.mark.parametrize("kind", ["sentinel", "cluster"])
def test_host_that_is_none_is_refused_in_one_sentence(hosts: str, kind: str) -> None:
    with pytest.raises(SettingsError, match=f"^Redis URL redis\\+{kind}://"):
        open_client(Access(f"redis+{kind}://{hosts}/plant"))


@pytest.mark.parametrize(
    "url", ["rediss://redis", "rediss+sentinel://a/plant", "rediss+cluster://a"]
)
@pytest.mark.parametrize("off", ["ssl_cert_reqs=none", "ssl_check_hostname=False"])
def test_url_under_which_any_server_would_do_is_refused(url: str, off: str) -> None:
    with pytest.raises(SettingsError, match="ssl_ca_certs"):
        open_client(Access(f"{url}?{off}"))


def test_password_file_is_read_at_every_connection(tmp_path: Path) -> None:
    path = tmp_path / "password"
    client = open_client(Access("redis://line@redis:6379/0", password_file=path))
    provider = client.connection_pool.connection_kwargs["credential_provider"]
    path.write_text("old\n")
    assert provider.get_credentials() == ("line", "old")
    path.write_text("new\r\nrest")
    assert provider.get_credentials() == ("line", "new")
    path.unlink()
    with pytest.raises(ConnectionLost, match="password file"), translated():
        provider.get_credentials()
