import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.streams.rollback.marks import (
    LostWrites,
    Marks,
    find_lost_writes,
    pack_record,
    unpack_record,
)


def at(looks: int, published: int = 0, **cameras: int) -> Marks:
    return Marks(looks, published, cameras)


def test_books_that_went_on_are_no_rollback() -> None:
    known = at(7, 100, cam=50)
    for now in (at(0, 100, cam=50), at(0, 180, cam=90, other=3)):
        assert find_lost_writes(known, at(7, 90, cam=40), now) is None
        assert find_lost_writes(known, at(9, 90, cam=40), now) is None  # our file is older


def test_first_look_accuses_nobody() -> None:
    assert find_lost_writes(Marks(), None, at(0, 5, cam=4)) is None


def test_books_behind_what_was_seen_since_the_last_note_lost_what_lies_between() -> None:
    known, noted = at(7, 100, cam=154), at(7, 70, cam=79)
    found = find_lost_writes(known, noted, at(0, 75, cam=90))
    assert found == LostWrites((71, 100), (("cam", 79, 154),))


def test_older_note_shows_a_rollback_though_the_camera_has_caught_up() -> None:
    known = at(9, 100, cam=154, other=8)
    found = find_lost_writes(known, at(4, 60, cam=79, other=8), at(0, 300, cam=400, other=8))
    assert found == LostWrites((61, 100), (("cam", 79, 154),))


def test_lost_note_of_a_line_where_nothing_passed_is_a_rollback_without_parts() -> None:
    known = at(9, 100, cam=154)
    assert find_lost_writes(known, at(4, 100, cam=154), at(0, 100, cam=154)) == LostWrites()


def test_without_a_note_all_that_was_reached_again_may_be_lost() -> None:
    known = at(9, 100, cam=154, other=8)
    found = find_lost_writes(known, None, at(0, 40, cam=160, other=2))
    assert found == LostWrites((41, 100), (("cam", -1, 154), ("other", 2, 8)))


def test_note_that_may_have_been_dropped_proves_nothing() -> None:
    known = at(9, 100, cam=154)
    assert find_lost_writes(known, None, at(0, 100, cam=160), pruned=True) is None
    assert find_lost_writes(known, None, at(0, 100, cam=100), pruned=True) == LostWrites(
        None, (("cam", 100, 154),)
    )


def test_own_camera_is_exact_as_nobody_else_offers_in_its_name() -> None:
    known, noted = at(7, 0, cam=154), at(7, 0, cam=79)
    assert find_lost_writes(known, noted, at(0, 0, cam=90), own="cam") == LostWrites(
        None, (("cam", 90, 154),)
    )


def test_line_that_was_emptied_lost_everything() -> None:
    found = find_lost_writes(at(3, 20, cam=9), None, Marks())
    assert found == LostWrites((1, 20), (("cam", -1, 9),))


positions = st.builds(
    Marks,
    looks=st.integers(0, 2**40),
    published=st.integers(0, 2**62),
    cameras=st.dictionaries(st.sampled_from(["a", "b", "c-1"]), st.integers(-1, 2**62)),
)


@given(positions)
def test_marks_survive_the_books(marks: Marks) -> None:
    assert Marks.unpack(marks.pack()) == marks


@given(positions, positions, positions)
def test_what_is_lost_lies_within_what_was_known(known: Marks, noted: Marks, now: Marks) -> None:
    found = find_lost_writes(known, noted, now)
    for camera, after, last in found.frames if found else ():
        assert -1 <= after < last == known.cameras[camera]
    if found and found.verdicts:
        assert 1 <= found.verdicts[0] <= found.verdicts[1] == known.published


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"looks":1,"published":-2,"cameras":{}}',
        b'{"looks":true,"published":1,"cameras":{}}',
        b'{"looks":1,"published":1,"cameras":{"a":1.5}}',
        b'{"looks":1,"published":1,"cameras":{"":1}}',
        b'{"looks":1,"published":1,"cameras":{"a b":1}}',
        b'{"looks":1,"published":1,"cameras":{"a":"9223372036854775808"}}',
    ],
)
def test_damaged_marks_are_none(raw: bytes) -> None:
    assert Marks.unpack(raw) is None


def test_record_says_when_who_and_what() -> None:
    rollback = LostWrites((3, 9), (("cam", -1, 2**62),))
    record = unpack_record(b"1700 " + pack_record("worker w", rollback))
    assert (record.at_ms, record.by, record.lost) == (1700, "worker w", rollback)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"x {}",
        b"1 []",
        b'1 {"by":"w","verdicts":[1],"frames":[["../x",1,2]]}',
        b'1 {"by":"w","verdicts":null,"frames":[["cam",1]]}',
    ],
)
def test_damaged_record_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"no record|expected"):
        unpack_record(raw)
