import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from rigs.line import Plant

from pipeline.consumer import Consumer
from pipeline.frames import Decision, Reason
from pipeline.streams.connect import Client
from pipeline.streams.keys import Keys

COMMAND = [sys.executable, "-c", "from pipeline.cli import consume; consume()"]
IDLE = ("--from-start", "--idle-s", "1")


@pytest.fixture
def plant(client: Client, line: str) -> Plant:
    """A line with an OK, an NG and an UNKNOWN verdict."""
    made = Plant(client, line)
    made.offer(1, 2, 3)
    made.judge(Decision.OK, count=1)
    made.judge(Decision.NG, count=1)
    made.judge(Reason.UNREADABLE, count=1)
    return made


@pytest.fixture
def consume(plant: Plant, url: str) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    def run(*flags: str, limit_file_bytes: int | None = None) -> "subprocess.CompletedProcess[str]":
        def no_room() -> None:
            if limit_file_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit_file_bytes, limit_file_bytes))

        command = [*COMMAND, "--redis-url", url, "--line", plant.name, *flags]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            preexec_fn=no_room,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )

    return run


Consume = Callable[..., "subprocess.CompletedProcess[str]"]


def lines(done: "subprocess.CompletedProcess[str]") -> list[dict[str, Any]]:
    return [json.loads(text) for text in done.stdout.splitlines()]


def test_verdicts_are_printed_as_json_lines(consume: Consume) -> None:
    done = consume(*IDLE)
    assert (done.returncode, done.stderr) == (0, "")
    good, bad, unknown = lines(done)
    assert (good["decision"], good["part_id"], good["score"]) == ("OK", "part-1", 0.7)
    assert bad["regions"][0]["area_px"] == 9
    assert "mask" not in bad
    assert (unknown["decision"], unknown["reason"], unknown["score"]) == (
        "UNKNOWN",
        "UNREADABLE",
        None,
    )


def test_program_goes_on_where_it_left_off(consume: Consume) -> None:
    assert [verdict["seq"] for verdict in lines(consume(*IDLE, "--count", "2"))] == [1, 2]
    assert [verdict["seq"] for verdict in lines(consume(*IDLE))] == [3]
    assert [verdict["seq"] for verdict in lines(consume(*IDLE, "--program", "mes"))] == [1, 2, 3]


def test_only_what_was_asked_for_is_printed(consume: Consume) -> None:
    assert [verdict["seq"] for verdict in lines(consume(*IDLE, "--only", "NG,UNKNOWN"))] == [2, 3]


