from dataclasses import replace

from fakes.swap import serving

from pipeline.streams.frame_consumer import Entry
from pipeline.worker.active_engine import InForce
from pipeline.worker.in_flight import Tray


def entries(*ids: str) -> list[Entry]:
    return [Entry(entry_id, b"", None, 0) for entry_id in ids]


def test_readers_together_never_reserve_more_than_there_is_room_for() -> None:
    tray = Tray(lambda: 4)
    with tray.reserved(0) as first, tray.reserved(0) as second, tray.reserved(0) as third:
        assert (first, second, third) == (2, 1, 1)
        with tray.reserved(0) as fourth:
            assert fourth == 0
    with tray.reserved(0) as again:
        assert again == 2


def test_entries_in_hand_take_room_until_they_are_answered() -> None:
    tray = Tray(lambda: 2)
    held = entries("1-0", "2-0")
    assert tray.take_in(held) == held
    with tray.reserved(0) as places:
        assert places == 0
    tray.answered(held[:1])
    with tray.reserved(0) as places:
        assert places == 1


def test_what_is_answered_meanwhile_is_noted() -> None:
    tray = Tray(lambda: 2)
    tray.take_in(entries("1-0", "2-0"))
    tray.answered(entries("1-0"))
    with tray.noting_answers() as answered:
        tray.answered(entries("2-0"))
        assert answered == {"2-0"}


def test_tray_holds_more_as_soon_as_the_engine_in_force_takes_more() -> None:
    in_force = InForce(serving("old"))
    tray = Tray(in_force.room)
    small = in_force.room()
    tray.take_in(entries(*map(str, range(small))))
    with tray.reserved(0.0) as places:
        assert places == 0
    in_force.take(replace(serving("new"), max_batch=16), on_probation=False)
    with tray.reserved(0.0) as places:
        assert places == (in_force.room() - small + 1) // 2
