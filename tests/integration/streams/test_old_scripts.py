"""Cameras and workers of the first release beside those of this one, on one line."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rigs.line import SOON_NS, Plant, head_of, judgement_of

from pipeline.commands.reconcile import reconcile
from pipeline.consumer import Consumer
from pipeline.frames import Decision
from pipeline.streams.connect import Client
from pipeline.streams.keys import GROUP, Keys
from pipeline.wire import encode_judgement

RECORDED = Path(__file__).parents[2] / "unit/pipeline/wire/messages_of_release_1.json"
SCRIPTS = json.loads(RECORDED.read_text("utf-8"))["scripts"]
OLD_FIELDS = {b"k", b"e", b"m"}


@pytest.fixture
def plant(client: Client, line: str) -> Plant:
    made = Plant(client, line)
    made.camera()
    return made


def offer_as_before(plant: Plant, *seqs: int) -> None:
    keys = Keys(plant.name)
    script = plant.client.register_script(SCRIPTS["offer"])
    for seq in seqs:
        due_ns = time.time_ns() + SOON_NS
        names = [keys.frames, keys.open, keys.bytes, keys.results, keys.counts, keys.cameras]
        names += [keys.camera("cam"), keys.runs("cam")]
        head, due_ms = head_of("cam", seq, due_ns), due_ns // 1_000_000
        arguments: list[Any] = ["cam", seq, head, b"x", 100, due_ms, "", 1 << 20, "block"]
        assert script(names, [*arguments, 1000, GROUP, 100])[0] == b"admitted"


def answer_as_before(plant: Plant, count: int = 1000) -> None:
    keys, client = Keys(plant.name), plant.client
    script = client.register_script(SCRIPTS["answer"])
    found = client.xreadgroup(GROUP, "old", {keys.frames: ">"}, count=count)
    for _, entries in found or []:
        for entry_id, fields in entries:
            judged = encode_judgement(judgement_of(Decision.OK))
            words = [GROUP, 1000, entry_id, fields[b"n"], "OK", fields[b"m"], judged]
            assert script(keys.written_by_answers, words) == [b"OK"]


def expire_as_before(plant: Plant) -> int:
    keys = Keys(plant.name)
    script = plant.client.register_script(SCRIPTS["expire"])
    return len(script(keys.written_by_answers, [GROUP, 1000, 256]))


def offer(plant: Plant, *seqs: int) -> None:
    plant.offer(*seqs)


def answer(plant: Plant, count: int = 1000) -> None:
    plant.judge(count=count)


@pytest.mark.parametrize("first_offer", [offer, offer_as_before])
@pytest.mark.parametrize("second_offer", [offer, offer_as_before])
@pytest.mark.parametrize("first_answer", [answer, answer_as_before])
@pytest.mark.parametrize("second_answer", [answer, answer_as_before])
def test_releases_share_a_line(
    plant: Plant,
    url: str,
    first_offer: Callable[..., None],
    second_offer: Callable[..., None],
    first_answer: Callable[..., None],
    second_answer: Callable[..., None],
) -> None:
    first_offer(plant, 1, 2, 3)
    first_answer(plant, 2)
    second_offer(plant, 4, 7)
    second_answer(plant)
    first_offer(plant, 8)
    first_answer(plant)
    report = reconcile(plant.ledger())
    assert report.broken() == []
    assert (report.offered, report.published, report.cameras[0].lost) == (6, 6, 2)
    with Consumer(plant.name, "plc", redis_url=url, from_start=True) as verdicts:
        heard = [verdicts.next(20.0) for _ in range(6)]
    assert [verdict.meta.seq for verdict in heard if verdict] == [1, 2, 3, 4, 7, 8]
    assert {verdict.decision for verdict in heard if verdict} == {Decision.OK}
    assert verdicts.missed == 0


def test_program_of_the_first_release_finds_its_fields_in_every_new_verdict(plant: Plant) -> None:
    plant.offer(1)
    plant.judge()
    plant.offer(2, in_ns=1)
    plant.worker().expire()
    for _, fields in plant.client.xrange(Keys(plant.name).results):
        assert fields.keys() >= OLD_FIELDS
        assert fields[b"k"] in {b"OK", b"LATE"}


def test_old_worker_expires_what_a_new_camera_offered(plant: Plant) -> None:
    plant.offer(1, in_ns=1)
    time.sleep(0.01)
    assert expire_as_before(plant) == 1
    assert reconcile(plant.ledger()).answers == {"LATE": 1}
