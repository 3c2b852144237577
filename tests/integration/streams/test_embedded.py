import fcntl
import os
import signal
import threading
from pathlib import Path

import pytest

from pipeline.streams.connect import Access, Client, open_client
from pipeline.streams.embedded import embedded_url, is_running, revive


def server_pid(client: Client) -> int:
    return int(client.info("server")["process_id"])


def test_processes_of_one_state_share_a_server_and_the_last_one_stops_it(tmp_path: Path) -> None:
    with embedded_url(tmp_path) as first:
        with embedded_url(tmp_path) as second:
            assert first == second
        assert is_running(tmp_path)
    assert not is_running(tmp_path)


def test_server_that_is_too_busy_to_answer_is_not_joined_by_a_second(tmp_path: Path) -> None:
    with embedded_url(tmp_path) as url:
        client = open_client(Access(url))
        pid = server_pid(client)
        os.kill(pid, signal.SIGSTOP)
        waiting = threading.Thread(target=revive, args=(tmp_path,))
        waiting.start()
        waiting.join(3)
        assert waiting.is_alive(), "it did not wait for the server that lives"
        os.kill(pid, signal.SIGCONT)
        waiting.join(20)
        assert server_pid(client) == pid
        client.close()


def test_server_on_its_way_out_is_waited_for_and_then_replaced(tmp_path: Path) -> None:
    with (tmp_path / "server.lock").open("w") as leaving:  # it answers no more, but is not yet gone
        fcntl.flock(leaving, fcntl.LOCK_EX)
        gone = threading.Timer(0.5, fcntl.flock, (leaving, fcntl.LOCK_UN))
        gone.start()
        with embedded_url(tmp_path):
            assert is_running(tmp_path)
        gone.join()


@pytest.mark.parametrize("kills", [3])
def test_killed_server_comes_back_with_every_acknowledged_entry(tmp_path: Path, kills: int) -> None:
    with embedded_url(tmp_path) as url:
        client = open_client(Access(url))
        for kill in range(kills):
            for _ in range(500):
                client.xadd("stream", {"d": b"x" * 5000})
            os.kill(server_pid(client), signal.SIGKILL)
            several = [threading.Thread(target=revive, args=(tmp_path,)) for _ in range(4)]
            for thread in several:
                thread.start()
            for thread in several:
                thread.join()
            assert client.xlen("stream") == 500 * (kill + 1)
        client.close()


def test_path_too_long_for_a_socket_still_works(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 120)
    with embedded_url(deep) as url:
        client = open_client(Access(url))
        assert client.ping()
        client.close()
