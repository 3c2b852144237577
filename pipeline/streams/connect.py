"""A Redis client from a URL, fit for a line: TLS, ACL users, Sentinel, Cluster.

redis://host:6379/0            rediss://host:6380/0 (TLS)       unix:///run/redis.sock?db=0
redis+sentinel://host1:26379,host2:26379/service-name           rediss+sentinel://... (TLS)
redis+cluster://host:6379      rediss+cluster://host:6379 (TLS)
An IPv6 address stands in brackets: redis+sentinel://[::1]:26379,[::2]:26379/service-name
Options of redis-py may follow as a query: rediss://host:6380/0?ssl_ca_certs=/etc/ssl/plant-ca.pem
and, where the server wants a client's certificate, ssl_certfile and ssl_keyfile.
"""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult

import redis
from redis._parsers import Encoder
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode, RedisCluster
from redis.connection import PythonRespSerializer, parse_url
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel

from pipeline.errors import ConnectionLost, RedisFull, RedisUnfit, SettingsError
from pipeline.streams.address import (
    PasswordFile,
    check_files,
    check_verification,
    host_port,
    split_url,
    user_of,
    without_user,
)

Client = Any  # redis.Redis or RedisCluster: redis-py's types mix all modes of all its clients
CONNECT_TIMEOUT_S = 2.0
REPLY_TIMEOUT_S = 3.0  # above every BLOCK; a half-open connection holds frames for so long
_PACK_BYTES = 6000  # what redis-py joins into one packet; larger fields go as they are
_ENCODER: Any = Encoder("utf-8", "strict", decode_responses=False)  # type: ignore[no-untyped-call]
_PASSING = (
    redis.ConnectionError,
    redis.TimeoutError,
    redis.ReadOnlyError,
    redis.exceptions.ClusterDownError,  # MASTERDOWN is one
    redis.exceptions.TryAgainError,
)
_PASSING_CODES = ("UNBLOCKED ", "BUSY ", "NOREPLICAS ")  # failover, a slow script, replicas away
_SCHEMES = "redis, rediss, unix, redis+sentinel, rediss+sentinel, redis+cluster, rediss+cluster"
_NO_PASSWORD = "no password was given: set PRN_REDIS_PASSWORD or --redis-password-file"  # noqa: S105
_HINTS = {
    "CERTIFICATE_VERIFY_FAILED": "name the authority that signed it: ?ssl_ca_certs=FILE",
    "NO_CERTIFICATE_OR_CRL_FOUND": "the file of ?ssl_ca_certs= holds no certificate",
    "CERTIFICATE_REQUIRED": "it wants a client's: ?ssl_certfile=FILE&ssl_keyfile=FILE",
    "handshake operation timed out": "a port without TLS? Then redis://, not rediss://",
}


@dataclass(frozen=True, slots=True)
class Access:
    """Where Redis is and who asks. An empty URL means the embedded server."""

    url: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    password_file: Path | None = None  # in place of `password`; read at every connection
    source: str = "PRN_REDIS_PASSWORD"  # where `password` comes from, for messages

    @property
    def shown(self) -> str:
        """The URL without its password, for logs."""
        parts = split_url(self.url)
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}{parts.path}"

    @property
    def advice(self) -> str:
        """What to look at where Redis refuses the password: what was really used."""
        url_user, has_password = user_of(self.url)
        user = f"user {self.username!r} (--redis-username)" if self.username else "the user"
        if url_user and (has_password or not self.username):
            user = f"user {url_user!r} (in the URL)"
        if self.password_file is not None:
            return (
                f"check {user} and the first line of {self.password_file} (--redis-password-file)"
            )
        if has_password:
            return f"check {user} and the password in the URL"
        if not self.password:
            return _NO_PASSWORD
        return f"check {user} and the password in {self.source}"


class _Refused(redis.AuthenticationError):
    """Redis refuses a password; the text says where that came from."""


@contextmanager
def _naming_password(access: Access) -> Iterator[None]:
    """Add to a refused password where it came from."""
    try:
        yield
    except redis.AuthenticationError as error:
        raise _Refused(f"{error}: {access.advice}") from error


class _Cluster(RedisCluster):
    """redis-py's, but says where a password came from that a node refuses."""

    def __init__(self, access: Access, **options: Any) -> None:  # noqa: ANN401  # redis-py's
        self._access = access
        super().__init__(**options)

    def on_connect(self, connection: Any) -> None:  # noqa: ANN401  # redis-py has several kinds
        """Authenticate."""
        with _naming_password(self._access):
            super().on_connect(connection)  # type: ignore[no-untyped-call]


