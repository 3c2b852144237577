from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from rigs.bridge import Bridge, Clock, bridge
from rigs.line import Plant
from rigs.topology import wait_until

from pipeline.bridge.face import Outcome
from pipeline.bridge.freshness import Freshness
from pipeline.bridge.modbus.face import ModbusFace, modbus_face
from pipeline.bridge.modbus.layout import (
    PLC_START,
    READ_REGISTERS,
    Value,
    WordOrder,
    decode,
    encode_words,
)
from pipeline.bridge.modbus.tcp import ModbusClient, modbus_client
from pipeline.bridge.report import Code
from pipeline.errors import BridgeFailed
from pipeline.frames import Decision, Reason
from pipeline.streams.connect import Client
from pipeline.streams.keys import Keys


@pytest.fixture
def plant(client: Client, line: str) -> Plant:
    return Plant(client, line)


@contextmanager
def modbus_bridge(
    plant: Plant, url: str, *, order: WordOrder = WordOrder.ABCD, margin_ms: float = 0.0
) -> Iterator[tuple[Bridge, ModbusClient]]:
    freshness = Freshness(margin_ms)

    def face_of(now_ms: Clock) -> ModbusFace:
        return modbus_face(["cam", "side"], ("127.0.0.1", 0), [], order, freshness, 0.5, now_ms)

    with bridge(plant, url, face_of, freshness=freshness) as running:
        assert isinstance(running.face, ModbusFace)
        with modbus_client("127.0.0.1", running.face.port) as plc:
            yield running, plc


def header(plc: ModbusClient, order: WordOrder = WordOrder.ABCD) -> dict[str, Value]:
    return decode(plc.read(0, READ_REGISTERS), order)


def acknowledge(plc: ModbusClient, trigger_id: int, epoch: int = 1) -> None:
    plc.write(PLC_START, [*encode_words(trigger_id, WordOrder.ABCD), epoch])


def unacknowledged(plant: Plant) -> int:
    return int(plant.client.xpending(Keys(plant.name).results, "bridge")["pending"])


def test_verdicts_are_shown_in_their_slots_and_acknowledged_after_the_echo(
    plant: Plant, url: str
) -> None:
    with modbus_bridge(plant, url) as (running, plc):
        plant.offer(9, 10, 11)
        plant.judge(Decision.OK, count=1)
        plant.judge(Decision.NG, count=1)
        plant.judge(Reason.ENGINE)
        wait_until(lambda: header(plc)["newest_trigger_id"] == 11)
        shown = header(plc)
        assert [shown[f"slot{at}_trigger_id"] for at in (1, 2, 3)] == [9, 10, 11]
        assert [shown[f"slot{at}_code"] for at in range(8)] == [0, 1, 2, 0x0403, 0, 0, 0, 0]
        assert shown["slot1_part_id"] == "part-9"
        assert shown["slot1_score"] == 6000
        assert 0 < int(shown["slot1_ms_left"]) <= 32_767
        assert unacknowledged(plant) == 3
        acknowledge(plc, 10)
        wait_until(lambda: unacknowledged(plant) == 1)
        acknowledge(plc, 11)
        wait_until(lambda: unacknowledged(plant) == 0)
        assert running.figures.of(Outcome.DELIVERED) == [9, 10, 11]


def test_each_camera_has_its_block_a_thousand_registers_apart(plant: Plant, url: str) -> None:
    with modbus_bridge(plant, url) as (_, plc):
        plant.offer(3, camera="side")
        plant.judge(Decision.NG)
        wait_until(lambda: decode(plc.read(1000, READ_REGISTERS), WordOrder.ABCD)["count_ng"] == 1)
        assert header(plc)["count_ng"] == 0


def test_input_and_holding_registers_are_the_same(plant: Plant, url: str) -> None:
    with modbus_bridge(plant, url) as (_, plc):
        plant.offer(5)
        plant.judge(Decision.OK)
        wait_until(lambda: header(plc)["count_ok"] == 1)
        answer = plc._client.read_input_registers(16, count=96)
        names = [f"slot{at}_{name}" for at in range(8) for name in ("trigger_id", "code")]
        inputs = decode(answer.registers, WordOrder.ABCD, start=16)
        assert [inputs[name] for name in names] == [header(plc)[name] for name in names]


@pytest.mark.parametrize(
    ("first", "values"),
    [
        (0, [1]),
        (16, [0, 9, 1]),
        (199, [1, 2]),
        (205, [1, 2]),
        (206, [1]),
        (300, [1]),
        (1206, [1]),
        (5000, [1]),
    ],
)
def test_writes_outside_the_plcs_registers_are_refused_and_change_nothing(
    plant: Plant, url: str, first: int, values: list[int]
) -> None:
    with modbus_bridge(plant, url) as (_, plc):
        with pytest.raises(BridgeFailed, match="exception 2"):
            plc.write(first, values)
        shown = header(plc)
        assert [shown[f"slot{at}_code"] for at in range(8)] == [Code.NOTHING] * 8
        assert plc.read(PLC_START, 8) == [0] * 8


@pytest.mark.parametrize("function", ["read_coils", "read_discrete_inputs"])
def test_bits_are_refused(plant: Plant, url: str, function: str) -> None:
    with modbus_bridge(plant, url) as (_, plc):
        plc.read(0, 1)
        answer = getattr(plc._client, function)(0, count=1)
        assert answer.isError()
        assert answer.exception_code == 1
        assert plc._client.write_coil(200, True).isError()  # noqa: FBT003
