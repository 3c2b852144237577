"""Figures of this machine and of this process."""

import subprocess
import sys

import pytest
from fakes.gpu_driver import NOT_INITIALISED, FakeDriver

from engines.errors import BackendError, NoDriver
from engines.machine import find_gpu, list_gpus

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


def test_gpus_are_listed_with_name_and_architecture() -> None:
    gpus = list_gpus(lambda _: FakeDriver(["NVIDIA L4", "NVIDIA L40"]))
    assert [gpu.name for gpu in gpus] == ["NVIDIA L4", "NVIDIA L40"]
    assert gpus[0].target == "sm_89"
    assert find_gpu(1, lambda _: FakeDriver(["NVIDIA L4", "NVIDIA L40"])).name == "NVIDIA L40"
    with pytest.raises(BackendError, match="GPU 1 was requested, but this machine has 1"):
        find_gpu(1, lambda _: FakeDriver(["NVIDIA L4"]))


def test_missing_driver_is_told_from_one_that_does_not_start() -> None:
    def absent(name: str) -> FakeDriver:
        raise OSError(f"{name}: no such file")

    with pytest.raises(NoDriver, match="no NVIDIA driver"):
        list_gpus(absent)
    with pytest.raises(BackendError, match="does not start: error number 3") as refused:
        list_gpus(lambda _: FakeDriver(status=NOT_INITIALISED))
    assert not isinstance(refused.value, NoDriver)