def open_client(access: Access) -> Client:
    """Make a client; it connects at its first command.

    Raises:
        SettingsError: the URL is none of the forms above, names a file that is not there, or
            turns the check of the server's certificate off.
    """
    parts = split_url(access.url)
    check_files(parts.query)
    check_verification(parts.query)
    scheme = parts.scheme
    kind = scheme.removeprefix("rediss+").removeprefix("redis+")
    try:
        if kind == "sentinel":
            return _sentinel_client(access)
        if kind == "cluster":
            with translated():
                return _cluster_client(access)
        if scheme in {"redis", "rediss", "unix"}:
            return _plain_client(access)
    except (ValueError, TypeError) as error:
        raise SettingsError(f"Redis URL {access.shown}: {error}") from error
    raise SettingsError(f"Redis URL {access.shown}: known schemes are {_SCHEMES}")


def _plain_client(access: Access) -> Client:
    if access.password_file is None:
        return redis.Redis.from_url(access.url, **_options(access))
    url, user = without_user(access.url)  # redis-py takes the user from the one or the other
    return redis.Redis.from_url(url, **_options(replace(access, username=access.username or user)))


def _options(access: Access) -> dict[str, Any]:
    def authenticate(connection: Any) -> None:  # noqa: ANN401  # redis-py has several kinds
        with _naming_password(access):
            connection.on_connect()

    options: dict[str, Any] = {
        "protocol": 2,
        "redis_connect_func": authenticate,
        "socket_timeout": REPLY_TIMEOUT_S,
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),  # this project's own loops decide when to try again
        # hiredis copies a frame while it holds the GIL; this one sends large fields as they are
        "command_packer": PythonRespSerializer(_PACK_BYTES, _ENCODER.encode),
    }
    if access.password_file is not None:
        options["credential_provider"] = PasswordFile(access.username, access.password_file)
        return options
    if access.username:
        options["username"] = access.username
    if access.password:
        options["password"] = access.password
    return options


def _sentinel_client(access: Access) -> Client:
    parts = split_url(access.url)
    service = parts.path.strip("/")
    if not service:
        raise ValueError("name the service: redis+sentinel://host:26379/service-name")
    query = _query_options(parts)
    options = _options(access) | query
    options.pop("command_packer")
    hosts = [host_port(host, 26379) for host in parts.netloc.rpartition("@")[2].split(",")]
    tls = {name: query[name] for name in query if name.startswith("ssl")}
    sentinel_options: dict[str, Any] = {"socket_timeout": CONNECT_TIMEOUT_S, "protocol": 2}
    sentinel_options |= {"retry": Retry(NoBackoff(), 0), **tls}
    sentinel: Any = _Sentinels(hosts, sentinel_kwargs=sentinel_options, **options)  # type: ignore[no-untyped-call]
    return sentinel.master_for(service)


class _Sentinels(Sentinel):
    """redis-py's, but says why none of them gave the master."""

    def discover_master(self, service_name: str) -> Any:  # noqa: ANN401  # as redis-py has it
        """Return (host, port) of the master."""
        try:
            return super().discover_master(service_name)  # type: ignore[no-untyped-call]
        except MasterNotFoundError as error:
            reasons = "; ".join(map(_why_no_master, self.sentinels))
            raise MasterNotFoundError(f"no master {service_name!r}: {reasons}") from error


def _why_no_master(sentinel: Client) -> str:
    try:
        sentinel.ping()
    except redis.RedisError as error:
        return f"{error}{hint(error)}"
    options = sentinel.connection_pool.connection_kwargs
    return f"the Sentinel at {options['host']}:{options['port']} knows none that is up"


def _cluster_client(access: Access) -> RedisCluster:
    parts = split_url(access.url)
    options = _options(access) | _query_options(parts)
    for name in ("command_packer", "retry", "redis_connect_func"):
        options.pop(name)
    hosts = [host_port(host, 6379) for host in parts.netloc.rpartition("@")[2].split(",")]
    nodes = [ClusterNode(host, port) for host, port in hosts]  # type: ignore[no-untyped-call]
    return _Cluster(access, startup_nodes=nodes, **options)


def _query_options(parts: SplitResult) -> dict[str, Any]:
    """What the query of a Sentinel or Cluster URL sets, typed as redis-py does, and TLS."""
    scheme = parts.scheme.partition("+")[0]
    found = parse_url(f"{scheme}://host?{parts.query}")  # type: ignore[no-untyped-call]
    options: dict[str, Any] = dict(found)
    for name in ("host", "connection_class"):
        options.pop(name, None)
    if scheme == "rediss":
        options["ssl"] = True
    return options


