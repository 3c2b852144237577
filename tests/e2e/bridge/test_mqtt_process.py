"""`pipeline-bridge --to mqtt` as a process of its own, its broker and a client of that broker."""

import signal
import subprocess
import sys
from pathlib import Path

from rigs.broker import PASSWORD, USER, mosquitto, subscriber, with_password
from rigs.line import Plant
from rigs.topology import wait_until

from pipeline.streams.connect import Access, open_client
from pipeline.streams.embedded import embedded_url
from pipeline.wire import encode_report


def command(*flags: str) -> list[str]:
    return [sys.executable, "-c", "from pipeline.cli import bridge; bridge()", *flags]


def test_bridge_that_is_killed_is_offline_and_goes_on_where_it_was(tmp_path: Path) -> None:
    (tmp_path / "broker").mkdir()
    log = (tmp_path / "log").open("wb")
    with embedded_url(tmp_path / "redis") as url, mosquitto(tmp_path / "broker") as broker, log:
        redis = open_client(Access(url))
        plant = Plant(redis, "line-1")
        plant.worker("alive").send_heartbeat(encode_report({"engine": "fixed"}), 600_000)
        words = command(
            *("--line", "line-1", "--to", "mqtt", "--redis-url", url),
            *("--url", f"mqtt://127.0.0.1:{broker.port}", "--topic-root", "plant/hall"),
        )
        with subscriber(broker, "plant/hall/line-1/#") as mes:

            def online() -> list[bool]:
                return [fields["online"] for fields in mes.of("status")]

            first = subprocess.Popen(words, stderr=log)
            try:
                wait_until(lambda: bool(mes.of("status")) and mes.of("status")[-1]["ready"])
                plant.offer(*range(50))
                plant.judge()
                wait_until(lambda: len(mes.seqs()) == 50)
            finally:
                first.kill()
                first.wait()
            wait_until(lambda: online()[-1] is False)
            plant.offer(*range(50, 100))
            plant.judge()
            second = subprocess.Popen(words, stderr=log)
            try:
                wait_until(lambda: len(set(mes.seqs())) == 100)
                assert online()[-1] is True
                second.send_signal(signal.SIGTERM)
                assert second.wait(20) == 0
            finally:
                second.kill()
                second.wait()
            wait_until(lambda: online()[-1] is False)
        redis.close()
    assert sorted(set(mes.seqs())) == list(range(100))


def test_wrong_password_is_one_sentence_that_does_not_tell_it(tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text("wrong-" + PASSWORD)
    password.chmod(0o600)
    with (
        embedded_url(tmp_path / "redis") as url,
        mosquitto(tmp_path, *with_password(tmp_path)) as broker,
    ):
        words = command(
            *("--line", "line-1", "--to", "mqtt", "--redis-url", url, "--log-level", "error"),
            *("--url", f"mqtt://127.0.0.1:{broker.port}", "--broker-user", USER),
            *("--broker-password-file", str(password)),
        )
        ended = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    sentence = "pipeline-bridge: the broker refuses the connection: Not authorized"
    assert ended.stderr.splitlines()[-1] == sentence
    assert PASSWORD not in ended.stderr
