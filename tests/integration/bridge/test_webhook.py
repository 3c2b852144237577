import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rigs.bridge import Bridge, Clock, bridge
from rigs.line import Plant
from rigs.missing import missing
from rigs.receiver import SECRET, receiver
from rigs.tls import Authority
from rigs.topology import wait_until

from pipeline.bridge.face import Outcome
from pipeline.bridge.webhook.face import WebhookFace
from pipeline.bridge.webhook.parked import ParkedFile
from pipeline.bridge.webhook.post import Poster, Receiver
from pipeline.bridge.webhook.signature import read_secret
from pipeline.frames import Decision
from pipeline.streams.connect import Client
from pipeline.streams.keys import Keys
from pipeline.streams.result_reader import ResultReader


@pytest.fixture
def plant(client: Client, line: str) -> Plant:
    return Plant(client, line)


@contextmanager
def webhook(
    plant: Plant,
    url: str,
    to: str,
    folder: Path,
    *,
    most_parked: int = 100,
    ca_file: Path | None = None,
) -> Iterator[Bridge]:
    secret = folder / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)

    def face_of(now_ms: Clock) -> WebhookFace:
        where = Receiver.from_url(to, allow_http=True, ca_file=ca_file)
        parked = ParkedFile(folder / "parked.jsonl", most_parked)
        poster = Poster(where, read_secret(secret))
        return WebhookFace(poster, parked, now_ms, spread=lambda *_: 0.001)

    with bridge(plant, url, face_of) as running:
        yield running


def unacknowledged(plant: Plant) -> int:
    return int(plant.client.xpending(Keys(plant.name).results, "bridge")["pending"])


def test_every_verdict_is_posted_in_order_signed_and_then_acknowledged(
    plant: Plant, url: str, tmp_path: Path
) -> None:
    with receiver() as (mes, to), webhook(plant, url, to, tmp_path):
        plant.offer(*range(30))
        plant.judge(Decision.NG)
        wait_until(lambda: mes.seqs() == list(range(30)))
        wait_until(lambda: unacknowledged(plant) == 0)
    assert set(mes.paths) == {"/verdicts?plant=1"}
    fields = mes.taken[0]["data"]
    assert (fields["camera"], fields["part_id"], fields["code"]) == ("cam", "part-0", "NG")
    assert fields["historical"] is False


def test_refusal_that_passes_is_repeated_under_the_same_id_and_order_is_kept(
    plant: Plant, url: str, tmp_path: Path
) -> None:
    with receiver(503, 429, 302) as (mes, to), webhook(plant, url, to, tmp_path):
        plant.offer(1, 2, 3)
        plant.judge()
        wait_until(lambda: mes.seqs() == [1, 2, 3])
    assert len(set(mes.ids[:4])) == 1
    assert len(set(mes.ids)) == 3
    assert "/elsewhere" not in mes.paths


def test_refused_message_is_parked_and_the_next_one_goes_on(
    plant: Plant, url: str, tmp_path: Path
) -> None:
    with receiver(400) as (mes, to), webhook(plant, url, to, tmp_path) as running:
        plant.offer(1, 2)
        plant.judge()
        wait_until(lambda: mes.seqs() == [2])
        wait_until(lambda: unacknowledged(plant) == 0)
    assert running.figures.of(Outcome.PARKED) == [1]
    (parked,) = (tmp_path / "parked.jsonl").read_text().splitlines()
    assert json.loads(parked)["message"]["data"]["seq"] == 1
    assert json.loads(parked)["why"] == "status 400"


def test_full_parked_file_holds_the_message_until_it_is_emptied(
    plant: Plant, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "parked.jsonl"
    path.write_text("{}\n")
    refusals = [400] * 5000
    with receiver(*refusals) as (mes, to), webhook(plant, url, to, tmp_path, most_parked=1):
        plant.offer(1)
        plant.judge()
        wait_until(lambda: "webhook.parked_full" in caplog.messages)
        assert unacknowledged(plant) == 1
        path.write_text("")
        wait_until(lambda: unacknowledged(plant) == 0)
    assert mes.taken == []


def test_receiver_that_is_away_gets_the_backlog_in_order_marked_as_historical(
    plant: Plant, url: str, tmp_path: Path
) -> None:
    ResultReader(plant.client, plant.name).join("bridge", from_start=True)
    open_frames = Keys(plant.name).open
    plant.offer(*range(300), in_ns=20_000_000)
    wait_until(lambda: plant.worker().expire() == 0 and not plant.client.zcard(open_frames))
    plant.offer(300)
    plant.judge()
    with receiver() as (mes, to), webhook(plant, url, to, tmp_path):
        wait_until(lambda: len(mes.taken) == 301)
    assert mes.seqs() == list(range(301))
    historical = [message["data"]["historical"] for message in mes.taken]
    assert historical == [True] * 300 + [False]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    found = shutil.which("openssl")
    if found is None:
        missing("no openssl to make certificates with")
    return Authority(str(found), tmp_path / "ca")


def test_receiver_is_told_nothing_unless_its_certificate_is_trusted(
    plant: Plant, url: str, tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    with receiver(tls=authority.server_context()) as (mes, to):
        with webhook(plant, url, to, tmp_path):
            plant.offer(1)
            plant.judge()
            wait_until(lambda: "webhook.waiting" in caplog.messages)
            assert unacknowledged(plant) == 1
        assert mes.ids == []
        with webhook(plant, url, to, tmp_path, ca_file=authority.certificate):
            wait_until(lambda: mes.seqs() == [1])
    waiting = [record for record in caplog.records if record.message == "webhook.waiting"]
    assert "CERTIFICATE_VERIFY_FAILED" in waiting[0].__dict__["why"]
