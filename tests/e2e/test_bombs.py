"""Pictures made to cost gigabytes or minutes cost their own verdict and nobody else's."""

import itertools
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.camera import flat, write_flat
from inputs.bombs import stream_bombs
from inputs.odd_files import make_odd
from rigs.processes import SIZE, WAIT_S, Plant, plan, plant_in

from pipeline.codecs import Codec, encode_pixels
from pipeline.commands.reconcile import reconcile
from pipeline.commands.subprocesses import peak_mb, wait_until
from pipeline.frames import FrameMeta
from pipeline.streams.frame_producer import FrameProducer, Status
from pipeline.streams.keys import LineLimits
from pipeline.wire import FrameHeader, decode_identity, encode_frame_header

GOOD_A_SECOND, BOMBS_A_SECOND, SECONDS = 20, 6, 5
DEADLINE_NS = 2 * 10**9


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    with plant_in(tmp_path) as opened:
        yield opened


def started(plant: Plant, name: str) -> bool:
    return any(event["event"] == "worker.started" for event in plant.log(name))


class Sender:
    """A camera whose frames are bytes as they come."""

    def __init__(self, plant: Plant, name: str) -> None:
        self.producer = FrameProducer(plant.connection.client, "line-1", name, LineLimits())
        self.producer.join()
        self.sent = 0

    def send(self, codec: str, payload: bytes) -> None:
        now = time.time_ns()
        meta = FrameMeta(
            self.producer.camera, self.sent, f"part-{self.sent}", now, now + DEADLINE_NS
        )
        header = encode_frame_header(FrameHeader(meta, Codec(codec), (SIZE, SIZE)))
        result = self.producer.offer(
            self.sent, header, payload, len(payload), DEADLINE_NS, "", shed=False
        )
        assert result.status is Status.ADMITTED
        self.sent += 1


def answers_of(plant: Plant, camera: str) -> Counter[str]:
    results = plant.ledger.results("-", 100_000)
    return Counter(
        result.answer for result in results if decode_identity(result.header).camera == camera
    )


def test_six_bombs_a_second_delay_none_of_twenty_good_parts_a_second(plant: Plant) -> None:
    workers = {name: plant.worker(plan(), name=name) for name in ("first", "second")}
    wait_until(lambda: all(started(plant, name) for name in workers), WAIT_S, "both workers")
    good, bad = Sender(plant, "good"), Sender(plant, "bad")
    picture = encode_pixels(flat(90, SIZE, SIZE), Codec.JPEG)
    bombs = itertools.cycle(stream_bombs(SIZE, SIZE).values())
    began_s = time.monotonic()
    for tick in range(SECONDS * GOOD_A_SECOND * BOMBS_A_SECOND):
        time.sleep(max(0.0, began_s + tick / (GOOD_A_SECOND * BOMBS_A_SECOND) - time.monotonic()))
        if tick % BOMBS_A_SECOND == 0:
            good.send("jpeg", picture)
        if tick % GOOD_A_SECOND == 0:
            bad.send(*next(bombs))
    plant.wait_for(good.sent + bad.sent)
    assert answers_of(plant, "good") == {"OK": SECONDS * GOOD_A_SECOND}
    assert answers_of(plant, "bad") == {"UNREADABLE": SECONDS * BOMBS_A_SECOND}
    assert reconcile(plant.ledger).broken() == []
    for worker in workers.values():
        assert peak_mb(worker.process.pid) < 512
        assert worker.stop() == 0


@pytest.mark.parametrize("kind", ["folder", "watch"])
def test_camera_goes_on_after_what_is_no_picture(plant: Plant, kind: str) -> None:
    pictures = plant.folder / "pictures"
    write_flat(pictures / "a.png", 1)
    bombs = stream_bombs(SIZE, SIZE)
    for number, (codec, payload) in enumerate(bombs.values()):
        suffix = "jpg" if codec == "jpeg" else codec
        (pictures / f"b{number}.{suffix}").write_bytes(payload)
    make_odd("fifo", pictures / "c.png")
    make_odd("loop", pictures / "d.png")
    write_flat(pictures / "e.png", 2)
    count = len(bombs) + 4
    plant.worker(plan())
    plant.camera("--source", f"{kind}:{pictures}", "--count", str(count)).wait(WAIT_S)
    plant.wait_for(count)
    assert Counter(plant.answers()) == {"OK": 2, "UNREADABLE": count - 2}
    assert reconcile(plant.ledger).broken() == []
