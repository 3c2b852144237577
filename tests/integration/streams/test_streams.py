import time
from collections.abc import Iterator

import pytest
from rigs.line import Plant

from pipeline.control import FROM_THE_FIRST, LineState, apply_messages
from pipeline.errors import RedisFull, RefusedFrame, SettingsError
from pipeline.frames import Decision, Reason
from pipeline.streams.connect import Client
from pipeline.streams.control import Controls
from pipeline.streams.frame_consumer import Answer, Entry
from pipeline.streams.frame_producer import FrameProducer, OfferResult, Status
from pipeline.streams.keys import Keys, LineLimits
from pipeline.streams.result_reader import ResultReader
from pipeline.wire import encode_control

SOON_NS = 60 * 10**9
SLOW_S = 60  # so long may this machine stand still


def answers(plant: Plant) -> list[tuple[str, bytes]]:
    return [(result.answer, result.header) for result in plant.ledger().results("-", 1000)]


@pytest.fixture
def here(client: Client, line: str) -> Plant:
    return Plant(client, line, LineLimits(budget_bytes=1000))


def offer(
    camera: FrameProducer, seq: int, *, size: int = 100, shed: bool = False, in_ns: int = SOON_NS
) -> OfferResult:
    return camera.offer(seq, b"head%d" % seq, b"x" * size, size, in_ns, f"after-{seq}", shed=shed)


def ok(entries: list[Entry]) -> list[Answer]:
    return [Answer(entry, Decision.OK, b"judgement") for entry in entries]


def test_frame_is_offered_read_and_answered(here: Plant) -> None:
    assert offer(here.camera(), 1).status is Status.ADMITTED
    worker = here.worker()
    (entry,) = worker.read(8, 0)
    assert (entry.header, entry.payload, entry.charged) == (b"head1", b"x" * 100, 100)
    assert worker.answer(ok([entry])) == ["OK"]
    assert answers(here) == [("OK", b"head1")]
    assert worker.unanswered() == (0, 0)
    assert here.client.xlen(Keys(here.name).frames) == 0


def test_part_is_answered_once_when_two_workers_hold_its_frame(here: Plant) -> None:
    offer(here.camera(), 1)
    first, second = here.worker("a"), here.worker("b")
    (entry,) = first.read(1, 0)
    time.sleep(0.25)
    (claimed,) = second.take_over(8)
    assert claimed.deliveries == 2
    assert second.answer(ok([claimed])) == ["OK"]
    assert first.answer([Answer(entry, Decision.NG)]) == [""]
    assert answers(here) == [("OK", b"head1")]
    assert here.worker().unanswered() == (0, 0)


def test_repeated_and_backward_offers_are_refused(here: Plant) -> None:
    camera = here.camera()
    assert offer(camera, 5).status is Status.ADMITTED
    assert offer(camera, 5).status is Status.SEEN
    assert offer(camera, 4) == OfferResult(Status.SEEN, "5", ())
    assert offer(camera, 6).status is Status.ADMITTED


def test_full_line_makes_a_patient_camera_wait(here: Plant) -> None:
    camera = here.camera()
    for seq in range(10):
        assert offer(camera, seq).status is Status.ADMITTED
    assert offer(camera, 10).status is Status.FULL
    worker = here.worker()
    worker.answer(ok(worker.read(1, 0)))
    assert offer(camera, 10).status is Status.ADMITTED


def test_full_line_sheds_the_oldest_waiting_frames_of_a_live_camera(here: Plant) -> None:
    camera = here.camera()
    worker = here.worker()
    for seq in range(10):
        offer(camera, seq)
    held = worker.read(2, 0)
    result = offer(camera, 10, size=150, shed=True)
    assert result.status is Status.ADMITTED
    assert len(result.shed) == 2
    assert answers(here) == [("SHED", b"head2"), ("SHED", b"head3")]
    assert worker.answer(ok(held)) == ["OK", "OK"]
    assert worker.unanswered() == (7, 750)


def test_frame_that_cannot_fit_is_itself_answered_shed(here: Plant) -> None:
    camera = here.camera()
    offer(camera, 1, size=900)
    here.worker().read(1, 0)
    assert offer(camera, 2, size=200, shed=True).status is Status.SHED
    assert answers(here) == [("SHED", b"head2")]
    (camera_ledger,) = here.ledger().snapshot().cameras
    assert camera_ledger.offered == 2


def test_frame_past_its_deadline_is_answered_late_though_judged(here: Plant) -> None:
    offer(here.camera(), 1, in_ns=20_000_000)
    worker = here.worker()
    (entry,) = worker.read(1, 0)
    time.sleep(0.04)
    assert worker.answer(ok([entry])) == ["LATE"]


