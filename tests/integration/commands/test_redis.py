import signal
import subprocess
import sys
from pathlib import Path

from pipeline.streams.connect import Access, open_client
from pipeline.streams.embedded import embedded_url, is_running

COMMAND = [sys.executable, "-c", "from pipeline.cli import redis; redis()"]


def started(state: Path) -> "subprocess.Popen[str]":
    command = [*COMMAND, "--state-dir", str(state)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_server_stays_until_it_is_told_to_end_and_keeps_its_data(tmp_path: Path) -> None:
    with started(tmp_path) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with embedded_url(tmp_path) as same:
            assert same == url
        client = open_client(Access(url))
        client.set("kept", 1)
        client.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    assert not is_running(tmp_path)
    with embedded_url(tmp_path) as url:
        client = open_client(Access(url))
        assert client.get("kept") == b"1"
        client.close()


def test_server_is_stopped_from_elsewhere(tmp_path: Path) -> None:
    stop = [*COMMAND, "--state-dir", str(tmp_path), "--stop"]
    with started(tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert subprocess.run(stop, check=False, capture_output=True).returncode == 0
        assert process.wait(timeout=30) == 1
        assert process.stderr is not None
        assert "is gone" in process.stderr.read()
    done = subprocess.run(stop, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "no server runs" in done.stderr
