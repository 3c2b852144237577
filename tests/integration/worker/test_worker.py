import itertools
import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from rigs.worker import CURSED, MANIFEST, OVERFLOWING, SIDE, WAIT_S, Bench, ProbeEngine, until

from pipeline.codecs import Codec
from pipeline.commands.reconcile import reconcile
from pipeline.drift.detector import LEARN_FRAMES
from pipeline.errors import RingStale
from pipeline.frames import Decision, FrameMeta, Reason
from pipeline.ring.ring import RingWriter
from pipeline.streams.connect import Access
from pipeline.streams.connection import open_connection
from pipeline.streams.control import Controls
from pipeline.streams.frame_consumer import Answer, FrameConsumer
from pipeline.streams.keys import Keys, LineLimits
from pipeline.streams.ledger import Ledger
from pipeline.telemetry import Telemetry
from pipeline.wire import (
    FrameHeader,
    RingPlace,
    decode_identity,
    decode_report,
    encode_control,
    encode_frame_header,
    encode_report,
)
from pipeline.worker.decode import Ring
from pipeline.worker.worker import READER_STUCK_S

NO_REPORT = encode_report({})


def threshold(image: float, sha256: str = MANIFEST.sha256) -> bytes:
    return encode_control("threshold", image=image, engines=[sha256])