def test_late_frames_are_answered_though_no_worker_takes_them(here: Plant) -> None:
    camera = here.camera()
    offer(camera, 1, in_ns=10_000_000)
    offer(camera, 2, in_ns=10_000_000)
    offer(camera, 3)
    watcher = here.worker()
    (entry,) = here.worker("other").read(1, 0)
    time.sleep(0.03)
    assert watcher.expire() == 2
    assert answers(here) == [("LATE", b"head1"), ("LATE", b"head2")]
    assert here.worker("other").answer(ok([entry])) == [""]
    assert watcher.unanswered() == (1, 100)


def test_frames_of_a_living_worker_are_left_to_it(here: Plant) -> None:
    offer(here.camera(), 1)
    slow = here.worker("slow")
    slow.read(1, 0)
    slow.send_heartbeat(b"alive", 5000)
    time.sleep(0.25)
    assert here.worker("other").take_over(8) == []


def test_dead_worker_without_frames_is_forgotten(here: Plant) -> None:
    offer(here.camera(), 1)
    gone = here.worker("gone")
    gone.answer(ok(gone.read(1, 0)))
    other = here.worker("other")
    offer(here.camera(), 2)
    other.read(1, 0)  # Redis 7.0 makes a consumer only when there is something to read
    other.take_over(8)
    names = [row["name"] for row in here.client.xinfo_consumers(Keys(here.name).frames, "workers")]
    assert names == [b"other"]


def test_worker_is_listed_before_it_gets_a_frame(here: Plant) -> None:
    here.worker("idle").read(1, 0)
    names = [row["name"] for row in here.client.xinfo_consumers(Keys(here.name).frames, "workers")]
    assert names == [b"idle"]


@pytest.fixture
def full(here: Plant) -> Iterator[Plant]:
    """A line whose server takes no more; frames wait on it that no worker has seen."""
    offer(here.camera(), 1, in_ns=10_000_000)
    offer(here.camera(), 2)
    before = here.client.config_get("maxmemory")["maxmemory"]
    here.client.config_set("maxmemory", 1)
    yield here
    here.client.config_set("maxmemory", before)


def test_worker_that_comes_to_a_full_server_empties_it(full: Plant) -> None:
    full.client.xgroup_destroy(Keys(full.name).frames, "workers")
    with pytest.raises(RedisFull):
        offer(full.camera("other"), 1)
    worker = full.worker()
    worker.send_heartbeat(b"alive", 5000)
    assert [entry.header for entry in worker.read(8, 0)] == [b"head1", b"head2"]
    time.sleep(0.02)
    assert worker.expire() == 1
    assert worker.answer(ok(worker.pending())) == ["OK"]
    assert worker.trim() == 0
    assert [answer for answer, _ in answers(full)] == ["LATE", "OK"]


def test_frames_of_a_dead_worker_are_taken_over_on_a_full_server(full: Plant) -> None:
    dead = full.worker("dead")
    held = dead.read(8, 0)
    other = full.worker("other")
    time.sleep(0.25)
    taken = other.take_over(8)
    assert [entry.entry_id for entry in taken] == [entry.entry_id for entry in held]
    other.answer(ok(taken))
    other.take_over(8)
    consumers = full.client.xinfo_consumers(Keys(full.name).frames, "workers")
    assert [row["name"] for row in consumers] == [b"other"]
    other.leave()


def test_thousand_frames_of_a_dead_worker_are_taken_over_once(here: Plant, line: str) -> None:
    plant = Plant(here.client, f"{line}-large")
    camera = plant.camera()
    for seq in range(1000):
        offer(camera, seq)
    left = {entry.entry_id for entry in plant.worker("dead").read(1000, 0)}
    time.sleep(0.25)
    workers = [plant.worker(name) for name in "ab"]
    taken: list[Entry] = []
    while claimed := [entry for worker in workers for entry in worker.take_over(16)]:
        taken += claimed
    assert len(taken) == len({entry.entry_id for entry in taken}) == 1000
    assert {entry.entry_id for entry in taken} == left
    assert {entry.deliveries for entry in taken} == {2}
    assert {entry.payload for entry in taken} == {b"x" * 100}
    assert workers[0].answer(ok(taken)) == ["OK"] * 1000
    assert workers[1].answer(ok(taken)) == [""] * 1000


def test_frame_that_was_taken_over_is_left_alone_for_a_while(here: Plant) -> None:
    offer(here.camera(), 1)
    here.worker("dead").read(1, 0)
    time.sleep(0.25)
    assert len(here.worker("a").take_over(8)) == 1
    assert here.worker("b").take_over(8) == []  # a has no heartbeat either, but has just taken it


def test_take_over_asks_the_server_once(here: Plant) -> None:
    offer(here.camera(), 1)
    here.worker("dead").read(1, 0)
    time.sleep(0.25)
    worker = here.worker("other")
    worker.take_over(0)  # the server has the script from now on
    sent = here.client.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert len(worker.take_over(8)) == 1
    assert here.client.info("commandstats")["cmdstat_evalsha"]["calls"] == sent + 1


