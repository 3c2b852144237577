"""A network camera's process ends in order, whatever its stream does."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from rigs.processes import SIZE, WAIT_S, Plant, plant_in

from pipeline.commands.subprocesses import ChildProcess, wait_until


class Stream(BaseHTTPRequestHandler):
    """A motion JPEG camera; `/stalls` goes silent after some pictures, others never end."""

    def do_GET(self) -> None:
        """Send pictures until the client leaves."""
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
        self.end_headers()
        picture = cv2.imencode(".jpg", np.full((48, 64, 3), 200, np.uint8))[1].tobytes()
        part = (
            b"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture)
            + picture
            + b"\r\n"
        )
        number = 0
        try:
            while True:
                self.wfile.write(part)
                number += 1
                time.sleep(WAIT_S if self.path == "/stalls" and number == 12 else 0.02)
        except OSError:
            return

    def log_message(self, *_: object) -> None:
        """Suppress the log of requests."""


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    with plant_in(tmp_path) as opened:
        yield opened


@pytest.fixture
def stream_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stream)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def start(plant: Plant, address: str, *flags: str) -> ChildProcess:
    size = f"{SIZE}x{SIZE}"
    return plant.processes.start(
        "camera", "pipeline-camera", "--source", address, "--size", size, *flags
    )


def offered(plant: Plant) -> int:
    return sum(camera.offered for camera in plant.ledger.snapshot().cameras)


def test_network_camera_ends_with_status_0_after_its_count(plant: Plant, stream_url: str) -> None:
    camera = start(plant, stream_url, "--count", "10")
    assert camera.process.wait(WAIT_S) == 0, camera.log_tail()


@pytest.mark.parametrize("path", ["/endless", "/stalls"])
def test_network_camera_ends_with_status_0_on_sigterm(
    plant: Plant, stream_url: str, path: str
) -> None:
    camera = start(plant, stream_url + path)
    wait_until(lambda: offered(plant) > 3, WAIT_S, "pictures")
    camera.process.send_signal(signal.SIGTERM)
    assert camera.process.wait(WAIT_S) == 0, camera.log_tail()


@pytest.mark.parametrize(("code", "status"), [("0", 0), ("3", 3), ("'a sentence'", 1)])
def test_process_whose_device_hangs_ends_with_its_status(code: str, status: int) -> None:
    program = f"""
import sys, threading, time
from pipeline.camera.sources.live import hung_readers_left_behind
threading.Thread(target=time.sleep, args=(1000,), name="camera-read", daemon=True).start()
import atexit
atexit.register(print, "the interpreter ended")
with hung_readers_left_behind():
    sys.stdout.write("flushed ")
    sys.exit({code})
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (status, "flushed ")
    assert ("a sentence" in done.stderr) == (status == 1)
