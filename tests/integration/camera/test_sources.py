"""Cameras through the real libraries: a simulated GenICam camera, a stream that breaks off."""

import os
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.camera.open import SourceOptions, open_source
from pipeline.camera.sources.genicam import GenicamSource
from pipeline.errors import CameraLost

STREAMED = 40


def simulated_producer() -> Path:
    """The GenTL producer with simulated cameras that comes with the genicam wheel."""
    found = find_spec("genicam")
    file = Path(found.origin or "").with_name("viky.cti") if found else None
    if file is None or not file.is_file():
        if os.environ.get("CI") == "true":
            pytest.fail("the extra `genicam` is not installed, or its wheel has no simulation")
        pytest.skip("the extra `genicam` is not installed, or its wheel has no simulation")
    return file


def genicam_source(serial: str) -> GenicamSource:
    source = open_source(
        f"genicam:{serial}",
        SourceOptions(producers=(simulated_producer(),), timeout_s=5),
        threading.Event().wait,
    )
    assert isinstance(source, GenicamSource)
    return source


def test_a_simulated_genicam_camera_is_read_twice_in_a_row() -> None:
    for _ in range(2):
        shots = genicam_source("1").shots("")
        first, second = islice(shots, 2)
        shots.close()  # type: ignore[attr-defined]
        assert first.unreadable == second.unreadable == ""
        assert first.pixels.dtype == np.uint8
        assert first.pixels.shape == second.pixels.shape
        assert first.pixels.ndim == 3
        assert first.pixels.max() > first.pixels.min()
        assert second.captured_ns > first.captured_ns


def test_an_unknown_genicam_camera_is_lost_with_those_found() -> None:
    with pytest.raises(CameraLost, match=r"'none-such' \(found: 0, 1, 2\)"):
        next(genicam_source("none-such").shots(""))


class Stream(BaseHTTPRequestHandler):
    """A motion JPEG camera that breaks off after some pictures."""

    def do_GET(self) -> None:
        """Send the pictures."""
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
        self.end_headers()
        for number in range(STREAMED):
            picture = np.full((48, 64, 3), (0, 0, 5 * number), np.uint8)
            content = cv2.imencode(".jpg", picture)[1].tobytes()
            self.wfile.write(
                b"--picture\r\nContent-Type: image/jpeg\r\n"
                + f"Content-Length: {len(content)}\r\n\r\n".encode()
                + content
                + b"\r\n"
            )
            time.sleep(0.01)

    def log_message(self, *_: object) -> None:
        """Suppress the log of requests."""


@pytest.fixture
def stream_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Stream)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_network_stream_is_read_lost_and_read_again(stream_url: str) -> None:
    source = open_source(stream_url, SourceOptions(timeout_s=5), threading.Event().wait)
    for _ in range(2):
        reds = []
        try:
            for shot in source.shots(""):
                assert not shot.unreadable
                reds.append(int(shot.pixels[20, 20, 0]))
        except CameraLost as lost:
            assert "breaks off" in str(lost)  # noqa: PT017  # the shots before count
        assert len(reds) > STREAMED // 2
        assert reds == sorted(reds)


def test_a_network_camera_that_is_not_there_is_lost_in_time() -> None:
    source = open_source("http://127.0.0.1:9/", SourceOptions(timeout_s=3), threading.Event().wait)
    with pytest.raises(CameraLost, match="does not open"):
        next(source.shots(""))
