import select
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from rigs.bridge import Bridge, Clock, bridge
from rigs.line import Plant
from rigs.missing import missing
from rigs.topology import wait_until

from pipeline.bridge.face import Outcome
from pipeline.bridge.freshness import Freshness
from pipeline.bridge.gate_face import GateFace
from pipeline.bridge.modbus.face import modbus_face
from pipeline.bridge.modbus.layout import (
    PLC_START,
    READ_REGISTERS,
    StatusBit,
    Value,
    WordOrder,
    decode,
    encode_words,
    status_bits,
)
from pipeline.bridge.modbus.tcp import MOST_CONNECTIONS, ModbusClient, modbus_client
from pipeline.bridge.report import Code
from pipeline.errors import BridgeFailed, SettingsError
from pipeline.fake_plant.conveyor import Conveyor, Trigger
from pipeline.fake_plant.modbus_plc import ModbusPlc
from pipeline.frames import Decision, Reason
from pipeline.station.joiner import view_result
from pipeline.streams.connect import Access, Client, open_client
from pipeline.streams.embedded import embedded_url, find_server, revive, stop
from pipeline.streams.keys import Keys
from pipeline.streams.result_reader import ResultReader
from pipeline.streams.station.books import StationBooks, StationPlan


@pytest.fixture
def plant(client: Client, line: str) -> Plant:
    return Plant(client, line)


@contextmanager
def modbus_bridge(
    plant: Plant,
    url: str,
    *,
    order: WordOrder = WordOrder.ABCD,
    margin_ms: float = 0.0,
    cameras: tuple[str, ...] = ("cam", "side"),
) -> Iterator[tuple[Bridge, ModbusClient]]:
    freshness = Freshness(margin_ms)

    def face_of(now_ms: Clock) -> GateFace:
        return modbus_face(cameras, ("127.0.0.1", 0), [], order, freshness, 0.5, now_ms)

    with bridge(plant, url, face_of, freshness=freshness) as running:
        assert isinstance(running.face, GateFace)
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


def test_backlog_is_never_shown_and_all_of_it_is_acknowledged(plant: Plant, url: str) -> None:
    ResultReader(plant.client, plant.name).join("bridge", from_start=True)
    open_frames = Keys(plant.name).open
    plant.offer(*range(300), in_ns=20_000_000)
    plant.judge(Decision.OK)
    wait_until(lambda: plant.worker().expire() == 0 and not plant.client.zcard(open_frames))
    time.sleep(0.05)  # the deadlines pass
    with modbus_bridge(plant, url) as (running, plc):
        wait_until(lambda: len(running.figures.of(Outcome.STALE)) == 300)
        shown = header(plc)
        assert [shown[f"slot{at}_code"] for at in range(8)] == [0] * 8
        assert (shown["count_undelivered"], shown["newest_trigger_id"]) == (300, 0)
        wait_until(lambda: unacknowledged(plant) == 0)
        plant.offer(300)
        plant.judge(Decision.OK)
        wait_until(lambda: header(plc)["slot4_code"] == Code.OK)


def test_verdict_turns_unknown_in_its_slot_at_its_deadline(plant: Plant, url: str) -> None:
    with modbus_bridge(plant, url, margin_ms=30) as (running, plc):
        plant.offer(1, in_ns=1_500_000_000)
        plant.judge(Decision.OK)
        wait_until(lambda: header(plc)["slot1_code"] != 0)
        while (shown := header(plc))["slot1_code"] == Code.OK:
            assert int(shown["slot1_ms_left"]) > 0
        assert shown["slot1_code"] == 0x0603
        wait_until(lambda: running.figures.of(Outcome.UNCONFIRMED) == [1])
        wait_until(lambda: unacknowledged(plant) == 0)


