"""A camera process over a source that knows of triggers without a picture."""

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from rigs.line import Plant

from pipeline.camera.offer import FrameOffer
from pipeline.camera.process import CameraSettings, offer_all, preparation
from pipeline.camera.source import Shot
from pipeline.codecs import Codec
from pipeline.commands.reconcile import reconcile
from pipeline.errors import CameraLost
from pipeline.streams.connect import Access
from pipeline.streams.connection import open_connection

MINUTE_NS = 60 * 10**9


@dataclass
class DeviceThatRestarts:
    """Returns one list of shots, named by the triggers missed before each, then is lost once."""

    missed: list[list[int]]
    live: bool = True
    captured_ns: int = field(default_factory=time.time_ns)

    def shots(self, cursor: str) -> Iterator[Shot]:  # noqa: ARG002
        for missed in self.missed.pop(0):
            yield Shot(np.zeros((8, 8, 3), np.uint8), self.captured_ns, "", "", missed=missed)
        if self.missed:
            raise CameraLost("cable")

    def close(self) -> None:
        pass


def offer_from(source: DeviceThatRestarts, url: str, line: str, state: Path) -> Plant:
    settings = CameraSettings(source="genicam:", line=line, camera="cam", size="8x8")
    stop = threading.Event()
    with open_connection(Access(url), state) as connection:
        plant = Plant(connection.client, line)
        producer = plant.camera()
        offer = FrameOffer(
            producer, connection, preparation(settings), Codec.RAW, 95, MINUTE_NS, stop
        )
        assert offer_all(settings, source, offer, producer, connection, stop) == 0
    return plant


def test_lost_triggers_are_gaps_in_the_books_and_break_no_promise(
    url: str, line: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = DeviceThatRestarts([[0, 0, 2], [0, 1]])
    with caplog.at_level(logging.INFO, "pipeline.camera"):
        offer_from(source, url, line, tmp_path)
    lost = [record for record in caplog.records if record.message == "frames.lost"]
    assert [record.__dict__["frames"] for record in lost] == [2, 1]
    with open_connection(Access(url), tmp_path) as connection:
        plant = Plant(connection.client, line)
        plant.judge()
        report = reconcile(plant.ledger())
    (camera,) = report.cameras
    assert report.broken() == []
    assert camera.gaps == ((2, 3), (6, 6))
    assert (camera.offered, camera.answered, camera.lost) == (5, 5, 3)


def test_seq_goes_on_rising_in_the_next_process(url: str, line: str, tmp_path: Path) -> None:
    for _ in range(2):
        offer_from(DeviceThatRestarts([[0, 1]]), url, line, tmp_path)
    with open_connection(Access(url), tmp_path) as connection:
        (camera_ledger,) = Plant(connection.client, line).ledger().snapshot().cameras
    assert (camera_ledger.runs, camera_ledger.lost) == (((0, 0), (2, 3), (5, 5)), 2)