def test_control_message_gets_through_to_a_full_server(full: Plant) -> None:
    controls = Controls(full.client, full.name)
    with pytest.raises(RedisFull):
        full.offer(3)
    controls.send(encode_control("pause"))
    controls.send(encode_control("threshold", image=0.25, engines=["0" * 64]))
    state, _ = apply_messages(controls, LineState(), FROM_THE_FIRST)
    assert state.paused
    assert state.thresholds_of("0" * 64) == (0.25, None)


def test_control_messages_are_bounded_on_a_full_server_too(full: Plant) -> None:
    controls = Controls(full.client, full.name)
    fill = "for _ = 1, ARGV[1] do redis.call('XADD', KEYS[1], '*', 'c', '') end"
    full.client.eval(f"#!lua flags=allow-oom\n{fill}", 1, Keys(full.name).control, 10_500)
    controls.send(encode_control("resume"))
    assert full.client.xlen(Keys(full.name).control) < 10_200


def test_message_is_sent_though_its_key_was_overwritten(here: Plant) -> None:
    here.client.set(Keys(here.name).control, "of another kind")
    controls = Controls(here.client, here.name)
    controls.send(encode_control("pause"))
    assert apply_messages(controls, LineState(), FROM_THE_FIRST)[0].paused


def test_program_joins_a_full_server(full: Plant) -> None:
    worker = full.worker()
    worker.answer(ok(worker.read(8, 0)))
    program = ResultReader(full.client, full.name)
    program.join("plc", from_start=True)
    assert len(program.read("plc", 8, 10, again=False)) == 2


def test_ledger_knows_every_seq_offered(here: Plant) -> None:
    camera = here.camera()
    for seq in (3, 4, 7, 8, 20):
        offer(camera, seq, size=1)
    worker = here.worker()
    worker.answer(ok(worker.read(2, 0)))
    snapshot = here.ledger().snapshot()
    assert snapshot.cameras[0].runs == ((3, 4), (7, 8), (20, 20))
    assert snapshot.cameras[0].offered == 5
    assert snapshot.counts == {"OK": 2}
    assert snapshot.open_entries == 3
    assert sorted(here.ledger().open_headers().values()) == [b"head20", b"head7", b"head8"]


def test_camera_goes_on_where_it_was(here: Plant) -> None:
    camera = here.camera()
    assert camera.position() == (-1, "")
    offer(camera, 1)
    offer(camera, 2)
    assert here.camera().position() == (2, "after-2")


def test_program_reads_on_from_what_it_acknowledged(here: Plant) -> None:
    camera, worker = here.camera(), here.worker()
    result_reader = ResultReader(here.client, here.name)
    result_reader.join("plc", from_start=True)
    for seq in (1, 2, 3):
        offer(camera, seq)
    worker.answer(ok(worker.read(8, 0)))
    first, second, third = result_reader.read("plc", 8, 10, again=False)
    result_reader.acknowledge("plc", [first.result_id, third.result_id])
    assert result_reader.read("plc", 8, 10, again=True) == [second]
    assert result_reader.read("plc", 8, 10, again=False) == []


def test_bytes_in_use_never_drift(here: Plant) -> None:
    camera, worker = here.camera(), here.worker()
    for seq in range(40):
        offer(camera, seq, size=seq % 7 * 30 + 1, shed=True)
        if seq % 3 == 0:
            worker.answer([Answer(entry, Reason.ENGINE) for entry in worker.read(2, 0)])
    held = sum(int(fields[b"n"]) for _, fields in here.client.xrange(Keys(here.name).frames))
    assert worker.unanswered()[1] == held
    snapshot = here.ledger().snapshot()
    assert sum(snapshot.counts.values()) + snapshot.open_entries == 40


def test_dead_letters_take_a_small_part_of_the_embedded_servers_memory(here: Plant) -> None:
    worker = here.worker()
    for seq in range(300):
        worker.dead_letter(
            Entry(f"{seq}-0", b"head", bytes(2 << 20), 0), "too large for this engine"
        )
    dead = Keys(here.name).dead
    assert here.client.xlen(dead) >= 100
    assert here.client.memory_usage(dead, samples=0) < 192 << 20
    here.client.delete(dead)


@pytest.mark.parametrize("shed", [False, True])
def test_frame_above_the_whole_budget_is_refused_and_not_waited_for(
    client: Client, line: str, *, shed: bool
) -> None:
    camera = Plant(client, line, LineLimits(budget_bytes=99)).camera()
    with pytest.raises(SettingsError, match="--budget-mb"):
        camera.offer(1, b"head", b"x" * 100, 100, SOON_NS, "", shed=shed)
    assert camera.position() == (-1, "")


