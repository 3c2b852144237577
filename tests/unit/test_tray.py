from pipeline.streams.work import Entry
from pipeline.worker.tray import Tray


def entries(*ids: str) -> list[Entry]:
    return [Entry(entry_id, b"", None, 0) for entry_id in ids]


def test_readers_together_never_reserve_more_than_there_is_room_for() -> None:
    tray = Tray(4)
    with tray.reserved(0) as first, tray.reserved(0) as second, tray.reserved(0) as third:
        assert (first, second, third) == (2, 1, 1)
        with tray.reserved(0) as fourth:
            assert fourth == 0
    with tray.reserved(0) as again:
        assert again == 2


def test_entries_in_hand_take_room_until_they_are_answered() -> None:
    tray = Tray(2)
    held = entries("1-0", "2-0")
    assert tray.take_in(held) == held
    with tray.reserved(0) as places:
        assert places == 0
    tray.answered(held[:1])
    with tray.reserved(0) as places:
        assert places == 1


def test_what_is_answered_meanwhile_is_noted() -> None:
    tray = Tray(2)
    tray.take_in(entries("1-0", "2-0"))
    tray.answered(entries("1-0"))
    with tray.noting_answers() as answered:
        tray.answered(entries("2-0"))
        assert answered == {"2-0"}