def test_mask_is_printed_where_it_is_asked_for(consume: Consume) -> None:
    done = consume(*IDLE, "--mask", "--only", "NG")
    (bad,) = lines(done)
    assert bad["mask"]["size"] == [8, 8]
    assert bad["mask"]["counts"] == [19, 3, 5, 3, 5, 3, 26]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_in_order(plant: Plant, url: str, number: int) -> None:
    command = [*COMMAND, "--redis-url", url, "--line", plant.name, "--from-start"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        for _ in range(3):
            process.stdout.readline()
        process.send_signal(number)
        rest, said = process.communicate(timeout=30)
    assert (process.returncode, rest, said) == (0, b"", b"")
    assert plant.client.xpending(Keys(plant.name).results, "consume")["pending"] == 0


def test_reader_that_goes_away_ends_it_quietly(plant: Plant, url: str) -> None:
    command = [*COMMAND, "--redis-url", url, "--line", plant.name, "--from-start"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        plant.offer(4, 5)
        plant.judge()
        assert process.wait(timeout=30) == 0
        assert process.stderr.read() == b""


def test_overlays_show_the_parts_that_are_not_ok(
    consume: Consume, tmp_path: Path, rng: np.random.Generator
) -> None:
    pictures = tmp_path / "pictures" / "inner"
    pictures.mkdir(parents=True)
    shot = rng.integers(100, 140, (16, 16, 3), np.uint8)
    cv2.imwrite(str(pictures / "part-2.png"), shot)
    overlays = tmp_path / "overlays"
    done = consume(*IDLE, "--overlay-dir", str(overlays), "--pictures", str(tmp_path / "pictures"))
    assert (done.returncode, done.stderr) == (0, "")
    names = sorted(path.name for path in overlays.iterdir())
    assert names == ["cam_00000002_NG_part-2.jpg", "cam_00000003_UNREADABLE_part-3.jpg"]
    drawn = cv2.imread(str(overlays / names[0]))
    assert drawn is not None
    marked, plain = drawn[220, 280], drawn[450, 60]
    assert int(marked[2]) > int(marked[0]) + 30  # red, in BGR
    assert np.ptp(plain.astype(int)) < 45


@pytest.mark.parametrize("size", [0, 1000])
def test_full_disk_does_not_stop_the_verdicts(consume: Consume, tmp_path: Path, size: int) -> None:
    overlays = tmp_path / "overlays"
    done = consume(*IDLE, "--overlay-dir", str(overlays), limit_file_bytes=size)
    assert done.returncode == 1
    assert [verdict["seq"] for verdict in lines(done)] == [1, 2, 3]
    assert done.stderr.count("overlay.failed") == 1
    assert "2 overlay pictures could not be written" in done.stderr
    assert list(overlays.iterdir()) == []


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--only", "GOOD"], "no decision: GOOD"),
        (["--pictures", "/nowhere/at/all"], "no folder"),
        (["--program", "a b"], "--program"),
        (["--count", "0"], "--count"),
    ],
)
def test_wrong_flags_are_named(consume: Consume, flags: list[str], told: str) -> None:
    done = consume(*flags)
    assert done.returncode == 2
    assert told in done.stderr


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_full_disk_never_takes_a_verdict_that_was_not_written_whole(
    plant: Plant, url: str, tmp_path: Path, unbuffered: str
) -> None:
    output = tmp_path / "verdicts.jsonl"
    command = [*COMMAND, "--redis-url", url, "--line", plant.name, *IDLE]
    surroundings = {**os.environ, "PYTHONUNBUFFERED": unbuffered, "PYTHONDONTWRITEBYTECODE": "1"}

    def consume_into_a_file(limit_bytes: int) -> "subprocess.CompletedProcess[bytes]":
        def little_room() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

        with output.open("ab") as file:
            return subprocess.run(
                command,
                stdout=file,
                stderr=subprocess.PIPE,
                check=False,
                timeout=60,
                preexec_fn=little_room,
                env=surroundings,
            )

    done = consume_into_a_file(1500)  # not enough for three lines
    assert done.returncode != 0
    assert b"File too large" in done.stderr
    assert len(output.read_bytes().splitlines()) < 3
    done = consume_into_a_file(1 << 20)
    assert done.returncode == 0
    printed = [json.loads(line)["seq"] for line in output.read_text().splitlines()]
    assert printed == [1, 2, 3]


def test_program_that_reads_already_is_not_joined_by_a_second_one(
    consume: Consume, plant: Plant, url: str
) -> None:
    with Consumer(plant.name, "plc", redis_url=url):
        done = consume(*IDLE, "--program", "plc")
    assert done.returncode == 1
    assert "another process reads" in done.stderr
    assert "--program" in done.stderr
    assert done.stdout == ""


def test_verdict_that_names_no_frame_is_printed(consume: Consume, plant: Plant) -> None:
    plant.client.xadd(Keys(plant.name).results, {"k": b"OK", "m": b"foreign"})
    *_, foreign = lines(consume(*IDLE))
    assert (foreign["decision"], foreign["reason"]) == ("UNKNOWN", "FOREIGN")
    assert (foreign["camera"], foreign["seq"], foreign["answer"]) == ("", -1, "OK")
