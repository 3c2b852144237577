"""deploy/bin: the timer of containers, what it leaves for Prometheus, how passwords are drawn."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from fakes.deploy_files import DEPLOY, SECRETS, program
from prometheus_client.parser import text_string_to_metric_families

from pipeline.telemetry import Telemetry, served

BIN = DEPLOY / "bin"
SCRIPTS = sorted(BIN.iterdir())


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_has_nothing_to_say(path: Path) -> None:
    done = subprocess.run(
        [program("shellcheck"), str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert os.access(path, os.X_OK)


def written(folder: Path, line: str) -> float:
    text = (folder / f"prn-retrain-{line}.prom").read_text()
    (family,) = text_string_to_metric_families(text)
    (sample,) = family.samples
    assert (sample.name, sample.labels) == (
        "prn_retrain_last_success_timestamp_seconds",
        {"line": line},
    )
    return float(sample.value)


def test_word_of_a_night_is_whole_and_leaves_nothing_else(tmp_path: Path) -> None:
    subprocess.run(
        [BIN / "say-retrained", "line-1"],
        check=True,
        env={**os.environ, "TEXTFILE_DIR": str(tmp_path)},
    )
    assert written(tmp_path, "line-1") > 1.7e9
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("line", ["", "../line", 'a"b', "a b"])
def test_word_of_a_night_is_refused_for_what_is_no_line(tmp_path: Path, line: str) -> None:
    done = subprocess.run(
        [BIN / "say-retrained", line],
        check=False,
        capture_output=True,
        env={**os.environ, "TEXTFILE_DIR": str(tmp_path)},
    )
    assert done.returncode == 2
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """A folder of programs in which nights pass at once: `sleep` waits for a line in a pipe."""
    programs = tmp_path / "programs"
    programs.mkdir()
    os.mkfifo(tmp_path / "nights")
    for name, text in {
        "sleep": f'echo "$1" >>{tmp_path}/slept; read -r _ <{tmp_path}/nights || exit 0',
        "work": f'read -r how <{tmp_path}/how; echo "$@" >>{tmp_path}/worked; exit "$how"',
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    os.mkfifo(tmp_path / "how")
    return tmp_path


@contextmanager
def nightly(folder: Path, at: str = "02:00") -> Iterator[subprocess.Popen[str]]:
    path = f"{folder / 'programs'}:{BIN}:{os.environ['PATH']}"
    timer = subprocess.Popen(
        [BIN / "nightly", at, "line-1", "work", "--line", "line-1"],
        env={**os.environ, "PATH": path, "TEXTFILE_DIR": str(folder)},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield timer
    finally:
        with suppress(ProcessLookupError):
            os.killpg(timer.pid, signal.SIGKILL)  # what it started, too
        timer.communicate()


def pass_night(folder: Path, status: int) -> None:
    (folder / "nights").write_text("\n")
    (folder / "how").write_text(f"{status}\n")


def test_nightly_goes_on_after_a_night_that_failed_and_tells_of_one_that_did_not(
    night: Path,
) -> None:
    with nightly(night) as timer:
        pass_night(night, 1)
        pass_night(night, 0)
        with (night / "nights").open("w"):  # it sleeps again: the second night is over
            timer.send_signal(signal.SIGTERM)
            _, said = timer.communicate(timeout=20)
    assert timer.returncode == 128 + signal.SIGTERM
    assert (night / "worked").read_text() == "--line line-1\n" * 2
    assert said.count("ended with status 1") == 1
    assert written(night, "line-1") > 1.7e9
    assert all(0 < int(s) <= 25 * 3600 for s in (night / "slept").read_text().split())


def test_nightly_waits_where_summer_time_leaves_its_minute_out(night: Path) -> None:
    gap, date = night / "gap", night / "programs/date"
    gap.touch()
    date.write_text(
        f'#!/bin/sh\ncase $1 in -d) [ ! -e {gap} ] || exit 1 ;; esac\nexec /bin/date "$@"\n'
    )
    date.chmod(0o755)
    with nightly(night) as timer:
        with (night / "nights").open("w") as pipe:  # it sleeps the hour
            gap.unlink()
            pipe.write("\n")
        deadline = time.monotonic() + 20
        while (night / "slept").read_text().count("\n") < 2 and time.monotonic() < deadline:
            time.sleep(0.01)  # until it reads the pipe anew
        pass_night(night, 0)
        with (night / "nights").open("w"):
            timer.send_signal(signal.SIGTERM)
            _, said = timer.communicate(timeout=20)
    assert (night / "worked").read_text() == "--line line-1\n"
    assert (night / "slept").read_text().split()[0] == "3600"
    assert said.count("summer time") == 1


def test_nightly_refuses_what_is_no_time(night: Path) -> None:
    with nightly(night, "25:00") as timer:
        _, said = timer.communicate(timeout=20)
    assert timer.returncode == 2
    assert "HH:MM" in said


@pytest.mark.parametrize(("status", "ended"), [(0, 0), (3, 0), (1, 1), (2, 2)])
def test_one_night_ends_as_it_ended_and_a_refusal_by_the_gate_is_an_end(
    night: Path, status: int, ended: int
) -> None:
    with nightly(night, "now") as timer:
        (night / "how").write_text(f"{status}\n")
        timer.communicate(timeout=20)
    assert timer.returncode == ended
    assert (night / "prn-retrain-line-1.prom").exists() is (ended == 0)
    assert not (night / "slept").exists()


def test_nightly_hands_a_signal_on_to_the_work(night: Path) -> None:
    started = night / "started"
    os.mkfifo(started)
    (night / "programs/work").write_text(
        f"#!/bin/sh\n/bin/sleep 60 &\ntrap 'kill $!; echo stopped >{night}/stopped; exit 1' TERM\n"
        f"echo $$ >{started}\nwait\n"
    )
    with nightly(night) as timer:
        (night / "nights").write_text("\n")
        started.read_text()
        timer.send_signal(signal.SIGTERM)
        timer.communicate(timeout=20)
    assert (night / "stopped").read_text() == "stopped\n"
    assert not (night / "prn-retrain-line-1.prom").exists()


def test_passwords_are_drawn_once_and_closed_to_others(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    command = [BIN / "make-secrets", folder]
    subprocess.run(command, check=True)
    first = {name: (folder / name).read_text() for name in SECRETS}
    assert {path.name for path in folder.iterdir()} == set(SECRETS)
    assert folder.stat().st_mode & 0o077 == 0
    assert re.fullmatch("[0-9a-f]{64}", first["redis-password"])
    assert first["redis-password"] not in first["redis-users.acl"]
    again = subprocess.run(command, check=False, capture_output=True, text=True)
    assert again.returncode == 1
    assert "is there already" in again.stderr
    assert {name: (folder / name).read_text() for name in SECRETS} == first


@pytest.mark.parametrize("why", ["", "an engine hangs"])
@pytest.mark.parametrize("flag", ["--port {port}", "--port={port}", ""])
def test_health_check_asks_the_page_of_a_worker(why: str, flag: str) -> None:
    with served(Telemetry("line-1"), "127.0.0.1", 0, lambda: why, str) as port:
        command = f"python pipeline-worker --line line-1 {flag.format(port=port)}"
        environment = {**os.environ, "PRN_PORT": str(port)}
        done = subprocess.run(
            [str(BIN / "check-health"), command], env=environment, capture_output=True, check=False
        )
    assert (done.returncode == 0) == (why == "")


@pytest.mark.parametrize("command", ["pipeline-camera --camera cam-1", "pipeline-worker --line a"])
def test_health_check_passes_where_there_is_no_page_to_ask(command: str) -> None:
    environment = {name: text for name, text in os.environ.items() if name != "PRN_PORT"}
    subprocess.run([str(BIN / "check-health"), command], env=environment, check=True)
