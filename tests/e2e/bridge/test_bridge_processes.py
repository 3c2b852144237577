"""Bridge and fake PLC as processes of their own on a line in this one."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rigs.line import Plant, head_of, say
from rigs.topology import free_port, wait_until

from pipeline.bridge.modbus.layout import READ_REGISTERS, WordOrder, decode
from pipeline.bridge.modbus.tcp import ModbusClient, modbus_client
from pipeline.bridge.report import Code
from pipeline.errors import BridgeFailed
from pipeline.frames import Decision
from pipeline.streams.connect import Access, open_client
from pipeline.streams.embedded import embedded_url
from pipeline.streams.frame_consumer import FrameConsumer
from pipeline.streams.frame_producer import FrameProducer
from pipeline.wire import encode_report

PARTS = 200
TRAVEL_MS, DEADLINE_MS = 1500, 1200
EVERY_S = 0.02


def command(name: str, *flags: str) -> list[str]:
    return [sys.executable, "-c", f"from pipeline.cli import {name}; {name}()", *flags]


@contextmanager
def started(words: list[str], log: Path) -> Iterator["subprocess.Popen[str]"]:
    with log.open("ab") as stderr:
        process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def heartbeat(client: ModbusClient) -> int:
    try:
        return int(decode(client.read(0, READ_REGISTERS), WordOrder.ABCD)["heartbeat"])
    except BridgeFailed:
        return 0


def test_no_wrong_actuation_though_the_bridge_is_killed_among_the_parts(tmp_path: Path) -> None:
    port = free_port()
    log = tmp_path / "log"
    with embedded_url(tmp_path / "redis") as url, modbus_client("127.0.0.1", port) as client:
        redis = open_client(Access(url))
        plant = Plant(redis, "line-1")
        camera, worker = plant.camera(), plant.worker("alive")
        worker.send_heartbeat(encode_report({"engine": "fixed"}), 600_000)
        flags = ["--to", "modbus", "--cameras", "cam", "--listen", f"127.0.0.1:{port}"]
        words = command("bridge", *flags, "--redis-url", url, "--log-format", "json")
        plc = command("fake_plc", "--connect", f"127.0.0.1:{port}", "--travel-ms", str(TRAVEL_MS))
        with started(plc, log) as fake_plc:
            with started(words, log) as bridge:
                wait_until(lambda: heartbeat(client) > 1)
                pass_parts(camera, worker, fake_plc, range(PARTS // 2))
                bridge.send_signal(signal.SIGKILL)
                bridge.wait(10)
            pass_parts(camera, worker, fake_plc, range(PARTS // 2, PARTS // 2 + 20))
            with started(words, log) as bridge:
                wait_until(lambda: heartbeat(client) > 1)
                pass_parts(camera, worker, fake_plc, range(PARTS // 2 + 20, PARTS))
                printed, _ = fake_plc.communicate(timeout=60)
                bridge.send_signal(signal.SIGTERM)
                assert bridge.wait(20) == 0, log.read_text()
        redis.close()
    tally = json.loads(printed)
    assert tally["wrong"] == 0, tally
    assert tally["parts"] == tally["passed"] + tally["rejected"] == PARTS
    assert tally["passed"] > 0
    assert fake_plc.returncode == 0


def pass_parts(
    camera: FrameProducer, worker: FrameConsumer, fake_plc: "subprocess.Popen[str]", seqs: range
) -> None:
    """Offer parts and answer them at once: every fourth is bad."""
    assert fake_plc.stdin is not None
    began_s = time.monotonic()
    for at, seq in enumerate(seqs):
        time.sleep(max(0.0, began_s + at * EVERY_S - time.monotonic()))
        bad = seq % 4 == 0
        trigger = {
            "trigger_id": seq,
            "truth": Code.NG.name if bad else Code.OK.name,
            "part_id": f"part-{seq}",
            "deadline_ms": DEADLINE_MS,
        }
        fake_plc.stdin.write(json.dumps(trigger) + "\n")
        fake_plc.stdin.flush()
        left_ns = DEADLINE_MS * 1_000_000
        header = head_of("cam", seq, time.time_ns() + left_ns)
        camera.offer(seq, header, b"x" * 100, 100, left_ns, "", shed=False)
        decision = Decision.NG if bad else Decision.OK
        worker.answer([say(entry, decision) for entry in worker.read(8, 0)])