def test_acknowledgement_of_what_was_never_shown_acknowledges_nothing(
    plant: Plant, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with modbus_bridge(plant, url) as (running, plc):
        plant.offer(4, 5)
        plant.judge(Decision.OK)
        wait_until(lambda: header(plc)["newest_trigger_id"] == 5)
        acknowledge(plc, 6)
        acknowledge(plc, 5 << 16)
        acknowledge(plc, 5, epoch=9)
        acknowledge(plc, 4)
        wait_until(lambda: unacknowledged(plant) == 1)
        acknowledge(plc, 3)
        acknowledge(plc, 5)
        wait_until(lambda: unacknowledged(plant) == 0)
        assert running.figures.of(Outcome.DELIVERED) == [4, 5]
    assert "plc.ack_ignored" in caplog.messages


@pytest.mark.parametrize("order", list(WordOrder))
def test_plc_with_either_word_order_reads_and_acknowledges(
    plant: Plant, url: str, order: WordOrder
) -> None:
    with modbus_bridge(plant, url, order=order) as (running, client):
        plant.offer(70_000)
        plant.judge(Decision.OK)
        wait_until(lambda: header(client, order)["newest_trigger_id"] == 70_000)
        plc, conveyor = ModbusPlc(client, 0, order), Conveyor(1.0)
        other = next(choice for choice in WordOrder if choice is not order)
        with pytest.raises(SettingsError, match="word-order"):
            ModbusPlc(client, 0, other).read()

        def confirmed() -> bool:
            conveyor.scan(plc.read(), time.monotonic() * 1e3)
            plc.write(conveyor.gate)
            return running.figures.of(Outcome.DELIVERED) == [70_000]

        wait_until(confirmed)


def test_fake_plant_passes_good_parts_and_rejects_all_others(plant: Plant, url: str) -> None:
    says = [Decision.OK, Decision.NG, Reason.ENGINE, Decision.OK]
    with modbus_bridge(plant, url) as (_, client):
        plc, conveyor = ModbusPlc(client, 0, WordOrder.ABCD), Conveyor(400.0)
        for seq in range(40):
            now_ms = time.monotonic() * 1e3
            truth = Code.OK if says[seq % 4] is Decision.OK else Code.NG
            conveyor.trigger(Trigger(seq, truth, f"part-{seq}", 2000.0), now_ms)
            plant.offer(seq, in_ns=2_000_000_000)
            if seq % 10 != 9:  # one in ten is never answered
                plant.judge(says[seq % 4])
            conveyor.scan(plc.read(), now_ms)
            plc.write(conveyor.gate)
        while conveyor.gate.on_belt:
            conveyor.scan(plc.read(), time.monotonic() * 1e3)
            plc.write(conveyor.gate)
    tally = conveyor.tally
    assert tally.wrong == 0, tally.examples
    assert tally.passed + tally.rejected == tally.parts == 40
    assert tally.passed > 0
    assert tally.rejected >= 20


def test_station_is_a_camera_of_its_own_with_one_verdict_per_part(
    client: Client, line: str, url: str
) -> None:
    views = [Plant(client, f"{line}-left"), Plant(client, f"{line}-right")]
    plan = StationPlan(f"{line}-station", (views[0].name, views[1].name))
    books = StationBooks(client, plan)
    positions = books.open(from_start=True)
    station = Plant(client, plan.station)
    with modbus_bridge(station, url, cameras=(plan.station,)) as (running, plc):
        for view, decision in zip(views, (Decision.OK, Decision.NG), strict=True):
            view.offer(7)
            view.judge(decision)
            found = books.read(view.name, positions[view.name], 100, 1)
            books.join([view_result(plan, view.name, result) for result in found])
        wait_until(lambda: header(plc)["slot7_code"] == Code.NG)
        assert header(plc)["count_ng"] == header(plc)["newest_trigger_id"] - 6 == 1
        acknowledge(plc, 7)
        wait_until(lambda: running.figures.of(Outcome.DELIVERED) == [7])


def test_command_is_echoed_and_clears_the_stop_signal_once(plant: Plant, url: str) -> None:
    with modbus_bridge(plant, url) as (_, plc):
        plc.write(PLC_START + 4, [1])
        wait_until(lambda: plc.read(PLC_START + 6, 2) == [1, 1])
        plc.write(PLC_START + 4, [0])
        wait_until(lambda: plc.read(PLC_START + 6, 2) == [0, 0])
        plc.write(PLC_START + 4, [99])
        wait_until(lambda: plc.read(PLC_START + 6, 2) == [99, 2])


def test_plc_whose_heartbeat_stops_is_shown_as_lost(plant: Plant, url: str) -> None:
    with modbus_bridge(plant, url) as (_, plc):
        for beat in range(1, 4):
            plc.write(PLC_START + 3, [beat])
        assert StatusBit.PLC_LOST not in status_bits(int(header(plc)["status"]))
        wait_until(lambda: StatusBit.PLC_LOST in status_bits(int(header(plc)["status"])))
        plc.write(PLC_START + 3, [9])
        wait_until(lambda: StatusBit.PLC_LOST not in status_bits(int(header(plc)["status"])))


def test_connections_beyond_the_limit_are_closed_and_the_others_served(
    plant: Plant, url: str
) -> None:
    with modbus_bridge(plant, url) as (running, plc), ExitStack() as opened:
        plc.read(0, 1)
        assert isinstance(running.face, GateFace)
        sockets = [
            opened.enter_context(socket.create_connection(("127.0.0.1", running.face.port), 5))
            for _ in range(MOST_CONNECTIONS)
        ]
        readable, _, _ = select.select(sockets, [], [], 10)
        assert [each.recv(1) for each in readable] == [b""]
        plc.read(0, 1)


def test_heartbeat_stands_still_while_redis_is_away_and_goes_on_after(tmp_path: Path) -> None:
    server = find_server()
    with embedded_url(tmp_path, server=server) as url:
        client = open_client(Access(url))
        plant = Plant(client, "line")
        with modbus_bridge(plant, url) as (running, plc):
            plant.offer(1)
            plant.judge(Decision.OK)
            wait_until(lambda: header(plc)["slot1_code"] == Code.OK)
            stop(tmp_path)
            wait_until(lambda: header(plc)["error_code"] == 1)
            before = header(plc)
            assert StatusBit.READY not in status_bits(int(before["status"]))
            time.sleep(0.3)
            assert header(plc)["heartbeat"] == before["heartbeat"]
            acknowledge(plc, 1)
            revive(tmp_path, server=server)
            wait_until(lambda: header(plc)["heartbeat"] != before["heartbeat"])
            plant.offer(2)
            plant.judge(Decision.NG)
            wait_until(lambda: header(plc)["slot2_code"] == Code.NG)
            acknowledge(plc, 2)
            wait_until(lambda: running.figures.of(Outcome.DELIVERED) == [1, 2])
            wait_until(lambda: unacknowledged(plant) == 0)
        client.close()


def test_mbpoll_reads_the_map_and_is_refused_to_write_a_verdict(plant: Plant, url: str) -> None:
    mbpoll = shutil.which("mbpoll")
    if mbpoll is None:
        missing("no mbpoll: apt-get install mbpoll")
    with modbus_bridge(plant, url) as (running, plc):
        assert isinstance(running.face, GateFace)
        plant.offer(70_009)
        plant.judge(Decision.NG)
        wait_until(lambda: header(plc)["count_ng"] == 1)

        def poll(*words: str) -> str:
            command = [str(mbpoll), "-m", "tcp", "-p", str(running.face.port), "-a", "1", "-0"]  # type: ignore[attr-defined]
            tail = ["-1", "127.0.0.1"]
            at = words.index("--") if "--" in words else len(words)
            command += [*words[:at], *tail, *words[at + 1 :]]
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
            return done.stdout + done.stderr

        assert "[28]: \t70009" in poll("-r", "28", "-c", "1", "-t", "4:int", "-B")
        assert "[302]: \t12.5" in poll("-r", "302", "-c", "1", "-t", "4:float", "-B")
        assert "[28]: \t70009" in poll("-r", "28", "-c", "1", "-t", "3:int", "-B")
        assert "Illegal data address" in poll("-r", "18", "-t", "4", "--", "1")
        assert header(plc)["slot1_code"] == Code.NG
