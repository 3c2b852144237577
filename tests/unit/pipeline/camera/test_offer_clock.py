"""The age of a frame is told by the monotonic clock, however the wall clock is set meanwhile."""

import threading
from collections.abc import Callable
from typing import TypeVar, cast

import numpy as np
import pytest

from engines.pictures.jpeg import JpegSetting
from pipeline.camera.offer import FrameOffer
from pipeline.camera.prepare import Preparation
from pipeline.camera.source import FixedSize, Shot, unreadable_shot
from pipeline.codecs import Codec
from pipeline.streams.connection import RedisConnection
from pipeline.streams.frame_producer import FrameProducer, OfferResult, Status
from pipeline.wire import decode_frame_header

DEADLINE_S = 2.0
Reply = TypeVar("Reply")
HOUR_NS = 3600 * 10**9
CAPTURED_NS = 1_764_140_000 * 10**9


class Server:
    """Admits every frame; refuses the first `full` offers for want of room."""

    camera = "cam"

    def __init__(self, full: int = 0) -> None:
        self.left_s: list[float] = []
        self.deadlines_ns: list[int] = []
        self._full = full

    def offer(
        self,
        seq: int,
        header: bytes,
        payload: bytes,
        charged: int,
        left_ns: int,
        cursor: str,
        *,
        shed: bool,
    ) -> OfferResult:
        assert (cursor, shed) == ("", False)
        assert (seq, len(payload) <= charged) == (1, True)
        self.left_s.append(left_ns / 1e9)
        self.deadlines_ns.append(decode_frame_header(header).meta.deadline_ns)
        if len(self.left_s) <= self._full:
            return OfferResult(Status.FULL, "0", ())
        return OfferResult(Status.ADMITTED, "1-0", ())

    def has_room(self, _: int) -> bool:
        return True


class Connection:
    """Answers at once."""

    def retry(self, action: Callable[[], Reply], _: Callable[[], bool]) -> Reply:
        return action()


def offer(server: Server, shot: Shot, clock_s: Callable[[], float]) -> None:
    offers = FrameOffer(
        cast("FrameProducer", server),
        cast("RedisConnection", Connection()),
        Preparation((8, 8)),
        Codec.RAW,
        JpegSetting(),
        int(DEADLINE_S * 1e9),
        threading.Event(),
        clock_s,
    )
    assert offers.offer(shot, 1, live=False)


@pytest.mark.parametrize("stepped_ns", [-HOUR_NS, -10 * 10**9, 0, 10 * 10**9, HOUR_NS])
def test_step_of_the_wall_clock_between_capture_and_offer_moves_no_deadline(
    stepped_ns: int,
) -> None:
    server, pixels = Server(), np.zeros((8, 8, 3), np.uint8)
    shot = Shot(pixels, CAPTURED_NS + stepped_ns, "part", "", captured_s=100.0)
    offer(server, shot, lambda: 100.5)
    assert server.left_s == pytest.approx([1.5])
    assert server.deadlines_ns == [CAPTURED_NS + stepped_ns + int(DEADLINE_S * 1e9)]


def test_age_of_a_frame_grows_while_it_waits_for_room() -> None:
    server, pixels = Server(full=1), np.zeros((8, 8, 3), np.uint8)
    times = iter([101.0, 103.5])
    offer(server, Shot(pixels, CAPTURED_NS, "part", "", captured_s=100.0), lambda: next(times))
    assert server.left_s == pytest.approx([1.0, -1.5])


def test_shot_that_turns_out_unreadable_is_as_old_as_before() -> None:
    size, wide = FixedSize("cam"), np.zeros((8, 9, 3), np.uint8)
    size.check(Shot(np.zeros((8, 8, 3), np.uint8), 1, "", "", captured_s=1.0))
    refused = size.check(Shot(wide, 2, "part", "cursor", captured_s=2.0))
    assert (refused.captured_ns, refused.captured_s, refused.part_id) == (2, 2.0, "part")
    assert refused.unreadable
    server = Server()
    offer(server, unreadable_shot("torn", CAPTURED_NS, captured_s=99.0), lambda: 100.0)
    assert server.left_s == pytest.approx([1.0])