@contextmanager
def translated() -> Iterator[None]:
    """Turn the errors of redis-py into the reactions they ask for.

    Raises:
        ConnectionLost: away, starting, failing over: wait and try again.
        RedisFull: out of memory.
        RedisUnfit: refuses this user or lacks a command.
    """
    try:
        yield
    except (redis.AuthenticationError, redis.exceptions.AuthorizationError) as error:
        raise _refused_user(error) from error
    except redis.exceptions.NoPermissionError as error:
        raise RedisUnfit(
            f"the Redis user lacks a right: {error}: grant ~{{line}}:* and +@all"
        ) from error
    except redis.OutOfMemoryError as error:
        raise RedisFull(f"Redis is out of memory: {error}") from error
    except _PASSING as error:
        raise ConnectionLost(f"Redis does not answer: {error}{hint(error)}") from error
    except redis.ResponseError as error:
        raise _response_error(error) from error
    except (redis.RedisError, redis.exceptions.RedisClusterException) as error:
        for link in _chain(error):  # a cluster's client wraps it
            if isinstance(link, redis.AuthenticationError):
                raise _refused_user(link) from error
        raise ConnectionLost(f"Redis does not answer: {error}{hint(error)}") from error


def _refused_user(error: Exception) -> RedisUnfit:
    if isinstance(error, _Refused):
        return RedisUnfit(f"Redis refuses this user: {error}")
    return RedisUnfit(f"Redis refuses this user: {error}: {_NO_PASSWORD}")


def _response_error(error: redis.ResponseError) -> Exception:
    text = str(error)
    if "OOM" in text or "out of memory" in text:
        return RedisFull(f"Redis is out of memory: {text}")
    if text.startswith(_PASSING_CODES):
        return ConnectionLost(f"Redis is not ready: {text}")
    if "MISCONF" in text:
        return RedisFull(f"Redis cannot write to its disk: {text}")
    return RedisUnfit(f"Redis refuses: {text}")


def check_server(client: Client) -> str:
    """Return the server's name and version; raise if a line must not use it.

    Returns: its name and version, as `valkey 9.1.2`.

    Raises:
        RedisUnfit: older than Redis 7.0, or it evicts keys when full.
        ConnectionLost: no answer, or a cluster that is changing.
    """
    with translated():
        servers, memories = ask_nodes(client, "server"), ask_nodes(client, "memory")
    if not servers or len(servers) != len(memories):
        raise ConnectionLost("the primaries of the Redis cluster are changing")
    names = [_check_node(*node) for node in zip(servers, memories, strict=True)]
    return names[0]


def ask_nodes(client: Client, section: str) -> list[dict[str, Any]]:
    """One section of INFO from the server, or from each primary of a cluster."""
    if not isinstance(client, RedisCluster):
        return [client.info(section)]
    found: dict[str, Any] = client.info(section, target_nodes=RedisCluster.PRIMARIES)
    nodes = list(found.values())
    by_node = all(isinstance(node, dict) for node in nodes)
    return nodes if by_node else [found]  # a single node answers for itself


@dataclass(frozen=True, slots=True)
class ReplicationStatus:
    """What a server says of its replicas."""

    is_replica: bool  # read-only: a line cannot write to it
    replicas: int  # that are connected to it
    waits_for_replicas: bool  # whether it refuses writes that no replica would have soon


def read_replication(client: Client) -> list[ReplicationStatus]:
    """Ask the server, or each primary of a cluster, for its role and its replicas.

    Raises:
        ConnectionLost, RedisUnfit: it does not answer, or refuses to.
    """
    with translated():
        nodes = ask_nodes(client, "replication")
    return [
        ReplicationStatus(
            is_replica=node.get("role") != "master",
            replicas=int(node.get("connected_slaves", 0)),
            waits_for_replicas="min_slaves_good_slaves" in node,  # said only where it is set
        )
        for node in nodes
    ]


def _check_node(about: dict[str, Any], memory: dict[str, Any]) -> str:
    name = str(about.get("server_name", "redis"))
    version = str(about.get(f"{name}_version", about.get("redis_version", "0")))
    if int(str(about.get("redis_version", "0")).split(".")[0]) < 7:  # noqa: PLR2004
        raise RedisUnfit(f"{name} {version} is too old: Redis 7.0 or newer, or Valkey, is needed")
    if (policy := memory.get("maxmemory_policy")) != "noeviction":
        raise RedisUnfit(
            f"this Redis evicts keys when it is full (maxmemory-policy {policy}) and would lose "
            "frames: set maxmemory-policy noeviction"
        )
    return f"{name} {version}"


def hint(error: BaseException) -> str:
    """Return what to do about an error that TLS caused, with a colon before it; else nothing."""
    said = " ".join(map(str, _chain(error)))
    return next((f": {words}" for code, words in _HINTS.items() if code in said), "")


def is_lasting(error: BaseException) -> bool:
    """Return whether a lost connection is a matter of settings, so that waiting does not help."""
    return any(isinstance(link, ssl.SSLCertVerificationError) for link in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
