"""Whatever stands at a key of a line, no script leaves a frame without its verdict or ends."""

import pytest
from rigs.line import Plant, say

from pipeline.frames import Decision
from pipeline.streams.checkpoints import Checkpoints
from pipeline.streams.connect import Client
from pipeline.streams.keys import Keys
from pipeline.streams.labels import LabelStream
from pipeline.streams.result_reader import ProgramName, ResultReader
from pipeline.streams.swap_coordinator import RedisSwapCoordinator

KINDS = ("string", "list", "set", "zset", "hash", "stream")
# what each of the line's keys holds, where a script of a frame's path touches it
ON_THE_PATH = {
    "frames": "stream",
    "open": "zset",
    "results": "stream",
    "counts": "hash",
    "bytes": "string",
    "cameras": "set",
    "camera": "hash",
    "runs": "list",
    "rolled": "list",
    "holder": "string",
    "programs": "hash",
    "reader": "string",
}


def put(client: Client, key: str, kind: str) -> None:
    """Put a value of a kind in place of a key."""
    client.delete(key)
    if kind == "string":
        client.set(key, "no number")
    elif kind == "list":
        client.rpush(key, "1")
    elif kind == "set":
        client.sadd(key, "1")
    elif kind == "zset":
        client.zadd(key, {"1": 1})
    elif kind == "hash":
        client.hset(key, "OK", "no number")
    else:
        client.xadd(key, {"k": "1"})


def key_of(plant: Plant, name: str) -> str:
    key = getattr(Keys(plant.name), name)
    if isinstance(key, str):
        return key
    return str(key({"reader": "plc"}.get(name, "cam")))


def wrong_kinds(names: dict[str, str]) -> list[tuple[str, str]]:
    return [(name, kind) for name in names for kind in KINDS if kind != names[name]]


@pytest.fixture
def plant(client: Client, line: str) -> Plant:
    return Plant(client, line)


DAMAGES = [*wrong_kinds(ON_THE_PATH), ("counts", "hash"), ("bytes", "string")]


@pytest.mark.parametrize(("name", "kind"), DAMAGES)
def test_parts_pass_whatever_stands_at_a_key(plant: Plant, name: str, kind: str) -> None:
    camera, worker = plant.camera(), plant.worker()
    reader, program = (
        ResultReader(plant.client, plant.name),
        ProgramName(plant.client, plant.name, "plc"),
    )
    program.take()
    reader.join("plc", from_start=True)
    assert camera.acquire_lease("token", 60_000)
    plant.offer(1)
    plant.judge()
    plant.offer(2)
    key = key_of(plant, name)
    put(plant.client, key, kind)

    plant.judge()
    plant.offer(3)
    plant.judge()
    worker.expire()
    worker.counts()
    worker.unanswered()
    worker.trim()
    worker.take_over(8)
    assert camera.acquire_lease("token", 60_000)
    assert program._acquired()  # every half second, by `keep`
    found = [*reader.read("plc", 8, 10, again=False), *reader.read("plc", 8, 10, again=False)]
    reader.acknowledge("plc", [result.result_id for result in found])

    kept = [result.answer for result in plant.ledger().results("-", 100)]
    lost = {"frames": 1, "results": 1}.get(name, 0)  # what was in the key itself
    assert kept == ["OK"] * (3 - lost)
    assert plant.client.type(f"{key}:damaged").decode() == kind
    assert plant.worker().unanswered()[1] == 0
    worker.leave()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "stream"])
def test_frames_that_were_overwritten_are_answered_late(plant: Plant, kind: str) -> None:
    plant.camera(), plant.worker()
    plant.offer(1, in_ns=50_000_000)
    put(plant.client, Keys(plant.name).frames, kind)
    worker = plant.worker()
    while not worker.expire():
        pass
    assert [result.answer for result in plant.ledger().results("-", 100)] == ["LATE"]


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_verdicts_go_on_after_their_count_was_overwritten(
    plant: Plant, kind: str
) -> None:
    plant.camera()
    plant.offer(1, 2, 3)
    plant.judge()
    put(plant.client, Keys(plant.name).counts, kind)
    plant.offer(4)
    plant.judge()
    assert [result.number for result in plant.ledger().results("-", 100)] == [1, 2, 3, 4]
    assert plant.worker().counts() == {"OK": 1, "LOST": 3}


