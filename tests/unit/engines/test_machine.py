"""Figures of this machine and of this process."""

import subprocess
import sys

SMALL_MB = 200
LARGE_MB = 500
SHOW_PEAK = "from engines.machine import peak_memory_mb; print(peak_memory_mb())"
HOLD_AND_START = f"""
import subprocess, sys
held = bytearray({LARGE_MB * 1_000_000})
subprocess.run([sys.executable, "-c", {SHOW_PEAK!r}], check=True)
"""


def peak_mb(program: str) -> float:
    """The figure that a new process prints."""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return float(ended.stdout)


def test_peak_memory_counts_what_was_held_and_let_go() -> None:
    program = f"held = bytearray({LARGE_MB * 1_000_000})\ndel held\n{SHOW_PEAK}"
    assert peak_mb(program) > LARGE_MB


def test_peak_memory_is_not_that_of_the_starting_process() -> None:
    assert peak_mb(HOLD_AND_START) < SMALL_MB
