"""Measure how many verdicts a polling Modbus client misses, and how old they are when it has them.

    PYTHONPATH=.:tests python tests/programs/bench_bridge.py --count 400 --polls 5,20,50,100

Verdicts are published at a fixed rate on an embedded server and pass the real SDK, pump and Modbus
face; the client never acknowledges, so nothing but the ring keeps them.
"""

import argparse
import json
import sys
import tempfile
import threading
import time
from pathlib import Path

from rigs.bridge import Clock, bridge
from rigs.line import SOON_NS, Plant, head_of, say

from pipeline.bridge.freshness import Freshness
from pipeline.bridge.gate_face import GateFace
from pipeline.bridge.modbus.face import modbus_face
from pipeline.bridge.modbus.layout import READ_REGISTERS, WordOrder, decode
from pipeline.bridge.modbus.tcp import modbus_client
from pipeline.frames import Decision
from pipeline.streams.connect import Access, open_client
from pipeline.streams.embedded import embedded_url

SETTLE_S = 0.5


def publish(plant: Plant, count: int, rate: float, published_s: dict[int, float]) -> None:
    """Publish verdicts 0..count-1, one after the other, on time."""
    camera, worker = plant.camera(), plant.worker("alive")
    began_s = time.monotonic()
    for seq in range(count):
        time.sleep(max(0.0, began_s + seq / rate - time.monotonic()))
        header = head_of("cam", seq, time.time_ns() + SOON_NS)
        camera.offer(seq, header, b"x" * 100, 100, SOON_NS, "", shed=False)
        entries = worker.read(1, 0)
        published_s[seq] = time.monotonic()
        worker.answer([say(entry, Decision.OK) for entry in entries])


def measure(url: str, name: str, count: int, rate: float, poll_ms: float) -> dict[str, float]:
    """Return what one run at one poll interval showed."""
    client = open_client(Access(url))
    plant = Plant(client, name)
    freshness, order = Freshness(), WordOrder.ABCD

    def face_of(now_ms: Clock) -> GateFace:
        return modbus_face(["cam"], ("127.0.0.1", 0), [], order, freshness, 1.0, now_ms)

    published_s: dict[int, float] = {}
    seen_s: dict[int, float] = {}
    with bridge(plant, url, face_of, freshness=freshness) as running:
        assert isinstance(running.face, GateFace)
        sender = threading.Thread(target=publish, args=(plant, count, rate, published_s))
        with modbus_client("127.0.0.1", running.face.port) as plc:
            plc.read(0, 1)
            sender.start()
            end_s = None
            while end_s is None or time.monotonic() < end_s:
                asked_s = time.monotonic()
                values = decode(plc.read(0, READ_REGISTERS), order)
                for at in range(8):
                    if values[f"slot{at}_code"]:
                        seen_s.setdefault(int(values[f"slot{at}_trigger_id"]), time.monotonic())
                if end_s is None and not sender.is_alive():
                    end_s = time.monotonic() + SETTLE_S
                time.sleep(max(0.0, asked_s + poll_ms / 1e3 - time.monotonic()))
    client.close()
    took_ms = sorted(1e3 * (seen_s[seq] - published_s[seq]) for seq in seen_s)
    return {
        "poll_ms": poll_ms,
        "verdicts": count,
        "missed": count - len(seen_s),
        "p50_ms": round(took_ms[len(took_ms) // 2], 1),
        "p99_ms": round(took_ms[len(took_ms) * 99 // 100], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--rate", type=float, default=50.0, help="verdicts per second")
    parser.add_argument("--polls", default="5,20,50,100", help="milliseconds between two reads")
    given = parser.parse_args()
    missed = 0
    with tempfile.TemporaryDirectory() as folder, embedded_url(Path(folder)) as url:
        for at, poll in enumerate(given.polls.split(",")):
            figures = measure(url, f"line-{at}", given.count, given.rate, float(poll))
            missed += int(figures["missed"])
            sys.stdout.write(json.dumps(figures) + "\n")
            sys.stdout.flush()
    sys.exit(f"{missed} verdicts missed" if missed else 0)


if __name__ == "__main__":
    main()
