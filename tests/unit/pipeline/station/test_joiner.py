from dataclasses import replace

import msgpack
import pytest

from pipeline.codecs import Codec
from pipeline.errors import ForeignVerdict, SettingsError
from pipeline.frames import Decision, FrameMeta, Reason
from pipeline.station.joiner import view_result
from pipeline.streams.result_reader import Result
from pipeline.streams.station.books import JoinKey, StationPlan
from pipeline.wire import FrameHeader, decode_frame_header, encode_frame_header
from pipeline.wire.views import decode_views, decode_waiting_entry

PLAN = StationPlan("station", ("left", "right"))
META = FrameMeta("cam", (1 << 61) + 7, "part-7", 5_000_000_000, 9_000_000_000, (0.1, 0.2))
HEADER = FrameHeader(META, Codec.JPEG, (40, 30))
RESULT = Result("7-0", "OK", "3-0", encode_frame_header(HEADER), b"judgement", due_ms=8_500)


def test_part_header_has_the_trigger_number_exactly() -> None:
    view = view_result(PLAN, "left", RESULT)
    header = decode_frame_header(b"".join(view.header))
    assert header == FrameHeader(replace(META, camera="station"), Codec.JPEG, (40, 30))
    assert (view.key, view.captured_ms, view.due_ms) == (f"t{META.seq}", 5_000, 8_500)


def test_part_id_leaves_the_number_to_the_station() -> None:
    plan = replace(PLAN, by=JoinKey.PART_ID)
    view = view_result(plan, "left", RESULT)
    assert (view.key, view.header[1]) == ("ppart-7", b"")
    number = msgpack.packb(41)
    assert decode_frame_header(view.header[0] + number).meta.seq == 41


def test_own_deadline_counts_from_the_first_capture_on_the_server_clock() -> None:
    """The server's clock is 500 ms behind the camera's: 9,000 there is 8,500 here."""
    view = view_result(replace(PLAN, deadline_ms=1_000), "left", RESULT)
    assert view.due_ms == 5_000 + 1_000 - 500


def test_result_without_a_frame_has_no_key() -> None:
    view = view_result(PLAN, "left", replace(RESULT, header=b"\xff"))
    assert (view.key, view.result_id, view.entry_id) == ("", "7-0", "3-0")


@pytest.mark.parametrize(
    ("station", "views", "said"),
    [
        ("station", (), "1 to 8 different views"),
        ("station", ("left", "left"), "1 to 8 different views"),
        ("station", tuple(f"view-{at}" for at in range(9)), "1 to 8 different views"),
        ("left", ("left", "right"), "one of its own views"),
        ("sta tion", ("left",), "use 1 to 64 letters"),
        ("station", ("le{ft",), "use 1 to 64 letters"),
    ],
)
def test_plan_that_no_station_can_follow(station: str, views: tuple[str, ...], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        StationPlan(station, views)


VIEW = ["left", "OK", "", "3-0", "cam", "2305843009213693959"]


def test_views_are_read() -> None:
    packed = msgpack.packb([VIEW, ["right", "LATE", "NEWER", "4-0", "cam", "8"]])
    left, right = decode_views(packed)
    assert (left.decision, left.reason, left.seq) == (Decision.OK, None, META.seq)
    assert (right.decision, right.reason) == (Decision.UNKNOWN, Reason.LATE)


def test_no_view_is_an_empty_map_to_the_server() -> None:
    assert decode_views(msgpack.packb({})) == ()


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"\xc1",
        msgpack.packb("views"),
        msgpack.packb([VIEW] * 65),
        msgpack.packb([VIEW[:5]]),
        msgpack.packb([[*VIEW[:5], "-1"]]),
        msgpack.packb([[*VIEW[:5], 7]]),
        msgpack.packb([["x" * 201, *VIEW[1:]]]),
        msgpack.packb({"left": 1}),
        b"\x91" * 2000,
        b"\xdd\xff\xff\xff\xff",
        b"x" * 65_537,
    ],
)
def test_foreign_views_are_refused(packed: bytes) -> None:
    with pytest.raises(ForeignVerdict):
        decode_views(packed)


@pytest.mark.parametrize("packed", [b"", b"\xc1", msgpack.packb([1]), msgpack.packb("x")])
def test_unreadable_entry_of_a_waiting_view_is_empty(packed: bytes) -> None:
    assert decode_waiting_entry(packed) == ""
