"""Logs stay readable and small: repeated events, lines of libraries, control characters."""

import json
import logging
import subprocess
import sys
from typing import Any

import pytest

from pipeline.logs import MOST_A_MINUTE, RepeatLimit

LIBRARY = """
import logging, os, sys
from pipeline.logs import library_lines, start_logs

start_logs("info", sys.argv[1])
with library_lines(sys.argv[1]):
    os.write(2, b"libpng error: bad adaptive filter value\\n\\n[ WARN:0@1.1] \\xff no newline")
    logging.getLogger("ours").info("frame.judged", extra={"part": "\\x1b[31mred"})
    print("said by Python", file=sys.stderr)
    {more}
sys.exit("pipeline-worker: ended")
"""
REPEATS = "for _ in range(1000): os.write(2, b'libpng warning\\n')"


def run(form: str, more: str = "pass") -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", LIBRARY.replace("{more}", more), form],
        capture_output=True,
        text=True,
        check=False,
        errors="backslashreplace",
    )
    assert done.returncode == 1
    return done.stderr.splitlines()


def test_lines_of_libraries_are_logged_as_events() -> None:
    lines = run("json")
    assert lines[-1] == "pipeline-worker: ended"
    assert "said by Python" in lines
    events = [json.loads(line) for line in lines if line.startswith("{")]
    assert len(events) + 2 == len(lines)
    texts = [event["text"] for event in events if event["event"] == "library.line"]
    assert texts == [
        "libpng error: bad adaptive filter value",
        "[ WARN:0@1.1] \N{REPLACEMENT CHARACTER} no newline",
    ]


def test_lines_of_libraries_are_limited_and_counted() -> None:
    events = [json.loads(line) for line in run("json", REPEATS) if line.startswith("{")]
    lines = [event for event in events if event["event"] == "library.line"]
    (left_out,) = [event for event in events if event["event"] == "log.left_out"]
    assert len(lines) == MOST_A_MINUTE
    assert (left_out["of"], left_out["records"]) == ("library.line", 1001 - MOST_A_MINUTE)


def test_text_logs_leave_libraries_alone_and_give_a_terminal_no_orders() -> None:
    said = "\n".join(run("text"))
    assert "libpng error: bad adaptive filter value" in said
    assert "\\x1b[31mred" in said
    assert "\x1b[31mred" not in said


class Minutes:
    """A clock and what is written."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.told: list[dict[str, Any]] = []
        self.limit = RepeatLimit(lambda record: self.told.append(vars(record)), lambda: self.now_s)

    def log(self, event: str, times: int = 1, level: int = logging.ERROR) -> int:
        """Log an event and return how often it was written."""
        record = logging.LogRecord("line", level, "", 0, event, None, None)
        return sum(self.limit.filter(record) for _ in range(times))


@pytest.fixture
def minutes() -> Minutes:
    return Minutes()


def test_event_that_repeats_is_written_so_often_a_minute_and_counted(minutes: Minutes) -> None:
    assert minutes.log("frames.unknown", 500) == MOST_A_MINUTE
    minutes.now_s = 59.9
    assert minutes.log("frames.unknown") == 0
    assert minutes.told == []
    minutes.now_s = 60.0
    assert minutes.log("worker.draining") == 1
    (told,) = minutes.told
    assert (told["of"], told["records"]) == ("frames.unknown", 501 - MOST_A_MINUTE)
    assert told["levelno"] == logging.ERROR
    assert minutes.log("frames.unknown", 2) == 2


def test_one_event_keeps_no_other_from_being_written(minutes: Minutes) -> None:
    minutes.log("frames.shed", 500)
    assert minutes.log("redis.away") == 1
    assert minutes.log("frames.shed", level=logging.WARNING) == 1


def test_what_was_left_out_is_told_at_the_end(minutes: Minutes) -> None:
    minutes.log("frames.shed", MOST_A_MINUTE + 3)
    minutes.log("redis.away")
    minutes.limit.close()
    assert [(told["of"], told["records"]) for told in minutes.told] == [("frames.shed", 3)]