def test_camera_notes_the_picture_that_it_reads(here: Plant) -> None:
    producer = here.camera()
    assert producer.reading() == ("", 0)
    producer.note_reading("0/caf\udce9.png", 1)
    assert here.camera().reading() == ("0/caf\udce9.png", 1)
    producer.forget_reading()
    assert producer.reading() == ("", 0)


def test_deadline_counts_on_the_clock_of_redis_alone(here: Plant) -> None:
    """Whatever the wall clocks of camera and worker say: the offer carries the time left."""
    camera, worker = here.camera(), here.worker()
    seconds, micros = here.client.time()
    offer(camera, 1, in_ns=5 * 10**9)
    ((_, due_ms),) = here.client.zrange(Keys(here.name).open, 0, -1, withscores=True)
    admitted_ms = seconds * 1000 + micros / 1000
    assert admitted_ms + 5000 <= due_ms < admitted_ms + 5000 + 1000 * SLOW_S
    (entry,) = worker.read(1, 0)
    assert entry.due_ms == due_ms
    assert entry.left_ns is not None
    assert 0 < entry.left_ns <= 5 * 10**9
    worker.answer(ok([entry]))
    (result,) = here.ledger().results("-", 10)
    assert (result.due_ms, result.number) == (due_ms, 1)
    assert result.published_ms is not None
    assert admitted_ms - 1 <= result.published_ms <= due_ms


def test_frame_that_waited_on_its_way_to_redis_is_not_promised_more_time(here: Plant) -> None:
    """As while the server stands still: what it takes up late has less time left."""
    camera = here.camera()
    offer(camera, 1)
    now_ms = camera._clock.now_ms()
    assert now_ms is not None
    camera._clock = Sent(now_ms - 3000)  # type: ignore[assignment]
    assert offer(camera, 2, in_ns=2 * 10**9).status is Status.ADMITTED
    assert here.worker().expire() == 1
    assert answers(here) == [("LATE", b"head2")]


class Sent:
    """A camera's idea of Redis's clock: when its offer was sent."""

    def __init__(self, sent_ms: float) -> None:
        self._sent_ms = sent_ms

    def monotonic_s(self) -> float:
        return 0.0

    def now_ms(self) -> float:
        return self._sent_ms

    def note(self, server_ms: float, sent_s: float) -> None:
        """Learn nothing."""


def test_frame_of_an_earlier_camera_has_no_time_of_its_own(here: Plant) -> None:
    here.camera()
    here.client.xadd(Keys(here.name).frames, {"m": b"head", "n": 100, "d": b"x"})
    (entry,) = here.worker().read(1, 0)
    assert (entry.left_ns, entry.due_ms) == (None, None)


def test_camera_whose_name_was_taken_is_refused_aloud(here: Plant) -> None:
    """It stood still beyond its lease: what it offers now must not vanish as seen before."""
    first, second = here.camera(), here.camera()
    assert first.acquire_lease("first", 60_000)
    offer(first, 1)
    here.client.delete(Keys(here.name).holder("cam"))  # the lease ran out
    assert offer(first, 2).status is Status.ADMITTED  # nobody else has the name
    assert second.acquire_lease("second", 60_000)
    offer(second, 3)
    for seq in (3, 4):
        with pytest.raises(RefusedFrame, match="another process has taken the name"):
            offer(first, seq)
    assert offer(second, 4).status is Status.ADMITTED


def test_lease_of_a_name_is_left_alone_by_others(here: Plant) -> None:
    first, second = here.camera(), here.camera()
    assert first.acquire_lease("first", 60_000)
    assert not second.acquire_lease("second", 60_000)
    second.release_lease("second")
    assert first.acquire_lease("first", 60_000)
    first.release_lease("first")
    assert second.acquire_lease("second", 60_000)


def test_reason_without_a_word_of_its_own_is_published_beside_an_old_word(here: Plant) -> None:
    offer(here.camera(), 1)
    worker = here.worker()
    (entry,) = worker.read(1, 0)
    assert worker.answer([Answer(entry, Reason.FOREIGN)]) == ["UNREADABLE"]
    (result,) = here.ledger().results("-", 10)
    assert (result.answer, result.reason) == ("UNREADABLE", "FOREIGN")


def test_verdicts_are_numbered_without_a_gap_however_they_are_answered(here: Plant) -> None:
    camera, worker = here.camera(), here.worker()
    for seq in range(14):
        offer(camera, seq, shed=True, in_ns=SOON_NS if seq % 5 else 1)
    worker.expire()
    worker.answer(ok(worker.read(100, 0)))
    numbers = [result.number for result in here.ledger().results("-", 100)]
    assert numbers == list(range(1, 15))
