import itertools
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
from rigs.missing import missing
from rigs.servers import SERVERS, find_server
from rigs.topology import Server, answers, free_port, wait_until

from pipeline.streams.connect import Access, Client, open_client
from pipeline.streams.embedded import embedded_url

_numbers = itertools.count()


def program_of(name: str) -> Path:
    """Find a server's program; where there is none, fail in CI and skip elsewhere."""
    found = find_server(name)
    if found is None:
        missing(f"no {name} to test on: install a redis-server of that version")
    return Path(str(found))


@pytest.fixture(scope="session", params=SERVERS)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    state = tmp_path_factory.mktemp(f"state-{request.param}")
    with embedded_url(state, server=program_of(request.param)) as found:
        yield found


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    opened = open_client(Access(url))
    yield opened
    opened.close()


@pytest.fixture
def line() -> str:
    """A line that no other test uses."""
    return f"line-{next(_numbers)}"


@pytest.fixture(params=SERVERS)
def binary(request: pytest.FixtureRequest) -> Path:
    return program_of(request.param)


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
