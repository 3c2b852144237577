"""One server for the face of OPC UA: the tests of Modbus run the same pump on every server."""

from collections.abc import Iterator

import pytest
from rigs.servers import SERVERS, find_server

from pipeline.streams.embedded import embedded_url


@pytest.fixture(scope="session")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = next(found for name in reversed(SERVERS) if (found := find_server(name)))
    with embedded_url(tmp_path_factory.mktemp("state-opcua"), server=server) as found:
        yield found