def test_bytes_are_counted_anew_after_they_were_overwritten(plant: Plant) -> None:
    plant.camera(), plant.worker()
    plant.offer(1, 2, 3)
    plant.client.set(Keys(plant.name).bytes, "many")
    plant.offer(4)
    assert plant.worker().unanswered() == (4, 400)
    plant.judge()
    assert plant.worker().unanswered() == (0, 0)


@pytest.mark.parametrize("field", ["from", "offered", "lost", "rolled", "deaths"])
def test_camera_goes_on_though_a_field_of_its_books_is_no_number(plant: Plant, field: str) -> None:
    camera = plant.camera()
    plant.offer(1, 2)
    camera.position()
    plant.client.hset(Keys(plant.name).camera("cam"), field, "many")
    assert camera.reading() == ("", 0)
    assert camera.position() == (2, "")
    plant.offer(3)
    assert camera.position() == (3, "")
    plant.judge()
    assert [result.answer for result in plant.ledger().results("-", 100)] == ["OK"] * 3


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "hash"])
def test_camera_notes_what_it_does_in_books_that_were_overwritten(plant: Plant, kind: str) -> None:
    camera, key = plant.camera(), Keys(plant.name).camera("cam")
    put(plant.client, key, kind)
    camera.note_reading("part.png", 1)
    assert camera.reading() == ("part.png", 1)
    for note in (camera.forget_reading, camera.forget_cursor, lambda: camera.record_event("lost")):
        put(plant.client, key, kind)
        note()
        assert plant.client.type(key) in {b"hash", b"none"}


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "hash"])
def test_checkpoints_that_were_overwritten_begin_anew(plant: Plant, kind: str) -> None:
    checkpoints = Checkpoints(plant.client, plant.name, "cam")
    put(plant.client, Keys(plant.name).taken("cam"), kind)
    assert checkpoints.load(1) is None
    put(plant.client, Keys(plant.name).taken("cam"), kind)
    checkpoints.save(1, b"taken")
    assert checkpoints.load(1) == b"taken"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "stream"])
def test_dead_letters_that_were_overwritten_begin_anew(plant: Plant, kind: str) -> None:
    plant.camera()
    plant.offer(1)
    worker = plant.worker()
    (entry,) = worker.read(1, 0)
    dead = Keys(plant.name).dead
    put(plant.client, dead, kind)
    worker.dead_letter(entry, "it cannot be read")
    assert plant.client.xlen(dead) == 1


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "string"])
def test_swap_and_heartbeat_that_were_overwritten_are_taken(plant: Plant, kind: str) -> None:
    keys, swaps = Keys(plant.name), RedisSwapCoordinator(plant.client, plant.name, "worker")
    put(plant.client, keys.swap, kind)
    assert swaps.acquire_lease(1000)
    put(plant.client, keys.swap, kind)
    swaps.release_lease()
    put(plant.client, keys.worker("worker"), kind)
    plant.worker().send_heartbeat(b"alive", 1000)
    assert plant.client.get(keys.worker("worker")) == b"alive"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "hash"])
def test_promotions_that_were_overwritten_begin_anew(plant: Plant, kind: str) -> None:
    put(plant.client, Keys(plant.name).promotions, kind)
    swaps = RedisSwapCoordinator(plant.client, plant.name, "worker")
    assert swaps.read_record("1 2") == b""
    assert swaps.read_records() == {}
    assert swaps.compare_and_set("1 2", b"", b"trial")
    assert swaps.read_record("1 2") == b"trial"


@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_taken_whatever_stands_at_their_keys(plant: Plant, kind: str) -> None:
    keys, labels = Keys(plant.name), LabelStream(plant.client, plant.name)
    if kind != "stream":
        put(plant.client, keys.labels, kind)
    if kind != "string":
        put(plant.client, keys.label(b"label"), kind)
    assert labels.send(b"label") == labels.send(b"label")
    assert [packed for _, packed in labels.since("0-0", 10)] == [b"label"]


def test_frame_is_not_lost_when_its_verdict_cannot_be_counted(plant: Plant) -> None:
    plant.camera()
    plant.offer(1)
    worker = plant.worker()
    (entry,) = worker.read(1, 0)
    put(plant.client, Keys(plant.name).counts, "list")
    assert worker.answer([say(entry, Decision.OK)]) == ["OK"]
    assert worker.answer([say(entry, Decision.OK)]) == [""]
