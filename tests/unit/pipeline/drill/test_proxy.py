"""The proxy of the drill, before an echoing server."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.drill.proxy import FaultyProxy

WAIT_S = 20.0


class Echo(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while chunk := self.request.recv(1024):
            self.request.sendall(chunk)


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[FaultyProxy]:
    with Server(str(tmp_path / "s"), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        opened = FaultyProxy(tmp_path / "s")
        with opened.running():
            yield opened
        server.shutdown()


def connect(proxy: FaultyProxy) -> socket.socket:
    port = int(proxy.url.rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)


def echoes(client: socket.socket) -> bool:
    client.sendall(b"hello")
    return client.recv(5) == b"hello"


def test_bytes_pass_both_ways_late_or_not(proxy: FaultyProxy) -> None:
    with connect(proxy) as client:
        assert echoes(client)
        proxy.delay_s = 0.01
        assert echoes(client)


def test_cut_connection_is_reset_and_a_new_one_passes(proxy: FaultyProxy) -> None:
    with connect(proxy) as client:
        assert echoes(client)
        assert proxy.cut() == 1
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with connect(proxy) as client:
        assert echoes(client)


def test_half_open_connection_says_nothing_and_a_new_one_passes(proxy: FaultyProxy) -> None:
    with connect(proxy) as client:
        assert echoes(client)
        assert proxy.swallow() == 1
        with connect(proxy) as other:
            assert echoes(other)
        client.settimeout(0.2)
        client.sendall(b"anyone?")
        with pytest.raises(TimeoutError):
            client.recv(1)


def test_server_that_is_away_ends_the_connection(tmp_path: Path) -> None:
    proxy = FaultyProxy(tmp_path / "nobody")
    with proxy.running(), connect(proxy) as client:
        assert client.recv(1) == b""
