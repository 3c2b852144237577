"""The MQTT face against a real broker, with that broker's own programs as clients."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rigs.bridge import Bridge, Clock, bridge
from rigs.broker import PASSWORD, USER, Mosquitto, mosquitto, publish, subscriber, with_password
from rigs.line import Plant
from rigs.missing import missing
from rigs.tls import Authority
from rigs.topology import free_port, wait_until

from pipeline.bridge.mqtt.broker import Broker, BrokerFiles
from pipeline.bridge.mqtt.face import LineReading, MqttFace
from pipeline.bridge.mqtt.topics import Topics
from pipeline.consumer import Verdicts
from pipeline.frames import Decision
from pipeline.streams.connect import Client
from pipeline.streams.keys import Keys
from pipeline.streams.result_reader import ResultReader

ALL = "plant/#"
NO_FILES = BrokerFiles()


@pytest.fixture
def plant(client: Client, line: str) -> Plant:
    return Plant(client, line)


@contextmanager
def mqtt(
    plant: Plant,
    url: str,
    to: str,
    files: BrokerFiles = NO_FILES,
    user: str = "",
) -> Iterator[Bridge]:
    def face_of(now_ms: Clock) -> MqttFace:
        verdicts = now_ms.__self__  # type: ignore[attr-defined]  # of the rig's Consumer
        assert isinstance(verdicts, Verdicts)
        return MqttFace(
            Broker.from_url(to, files, user=user),
            Topics("plant", plant.name),
            "bridge",
            LineReading(now_ms, verdicts.kept),
            spread=lambda *_: 0.01,
        )

    with bridge(plant, url, face_of) as running:
        yield running


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    with mosquitto(tmp_path) as running:
        yield running


def address(broker: Mosquitto) -> str:
    return f"mqtt://127.0.0.1:{broker.port}"


def unacknowledged(plant: Plant) -> int:
    return int(plant.client.xpending(Keys(plant.name).results, "bridge")["pending"])


def test_every_verdict_comes_in_order_and_is_then_acknowledged(
    plant: Plant, url: str, broker: Mosquitto
) -> None:
    with subscriber(broker, ALL) as mes, mqtt(plant, url, address(broker)):
        plant.offer(*range(300))
        plant.judge(Decision.NG)
        wait_until(lambda: len(mes.of("verdict")) == 300)
        wait_until(lambda: unacknowledged(plant) == 0)
    assert mes.seqs() == list(range(300))
    first = mes.of("verdict")[0]
    assert (first["camera"], first["part_id"], first["code"]) == ("cam", "part-0", "NG")
    assert (first["v"], first["historical"], "resent" in first) == (1, False, False)
    assert {topic for topic, _ in mes.messages} == {
        f"plant/{plant.name}/{topic}" for topic in ("status", "cam/verdict", "cam/last")
    }
    assert mes.of("last")[-1]["seq"] == 299


def test_last_verdict_and_status_are_retained(plant: Plant, url: str, broker: Mosquitto) -> None:
    with mqtt(plant, url, address(broker)):
        plant.offer(1, 2)
        plant.judge()
        wait_until(lambda: "cam/last" in broker.log and unacknowledged(plant) == 0)
        with subscriber(broker, ALL) as late:
            wait_until(lambda: bool(late.of("last") and late.of("status")))
            wait_until(lambda: late.of("last")[-1]["seq"] == 2)
            wait_until(lambda: late.of("status")[-1]["ready"] is True)
            assert late.of("verdict") == []
    with subscriber(broker, ALL) as after:
        wait_until(lambda: bool(after.of("status")))
    assert after.of("status") == [{"v": 1, "online": False}]


def test_receiver_that_was_away_gets_the_backlog_in_order_marked_as_historical(
    plant: Plant, url: str, broker: Mosquitto
) -> None:
    ResultReader(plant.client, plant.name).join("bridge", from_start=True)
    open_frames = Keys(plant.name).open
    plant.offer(*range(200), in_ns=20_000_000)
    wait_until(lambda: plant.worker().expire() == 0 and not plant.client.zcard(open_frames))
    plant.offer(200)
    plant.judge()
    with subscriber(broker, ALL) as mes, mqtt(plant, url, address(broker)):
        wait_until(lambda: len(mes.of("verdict")) == 201)
    assert mes.seqs() == list(range(201))
    assert [fields["historical"] for fields in mes.of("verdict")] == [True] * 200 + [False]


def test_nothing_is_lost_to_a_client_that_asks_again_though_the_broker_is_killed(
    plant: Plant, url: str, broker: Mosquitto
) -> None:
    got: dict[int, bool] = {}
    request = f"plant/{plant.name}/cam/resend"
    with mqtt(plant, url, address(broker)):
        with subscriber(broker, ALL) as mes:
            for at in range(0, 200, 20):
                plant.offer(*range(at, at + 20))
                plant.judge()
                if at == 100:
                    broker.kill()
            got |= dict.fromkeys(mes.seqs(), True)
        broker.start()
        with subscriber(broker, ALL) as mes:
            wait_until(lambda: unacknowledged(plant) == 0)
            publish(broker, request, json.dumps({"from": 0, "to": 199}))
            wait_until(lambda: len(set(mes.seqs()) | set(got)) == 200)
            wait_until(lambda: sum("resent" in fields for fields in mes.of("verdict")) == 200)
    resent = [fields["seq"] for fields in mes.of("verdict") if fields.get("resent")]
    assert resent == list(range(200))


def test_bounded_memory_and_nothing_acknowledged_while_the_broker_is_away(
    plant: Plant, url: str, tmp_path: Path
) -> None:
    broker = Mosquitto(tmp_path)
    with mqtt(plant, url, address(broker)) as running:
        plant.offer(*range(400))
        plant.judge()
        wait_until(lambda: len(running.pump._pending) == running.face.most_pending)
        assert plant.client.xpending(Keys(plant.name).results, "bridge")["pending"] >= 64
        broker.start()
        try:
            with subscriber(broker, ALL):
                wait_until(lambda: unacknowledged(plant) == 0)
        finally:
            broker.kill()


def test_what_is_not_kept_is_refused_with_its_seqs(
    plant: Plant, url: str, broker: Mosquitto
) -> None:
    topic = f"plant/{plant.name}/cam/resend"
    with mqtt(plant, url, address(broker)):
        plant.offer(5, 6, 9)
        plant.judge()
        wait_until(lambda: "SUBACK" in broker.log and unacknowledged(plant) == 0)
        with subscriber(broker, f"plant/{plant.name}/+/error") as errors:
            publish(broker, topic, json.dumps({"from": 4, "to": 9}))
            publish(broker, topic, "x" * 300)
            publish(broker, topic, '{"from": 1, "extra": 2}')
            wait_until(lambda: len(errors.messages) == 3)
    kinds = {fields["error"]: fields for fields in errors.of("error")}
    assert kinds["not_kept"]["missing"] == [[4, 4], [7, 8]]
    assert sorted(fields["error"] for fields in errors.of("error")) == [
        "bad_request",
        "bad_request",
        "not_kept",
    ]


def test_wrong_password_is_a_failure_in_one_sentence_and_the_right_one_is_not(
    plant: Plant, url: str, tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text("wrong\n")
    password.chmod(0o600)
    files = BrokerFiles(password=password)
    with mosquitto(tmp_path, *with_password(tmp_path)) as broker:
        to = Broker.from_url(address(broker), files, user=USER)
        reading = LineReading(lambda: None, lambda _: [])
        refused = MqttFace(to, Topics("plant", plant.name), "bridge", reading)
        refused.start()
        try:
            wait_until(lambda: bool(refused.failure()))
            assert refused.failure() == "the broker refuses the connection: Not authorized"
        finally:
            refused.stop()
        password.write_text(PASSWORD)
        with (
            subscriber(broker, ALL, "-u", USER, "-P", PASSWORD) as mes,
            mqtt(plant, url, address(broker), files, USER),
        ):
            plant.offer(1)
            plant.judge()
            wait_until(lambda: mes.seqs() == [1])


def test_verdict_that_the_broker_refuses_is_not_acknowledged_until_it_is_taken(
    plant: Plant, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rules = tmp_path / "rules"
    rules.write_text(f"topic readwrite plant/{plant.name}/status\n")
    lines = ["allow_anonymous true", f"acl_file {rules}"]
    with mosquitto(tmp_path, *lines) as broker, mqtt(plant, url, address(broker)):
        plant.offer(1)
        plant.judge()
        wait_until(lambda: any("Not authorized" in why for why in waits(caplog)))
        assert unacknowledged(plant) == 1
        broker.kill()
        rules.write_text("topic readwrite plant/#\n")
        broker.start()
        wait_until(lambda: unacknowledged(plant) == 0)


def waits(caplog: pytest.LogCaptureFixture) -> list[str]:
    waiting = [record for record in caplog.records if record.message == "mqtt.waiting"]
    return [record.__dict__["why"] for record in waiting]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    found = shutil.which("openssl")
    if found is None:
        missing("no openssl to make certificates with")
    return Authority(str(found), tmp_path / "ca")


def test_tls_with_a_client_certificate_and_no_word_to_a_broker_that_is_not_trusted(
    plant: Plant, url: str, tmp_path: Path, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    mine, key = authority.issue("bridge")
    ours = ["--cafile", str(authority.certificate), "--cert", str(mine), "--key", str(key)]
    files = BrokerFiles(ca=authority.certificate, certificate=mine, key=key)
    with mosquitto(tmp_path, authority=authority) as broker:
        to = f"mqtts://127.0.0.1:{broker.port}"
        with subscriber(broker, ALL, *ours) as mes:
            with mqtt(plant, url, to, BrokerFiles(certificate=mine, key=key)):
                plant.offer(1)
                plant.judge()
                wait_until(lambda: "mqtt.waiting" in caplog.messages)
                assert unacknowledged(plant) == 1
            assert mes.messages == []
            with mqtt(plant, url, to, files):
                wait_until(lambda: mes.seqs() == [1])
    assert "CERTIFICATE_VERIFY_FAILED" in waits(caplog)[0]


def test_broker_away_is_waited_for_with_backoff(
    plant: Plant, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with mqtt(plant, url, f"mqtt://127.0.0.1:{free_port()}") as running:
        wait_until(lambda: caplog.messages.count("mqtt.waiting") > 2)
        assert running.face.failure() == ""
