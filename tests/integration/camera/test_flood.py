"""Frames without a picture cost memory too: the byte budget bounds it."""

import logging
import threading
import time
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest

from pipeline.camera.offer import FrameOffer
from pipeline.camera.prepare import Preparation
from pipeline.camera.source import unreadable_shot
from pipeline.codecs import Codec
from pipeline.streams.connect import Access, Client
from pipeline.streams.connection import RedisConnection, open_connection
from pipeline.streams.frame_consumer import FrameConsumer
from pipeline.streams.frame_producer import FrameProducer
from pipeline.streams.keys import LineLimits

BUDGET_BYTES = 2 << 20
MINUTE_NS = 60 * 10**9


@pytest.fixture
def link(url: str, tmp_path: Path) -> Iterator[RedisConnection]:
    with open_connection(Access(url), tmp_path) as opened:
        yield opened


def used_bytes(client: Client) -> int:
    return int(client.info("memory")["used_memory"])


@pytest.mark.parametrize("reason", ["x", "x" * 1000])
def test_flood_of_frames_without_a_picture_stays_within_the_byte_budget(
    link: RedisConnection, line: str, reason: str
) -> None:
    logging.getLogger("pipeline.camera.offer").setLevel(logging.CRITICAL)
    limits = LineLimits(budget_bytes=BUDGET_BYTES)
    producer, frame_consumer = (
        FrameProducer(link.client, line, "cam", limits),
        FrameConsumer(link.client, line, "w", limits),
    )
    producer.join()
    stop = threading.Event()
    stop.set()  # so that a full line ends the offer instead of waiting
    offer = FrameOffer(producer, link, Preparation((8, 8)), Codec.RAW, 95, MINUTE_NS, stop)
    assert offer.offer(unreadable_shot(reason, time.time_ns()), 0, live=False)
    frame_consumer.read(1, 0)  # scripts and buffers of the connection are there from now on
    before = used_bytes(link.client)
    shots = (unreadable_shot(reason, time.time_ns()) for _ in range(20_000))
    takes = (offer.offer(shot, seq, live=False) for seq, shot in enumerate(shots, 1))
    admitted = sum(1 for _ in takewhile(bool, takes))
    while frame_consumer.read(1000, 0):
        pass  # in a worker's hands they take the most
    assert 1000 < admitted < BUDGET_BYTES // 512
    assert BUDGET_BYTES // 4 < used_bytes(link.client) - before <= BUDGET_BYTES
