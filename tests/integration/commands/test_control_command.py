import json
import logging
import subprocess
import sys

import pytest
from rigs.line import Plant

from pipeline.control import FROM_THE_FIRST, LineState, ManualThreshold, apply_messages
from pipeline.streams.connect import Client
from pipeline.streams.control import Controls
from pipeline.wire import encode_control, encode_report

COMMAND = [sys.executable, "-c", "from pipeline.cli import control; control()"]
ENGINE = "a" * 64


@pytest.fixture
def controls(client: Client, line: str) -> Controls:
    return Controls(client, line)


def by_hand(value: float) -> ManualThreshold:
    return ManualThreshold(value, (ENGINE,))


def threshold(**fields: float) -> bytes:
    return encode_control("threshold", **fields, engines=[ENGINE])


def command(url: str, line: str, *flags: str) -> "subprocess.CompletedProcess[str]":
    words = [*COMMAND, "--redis-url", url, "--line", line, *flags]
    return subprocess.run(words, capture_output=True, text=True, check=False)


def test_worker_hears_every_message_once(controls: Controls) -> None:
    controls.send(threshold(image=0.4))
    state, last = apply_messages(controls, LineState(), FROM_THE_FIRST)
    assert state == LineState(by_hand(0.4))
    controls.send(threshold(pixel=0.3))
    controls.send(encode_control("pause"))
    state, last = apply_messages(controls, state, last)
    assert state == LineState(by_hand(0.4), by_hand(0.3), paused=True)
    assert apply_messages(controls, state, last) == (state, last)


def test_worker_that_starts_late_stands_as_the_others(controls: Controls) -> None:
    for number in range(2500):
        controls.send(threshold(image=float(number)))
    controls.send(b"\xc1 foreign")
    controls.send(encode_control("pause"))
    controls.send(encode_control("resume"))
    state, _ = apply_messages(controls, LineState(), FROM_THE_FIRST)
    assert state == LineState(by_hand(2499.0))


def test_foreign_message_is_ignored_with_a_warning(
    controls: Controls, caplog: pytest.LogCaptureFixture
) -> None:
    controls.send(b"")
    assert apply_messages(controls, LineState(by_hand(0.5)), FROM_THE_FIRST)[0] == LineState(
        by_hand(0.5)
    )
    assert [(record.msg, record.levelno) for record in caplog.records] == [
        ("control.ignored", logging.WARNING)
    ]


def test_command_sets_thresholds_for_the_engines_that_judge(
    controls: Controls, client: Client, url: str, line: str
) -> None:
    worker = Plant(client, line).worker("host:1:cpu")
    worker.send_heartbeat(encode_report({"engine": "protoad", "sha256": ENGINE}), 60_000)
    done = command(url, line, "--threshold", "0.42", "--pixel-threshold", "0.3", "--pause")
    assert (done.returncode, done.stderr) == (0, "")
    found = apply_messages(controls, LineState(), FROM_THE_FIRST)[0]
    assert found == LineState(by_hand(0.42), by_hand(0.3), paused=True)
    done = command(url, line, "--show")
    said = "threshold 0.42 (of aaaaaaaaaaaa), pixel threshold 0.3 (of aaaaaaaaaaaa), paused"
    assert said in " ".join(done.stdout.split())


def test_command_refuses_a_threshold_where_no_worker_says_of_which_engine(
    controls: Controls, url: str, line: str
) -> None:
    done = command(url, line, "--threshold", "0.42", "--reset")
    assert done.returncode == 1
    assert "start pipeline-worker" in done.stderr
    assert controls.since("0-0") == []
    assert "no worker is alive" in command(url, line, "--show").stdout


def test_command_shows_every_living_worker(
    controls: Controls, client: Client, url: str, line: str
) -> None:
    worker = Plant(client, line).worker("host:1:cpu")
    worker.send_heartbeat(
        encode_report({"engine": "protoad", "threshold": 0.5, "frames": 7}), 60_000
    )
    Plant(client, line).worker("odd").send_heartbeat(b"\xc1", 60_000)
    assert list(controls.workers()) == ["host:1:cpu", "odd"]
    found = json.loads(command(url, line, "--show", "--json").stdout)
    first, odd = found["workers"]
    assert (first["worker"], first["engine"], first["frames"]) == ("host:1:cpu", "protoad", 7)
    assert odd == {"worker": "odd"}


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ([], "say what"),
        (["--pause", "--resume"], "give one"),
        (["--threshold", "nan"], "--threshold"),
        (["--pixel-threshold", "1.5"], "--pixel-threshold"),
    ],
)
def test_command_refuses_what_makes_no_sense(
    controls: Controls, url: str, line: str, flags: list[str], told: str
) -> None:
    done = command(url, line, *flags)
    assert done.returncode == 2
    assert told in done.stderr
    assert controls.since("0-0") == []


def test_command_shows_drift_of_every_camera(client: Client, url: str, line: str) -> None:
    drift = {
        "state": "camera",
        "learned": 1.0,
        "ng_share": 0.05,
        "distance": [1.3, 1.25, 1.4],
        "scales": [2.1, 1.9, 3.0],
        "cells_moved": 14,
    }
    worker = Plant(client, line).worker("host:1:cpu")
    worker.send_heartbeat(encode_report({"engine": "prn-s", "drift": {"cam-1": drift}}), 60_000)
    shown = command(url, line, "--show").stdout
    assert "cam-1" in shown
    assert "+2.1 +1.9 +3.0" in shown
    found = json.loads(command(url, line, "--show", "--json").stdout)
    assert found["workers"][0]["drift"] == {"cam-1": drift}


def test_names_that_look_like_markup_are_shown_as_they_are(
    controls: Controls, client: Client, url: str, line: str
) -> None:
    drift = {"cam[/]": {"state": "steady", "distance": [1.0]}}
    beat = encode_report({"engine": "[red]protoad", "version": "\x1b[2J", "drift": drift})
    client.set(f"{{{line}}}:worker:[/]", beat, px=60_000)
    done = command(url, line, "--show")
    assert done.returncode == 0, done.stderr
    shown = "".join(word.strip() for word in done.stdout.replace("\u2502", " ").split())
    assert "[/]" in shown
    assert "[red]" in shown
    assert "\\x1b" in shown
    assert "\x1b" not in shown
    assert list(controls.workers()) == ["[/]"]


def test_command_shows_the_zones_of_every_worker(client: Client, url: str, line: str) -> None:
    zones = {"zones": "c" * 64, "zones_refused": "zones file z.json: two zones are called 'a[/]'"}
    Plant(client, line).worker("host:1:cpu").send_heartbeat(encode_report(zones), 60_000)
    shown = command(url, line, "--show").stdout
    assert f"zones of host:1:cpu: {'c' * 64}" in shown
    assert "host:1:cpu refuses its zones file: zones file z.json: two zones" in shown
    (worker,) = json.loads(command(url, line, "--show", "--json").stdout)["workers"]
    assert worker["zones"] == "c" * 64
