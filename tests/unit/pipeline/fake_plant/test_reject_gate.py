import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.bridge.report import Code
from pipeline.errors import SettingsError
from pipeline.fake_plant.conveyor import Conveyor, Trigger
from pipeline.fake_plant.process import read_trigger
from pipeline.fake_plant.reject_gate import BridgeImage, SlotImage

TRAVEL_MS = 500.0


def image(heartbeat: int, *slots: SlotImage, epoch: int = 1) -> BridgeImage:
    return BridgeImage(heartbeat, epoch, slots)


def slot(trigger_id: int, code: int = Code.OK, ms_left: int = 100, part: str = "") -> SlotImage:
    return SlotImage(trigger_id, code, ms_left, part or f"part-{trigger_id}")


def conveyor_with(truth: Code = Code.OK) -> Conveyor:
    conveyor = Conveyor(TRAVEL_MS)
    conveyor.scan(image(1), 0.0)
    conveyor.scan(image(2), 1.0)
    conveyor.trigger(Trigger(7, truth, "part-7", 400.0), 2.0)
    return conveyor


def test_part_is_rejected_without_any_verdict() -> None:
    conveyor = conveyor_with()
    conveyor.scan(image(3), 502.0)
    assert (conveyor.tally.rejected, conveyor.tally.rejected_without_need) == (1, 1)
    assert conveyor.tally.wrong == 0


def test_only_ok_of_its_own_trigger_id_lets_a_part_pass() -> None:
    for verdict, passed in ((slot(7), 1), (slot(8), 0), (slot(7, Code.NG), 0), (slot(7, 0), 0)):
        conveyor = conveyor_with()
        conveyor.scan(image(3, verdict), 10.0)
        conveyor.scan(image(4), 502.0)
        assert conveyor.tally.passed == passed


def test_ok_without_time_left_does_not_help() -> None:
    conveyor = conveyor_with()
    conveyor.scan(image(3, slot(7, ms_left=0)), 10.0)
    conveyor.scan(image(4, slot(7)), 11.0)
    conveyor.scan(image(5), 502.0)
    assert conveyor.tally.passed == 0


def test_slot_that_turns_stale_after_an_ok_does_not_take_it_back() -> None:
    conveyor = conveyor_with()
    conveyor.scan(image(3, slot(7)), 10.0)
    conveyor.scan(image(4, slot(7, Code.UNKNOWN, -5)), 410.0)
    conveyor.scan(image(5), 502.0)
    assert conveyor.tally.passed == 1


def test_verdicts_of_a_bridge_without_heartbeat_are_not_used() -> None:
    conveyor = conveyor_with()
    conveyor.scan(image(2, slot(7)), 502.0)
    assert conveyor.tally.passed == 0
    assert not conveyor.gate.alive


def test_first_read_alone_is_no_heartbeat() -> None:
    conveyor = Conveyor(TRAVEL_MS)
    conveyor.trigger(Trigger(7, Code.OK, "part-7", 400.0), 0.0)
    conveyor.scan(image(1, slot(7)), 1.0)
    conveyor.scan(None, 500.0)
    assert conveyor.tally.passed == 0


@pytest.mark.parametrize(
    ("truth", "verdict", "asked_ms", "name"),
    [
        (Code.NG, slot(7), 10.0, "passed_bad"),
        (Code.OK, slot(7), 403.0, "passed_late"),
        (Code.OK, slot(7, part="part-6"), 10.0, "passed_by_another"),
    ],
)
def test_each_wrong_actuation_is_counted_by_name(
    truth: Code, verdict: SlotImage, asked_ms: float, name: str
) -> None:
    conveyor = conveyor_with(truth)
    conveyor.scan(image(3), 5.0)
    conveyor.scan(image(4, verdict), asked_ms)
    conveyor.scan(image(5), 502.0)
    assert conveyor.tally.as_fields()[name] == conveyor.tally.wrong == 1
    assert conveyor.tally.examples == [f"{name}: 7 part-7"]


def test_acknowledged_is_the_newest_verdict_read() -> None:
    conveyor = conveyor_with()
    assert not conveyor.gate.has_read
    conveyor.scan(image(3, slot(9), slot(7), slot(8)), 10.0)
    assert (conveyor.gate.ack, conveyor.gate.epoch) == (9, 1)
    conveyor.scan(image(4, epoch=2), 11.0)
    assert not conveyor.gate.has_read


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(-5, 5)), max_size=30))
def test_no_part_passes_without_its_own_timely_ok(reads: list[tuple[int, int, int]]) -> None:
    conveyor = Conveyor(TRAVEL_MS)
    conveyor.scan(image(1), 0.0)
    for trigger_id in range(3):
        conveyor.trigger(Trigger(trigger_id, Code.OK, f"part-{trigger_id}", 400.0), 1.0)
    for at, (trigger_id, code, left) in enumerate(reads):
        conveyor.scan(image(at + 2, slot(trigger_id, code, left)), 2.0 + at)
    conveyor.scan(None, 600.0)
    first: dict[int, bool] = {}
    for trigger_id, code, left in reads:
        if code:
            first.setdefault(trigger_id, code == Code.OK and left > 0)
    assert conveyor.tally.passed == sum(first.get(trigger_id, False) for trigger_id in range(3))
    assert conveyor.tally.passed + conveyor.tally.rejected == conveyor.tally.parts == 3


@pytest.mark.parametrize("line", ["", "{}", "[]", '{"trigger_id": 1, "truth": "GOOD"}', "nonsense"])
def test_line_that_is_no_trigger_is_refused(line: str) -> None:
    with pytest.raises(SettingsError, match="no trigger"):
        read_trigger(line)