@pytest.fixture
def bench(url: str, line: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with open_connection(Access(url), tmp_path_factory.getbasetemp()) as connection:
        yield Bench(connection, line, LineLimits())


def test_parts_are_judged_by_their_pictures(bench: Bench) -> None:
    with bench.worker():
        for seq, (green, codec) in enumerate(
            [(50, Codec.RAW), (200, Codec.JPEG), (51, Codec.PNG), (201, Codec.RAW)]
        ):
            bench.offer(seq, green, codec=codec)
        verdicts = bench.wait_for(4)
    decisions = [verdicts[seq].decision for seq in range(4)]
    assert decisions == [Decision.OK, Decision.NG, Decision.OK, Decision.NG]
    judged = verdicts[1].judgement
    assert judged is not None
    assert judged.score == pytest.approx(200 / 255, abs=0.02)
    assert judged.regions[0].area_px == SIDE * SIDE
    assert judged.engine.model == "probe"
    assert verdicts[0].judgement is not None
    assert verdicts[0].judgement.mask is None


def test_worker_says_in_its_heartbeat_where_each_camera_stands(bench: Bench) -> None:
    with bench.worker("drifting"):
        for seq in range(3):
            bench.offer(seq)
        judged = bench.wait_for(3)[0].judgement
        assert judged is not None
        assert len(judged.cells) == 16
        controls = Controls(bench.connection.client, bench.line)

        def learned() -> float:
            report = decode_report(controls.workers().get("drifting", NO_REPORT))
            return float(report.get("drift", {}).get("cam", {}).get("learned", 0))

        until(lambda: learned() * LEARN_FRAMES == pytest.approx(3, abs=0.2))


def test_ring_frames_are_judged_and_their_slots_given_back(bench: Bench) -> None:
    writer = RingWriter.create(f"prn-test-{bench.line}-{time.time_ns()}", 2, SIDE * SIDE * 3)
    try:
        with bench.worker():
            for seq in range(6):
                pixels = np.full((SIDE, SIDE, 3), 40 * seq, np.uint8)
                until(lambda: len(writer.holds()) < 2)
                place = writer.write(pixels, seq)
                assert place is not None
                now = time.time_ns()
                meta = FrameMeta("cam", seq, "part", now, now + 10**11)
                head = encode_frame_header(FrameHeader(meta, Codec.RING, (SIDE, SIDE), place))
                bench.producer.offer(seq, head, b"", 768, 10**11, "", shed=False)
            verdicts = bench.wait_for(6)
            until(lambda: not writer.holds())
    finally:
        writer.close()
    scores = [verdicts[seq].judgement.score for seq in range(6)]  # type: ignore[union-attr]
    assert scores == pytest.approx([40 * seq / 255 for seq in range(6)], abs=1e-6)


def test_what_is_no_frame_is_answered_unreadable_and_kept_for_a_person(bench: Bench) -> None:
    with bench.worker():
        bench.offer_bytes(0, Codec.JPEG, b"\xff\xd8 no picture")
        bench.offer_bytes(1, Codec.RAW, b"short")
        bench.offer_bytes(2, Codec.RAW, bytes(8 * 8 * 3), side=8)
        bench.offer_bytes(3, Codec.NONE, b"file vanished")
        bench.offer(4)
        verdicts = bench.wait_for(5)
    reasons = [verdicts[seq].reason for seq in range(5)]
    assert reasons == [Reason.UNREADABLE] * 4 + [None]
    letters = bench.connection.client.xrange(Keys(bench.line).dead)
    why = sorted(fields[b"why"].decode() for _, fields in letters)
    assert len(why) == 4
    assert any("engine takes 16x16" in sentence for sentence in why)
    assert any("file vanished" in sentence for sentence in why)


def test_foreign_entry_in_the_stream_is_kept_aside_and_hurts_nobody(bench: Bench) -> None:
    with bench.worker():
        bench.connection.client.xadd(Keys(bench.line).frames, {"x": "y"})
        bench.connection.client.xadd(
            Keys(bench.line).frames, {"m": b"\x00\xff", "n": "-5", "d": b""}
        )
        bench.offer(1)
        assert list(bench.wait_for(1)) == [1]
        until(lambda: bench.connection.client.xlen(Keys(bench.line).dead) == 2)
        until(lambda: bench.connection.client.xlen(Keys(bench.line).frames) == 0)


def test_frame_that_the_engine_fails_on_does_not_take_its_batch_along(bench: Bench) -> None:
    bench.engine.free.clear()
    with bench.worker():
        bench.offer(0)
        until(lambda: bool(bench.engine.batches))
        for seq in (1, 2, 3):
            bench.offer(seq, red=CURSED if seq == 2 else 0)
        until(lambda: bench.connection.client.xlen(Keys(bench.line).frames) == 4)
        time.sleep(0.3)
        bench.engine.free.set()
        verdicts = bench.wait_for(4)
    assert 3 in bench.engine.batches
    assert [verdicts[seq].reason for seq in range(4)] == [None, None, Reason.ENGINE, None]


def test_lanes_of_an_engine_score_side_by_side(bench: Bench) -> None:
    bench.lanes.append(ProbeEngine())
    for engine in bench.lanes:
        engine.free.clear()
    with bench.worker():
        bench.offer(0)
        until(lambda: any(engine.batches for engine in bench.lanes))
        bench.offer(1)
        until(lambda: all(engine.batches for engine in bench.lanes))
        bench.lanes[1].free.set()  # the other one is still at it
        until(lambda: len(bench.verdicts()) == 1)
        bench.lanes[0].free.set()
        assert len(bench.wait_for(2)) == 2


def test_frame_that_waits_for_a_busy_engine_is_scored_when_it_is_free(bench: Bench) -> None:
    bench.engine.free.clear()
    with bench.worker() as worker:
        bench.offer(0)
        until(lambda: bool(bench.engine.batches))
        bench.offer(1)
        until(lambda: worker._context.in_flight.count == 2)
        bench.engine.free.set()
        assert len(bench.wait_for(2)) == 2


def test_score_that_is_no_number_is_never_ok(bench: Bench) -> None:
    with bench.worker():
        bench.offer(0)
        bench.offer(1, red=OVERFLOWING)
        bench.offer(2)
        verdicts = bench.wait_for(3)
    assert [verdicts[seq].reason for seq in range(3)] == [None, Reason.ENGINE, None]


def test_engine_that_always_fails_stops_the_worker(bench: Bench) -> None:
    with bench.worker() as worker:
        for seq in range(30):
            bench.offer(seq, red=CURSED)
        until(worker._context.shutdown.draining.is_set)
        assert "in a row" in worker.failure()
    assert all(verdict.reason is Reason.ENGINE for verdict in bench.verdicts().values())


def test_worker_whose_reader_is_stuck_says_so_and_another_takes_its_frame(bench: Bench) -> None:
    entered, free = threading.Event(), threading.Event()

    def stuck(name: str) -> Ring:
        entered.set()
        assert free.wait(10 * WAIT_S)
        raise RingStale(f"no ring {name}")

    with bench.worker("stuck") as worker:
        try:
            worker._context.ring_readers._attach = stuck
            bench.offer_ring(0, RingPlace("prn-absent", 0, 2))
            assert entered.wait(WAIT_S)
            assert worker.failure() == ""
            worker._decoder._clock_s = lambda: time.monotonic() + READER_STUCK_S + 1
            assert "a reader has been at one frame" in worker.failure()
            assert worker.not_ready() == worker.failure()
            with bench.worker("other") as other:
                until(lambda: len(bench.verdicts()) == 1)
                assert other.failure() == ""
            assert bench.verdicts()[0].reason is Reason.UNREADABLE
        finally:
            free.set()


def test_late_parts_are_answered_while_the_engine_is_held_up(bench: Bench) -> None:
    bench.engine.free.clear()
    with bench.worker():
        for seq in range(20):
            bench.offer(seq, in_s=0.3)
        verdicts = bench.wait_for(20)
        assert {verdict.reason for verdict in verdicts.values()} == {Reason.LATE}


def test_worker_judges_in_time_again_after_redis_was_away(bench: Bench) -> None:
    bench.engine.free.clear()
    with bench.worker():
        bench.offer(0)
        until(lambda: bool(bench.engine.batches))
        bench.connection.client.client_pause(3000, all=False)  # as Redis away: no write is answered
        bench.engine.free.set()
        bench.wait_for(1)
        assert first_judged(bench, in_s=0.5)


def test_engine_that_was_believed_too_slow_is_tried_again(bench: Bench) -> None:
    bench.curve_ms = 20_000.0  # as measured while the machine was busy with something else
    with bench.worker():
        assert first_judged(bench, in_s=1.0)


def first_judged(bench: Bench, in_s: float) -> int:
    """Offer parts, each with a deadline of its own, until one is judged in time; gives its seq."""
    deadline = time.monotonic() + WAIT_S
    for seq in itertools.count(1):
        bench.offer(seq, in_s=in_s)
        until(lambda seq=seq: seq in bench.verdicts())  # type: ignore[misc]
        if bench.verdicts()[seq].decision is Decision.OK:
            return seq
        assert time.monotonic() < deadline, "every part is answered LATE for ever"
    raise AssertionError


def test_frames_of_a_dead_worker_are_judged_one_by_one(bench: Bench) -> None:
    dead = FrameConsumer(bench.connection.client, bench.line, "dead", LineLimits())
    dead.join()
    for seq in range(4):
        bench.offer(seq)
    assert len(dead.read(4, 0)) == 4
    with bench.worker():
        assert len(bench.wait_for(4)) == 4
    assert bench.engine.batches == [1, 1, 1, 1]


def test_frame_that_kills_workers_is_given_up_and_its_neighbours_are_judged(bench: Bench) -> None:
    for seq in range(3):
        bench.offer(seq)
    dead = FrameConsumer(bench.connection.client, bench.line, "dead", LineLimits())
    dead.join()
    assert len(dead.read(3, 0)) == 3
    for name in "ab":  # each answers the neighbours it meets, then dies of the first frame
        frame_consumer = FrameConsumer(bench.connection.client, bench.line, name, LineLimits())
        time.sleep(0.25)
        while decode_identity((entry := frame_consumer.take_over(1)[0]).header).seq != 0:
            frame_consumer.answer([Answer(entry, Decision.OK)])
    with bench.worker():
        verdicts = bench.wait_for(3)
    assert [verdicts[seq].reason for seq in range(3)] == [Reason.UNREADABLE, None, None]
    assert bench.engine.batches == [1, 1]


def test_threshold_changes_while_parts_pass(bench: Bench) -> None:
    controls = Controls(bench.connection.client, bench.line)
    with bench.worker() as worker:
        bench.offer(0, green=100)
        assert bench.wait_for(1)[0].decision is Decision.OK
        controls.send(threshold(0.2))
        until(lambda: worker.thresholds().image == 0.2)
        bench.offer(1, green=100)
        assert bench.wait_for(2)[1].decision is Decision.NG
    with bench.worker("later") as later:
        until(lambda: later.thresholds().image == 0.2)


def test_mask_follows_the_pixel_threshold_while_parts_pass(bench: Bench) -> None:
    controls = Controls(bench.connection.client, bench.line)
    with bench.worker() as worker:
        for seq, pixel in enumerate((0.6, 0.3, 0.4)):  # a frame's map is 0.39 everywhere
            message = encode_control("threshold", pixel=pixel, engines=[MANIFEST.sha256])
            controls.send(message)
            until(lambda pixel=pixel: worker.thresholds().pixel == pixel)
            bench.offer(seq, green=100)
            bench.wait_for(seq + 1)
        verdicts = bench.wait_for(3)
    judgements = [verdicts[seq].judgement for seq in range(3)]
    assert [one.pixel_threshold for one in judgements] == [0.6, 0.3, 0.4]
    assert [one.mask is None for one in judgements] == [True, False, True]
    assert judgements[1].mask.all()


def test_threshold_that_was_set_for_another_engine_lapses_and_the_worker_says_so(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    controls = Controls(bench.connection.client, bench.line)
    controls.send(threshold(0.2, sha256="f" * 64))
    with bench.worker() as worker:
        bench.offer(0, green=100)
        assert bench.wait_for(1)[0].decision is Decision.OK
        assert worker.thresholds().image == MANIFEST.thresholds.image
        until(lambda: "of another engine" in said(controls))
        controls.send(threshold(0.2))
        until(lambda: said(controls) == "")
        assert worker.thresholds().image == 0.2
    assert [one.msg for one in caplog.records].count("threshold.lapsed") == 1


def said(controls: Controls) -> str:
    return "".join(str(decode_report(beat)["swap"]) for beat in controls.workers().values())


def test_worker_hears_every_message_before_it_judges(bench: Bench) -> None:
    controls = Controls(bench.connection.client, bench.line)
    for at in range(1200):
        controls.send(threshold(0.9 if at < 1199 else 0.2))
    with bench.worker():
        bench.offer(0, green=100)
        assert bench.wait_for(1)[0].decision is Decision.NG


def test_paused_worker_takes_nothing_until_resumed(bench: Bench) -> None:
    controls = Controls(bench.connection.client, bench.line)
    with bench.worker() as worker:
        controls.send(encode_control("pause"))
        until(lambda: "paused" in worker.not_ready())
        time.sleep(0.3)
        bench.offer(0)
        time.sleep(0.3)
        assert bench.verdicts() == {}
        controls.send(encode_control("resume"))
        assert len(bench.wait_for(1)) == 1


def test_draining_worker_answers_what_it_holds(bench: Bench) -> None:
    bench.engine.free.clear()
    with bench.worker() as worker:
        for seq in range(6):
            bench.offer(seq)
        until(lambda: worker._context.in_flight.count == 6)
        worker._context.shutdown.draining.set()
        bench.engine.free.set()
    assert len(bench.verdicts()) == 6
    assert bench.connection.client.xinfo_consumers(Keys(bench.line).frames, "workers") == []


def test_frames_delivered_on_a_lost_connection_are_found_again(bench: Bench) -> None:
    lost = FrameConsumer(bench.connection.client, bench.line, "worker", LineLimits())
    lost.join()
    bench.offer(0)
    assert len(lost.read(1, 0)) == 1  # as if the answer to the worker's own read had been lost
    with bench.worker():

        def found_after_another_break() -> bool:
            bench.connection.client.client_kill_filter(_type="normal", skipme=True)
            time.sleep(0.15)
            return len(bench.verdicts()) == 1

        until(found_after_another_break)


def test_metrics_tell_waits_apart(bench: Bench) -> None:
    with bench.worker() as worker:
        bench.offer(0)
        bench.wait_for(1)
        telemetry = worker._context.telemetry
        until(lambda: sample(telemetry, "prn_end_to_end_seconds_count") == 1)
    for name in ("transport", "queue_wait", "inference", "end_to_end"):
        assert sample(telemetry, f"prn_{name}_seconds_count") == 1
    assert sample(telemetry, "prn_verdicts_total", answer="OK") == 1


def sample(telemetry: Telemetry, name: str, **labels: str) -> float | None:
    labels = {"line": telemetry._line, **labels}
    return telemetry.registry.get_sample_value(name, labels)


def test_judgement_that_no_program_could_read_is_answered_engine(bench: Bench) -> None:
    with bench.worker("w" * 201):  # longer than a reader takes a name to be
        bench.offer(1)
        verdicts = bench.wait_for(1)
    assert (verdicts[1].decision, verdicts[1].reason) == (Decision.UNKNOWN, Reason.ENGINE)
    assert verdicts[1].unread == ""


@pytest.mark.parametrize("apart_s", [-3600, 3600])
def test_camera_whose_clock_is_wrong_gets_its_verdicts_in_time(bench: Bench, apart_s: int) -> None:
    """Its header says so; the time left, which the offer carries, does not change by it."""
    now = time.time_ns() + apart_s * 10**9
    meta = FrameMeta("cam", 1, "part-1", now, now + 60 * 10**9)
    header = encode_frame_header(FrameHeader(meta, Codec.RAW, (SIDE, SIDE)))
    pixels = bytes(SIDE * SIDE * 3)
    with bench.worker():
        bench.producer.offer(1, header, pixels, len(pixels), 60 * 10**9, "", shed=False)
        verdicts = bench.wait_for(1)
    assert verdicts[1].decision is Decision.OK
    assert reconcile(Ledger(bench.connection.client, bench.line)).broken() == []
