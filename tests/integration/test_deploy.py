import subprocess
from pathlib import Path

import pytest
from servers import SERVERS

from pipeline.streams.connect import Access, check_server, open_client

CONF = Path(__file__).parents[2] / "deploy" / "redis.conf"


@pytest.mark.parametrize("name", SERVERS)
def test_redis_conf_is_accepted_and_keeps_every_frame(name: str, tmp_path: Path) -> None:
    socket = tmp_path / "s"
    flags = ["--port", "0", "--unixsocket", str(socket), "--dir", str(tmp_path)]
    with subprocess.Popen(
        [str(SERVERS[name]), str(CONF), *flags], stdout=subprocess.DEVNULL
    ) as server:
        try:
            while not socket.exists():
                assert server.poll() is None, f"{name} refused {CONF.name}"
            client = open_client(Access(f"unix://{socket}"))
            assert check_server(client)
            assert client.config_get("append*")["appendfsync"] == "always"
            assert client.config_get("hz")["hz"] == "100"
            client.close()
        finally:
            server.kill()
