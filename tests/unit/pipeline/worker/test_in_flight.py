from dataclasses import replace

from fakes.swap import serving

from pipeline.streams.frame_consumer import Entry
from pipeline.worker.active_engine import ActiveEngine
from pipeline.worker.in_flight import InFlight


def entries(*ids: str) -> list[Entry]:
    return [Entry(entry_id, b"", None, 0) for entry_id in ids]


def test_readers_together_never_reserve_more_than_there_is_room_for() -> None:
    in_flight = InFlight(lambda: 4)
    with (
        in_flight.reserve(0) as first,
        in_flight.reserve(0) as second,
        in_flight.reserve(0) as third,
    ):
        assert (first, second, third) == (2, 1, 1)
        with in_flight.reserve(0) as fourth:
            assert fourth == 0
    with in_flight.reserve(0) as again:
        assert again == 2


def test_entries_in_hand_take_room_until_they_are_answered() -> None:
    in_flight = InFlight(lambda: 2)
    held = entries("1-0", "2-0")
    assert in_flight.add_entries(held) == held
    with in_flight.reserve(0) as places:
        assert places == 0
    in_flight.remove(held[:1])
    with in_flight.reserve(0) as places:
        assert places == 1


def test_what_is_answered_meanwhile_is_noted() -> None:
    in_flight = InFlight(lambda: 2)
    in_flight.add_entries(entries("1-0", "2-0"))
    in_flight.remove(entries("1-0"))
    with in_flight.recording_answers() as answered:
        in_flight.remove(entries("2-0"))
        assert answered == {"2-0"}


def test_tray_holds_more_as_soon_as_the_engine_in_force_takes_more() -> None:
    active = ActiveEngine(serving("old"))
    in_flight = InFlight(active.capacity)
    small = active.capacity()
    in_flight.add_entries(entries(*map(str, range(small))))
    with in_flight.reserve(0.0) as places:
        assert places == 0
    active.activate(replace(serving("new"), max_batch=16), on_probation=False)
    with in_flight.reserve(0.0) as places:
        assert places == (active.capacity() - small + 1) // 2
