import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("measure.py")
CHECKED = ("compile", "tests", "kernel", "composition", "compiled", "network")
FIGURES = {  # one that each step must have
    "tests": "counts",
    "kernel": "calls",
    "composition": "forms",
    "compiled": "forms",
    "network": "inference",
}


def measure(out: Path, *flags: str) -> tuple[int, str, dict]:
    command = [sys.executable, str(PROGRAM), "--device", "cpu", "--out", str(out), *flags]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=280)
    report = json.loads(out.read_text("utf-8")) if out.is_file() else {}
    return done.returncode, done.stdout + done.stderr, report


def test_every_check_of_a_gpu_runs_through_the_kernel_on_a_cpu(tmp_path: Path, cxx: str) -> None:
    assert cxx
    steps = ["packages", *CHECKED, "sanitizer"]
    status, said, report = measure(tmp_path / "out" / "gpu.json", "--only", ",".join(steps))
    assert status == 0, said
    assert set(report["steps"]) == set(steps)
    found = {name: step["status"] for name, step in report["steps"].items()}
    assert found == dict.fromkeys(steps, "ok") | {"packages": "not run", "sanitizer": "not run"}
    for name, figure in FIGURES.items():
        assert report["steps"][name]["figures"][figure], name
    assert report["steps"]["tests"]["figures"]["counts"]["skipped"] == 0
    assert "NO FIGURE" in report["warning"]
    assert report["warning"] in said


def test_step_that_fails_is_reported_and_the_next_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "/bin/false")
    status, said, report = measure(tmp_path / "gpu.json", "--only", "compile,machine,line")
    assert status == 1
    assert "FAILED: compile" in said
    assert report["failed_checks"] == ["compile"]
    found = {name: step["status"] for name, step in report["steps"].items()}
    assert found == {"compile": "failed", "machine": "ok", "line": "not run"}
    assert report["steps"]["compile"]["why"]
    assert report["steps"]["machine"]["figures"]["packages"]["torch"]


def test_report_is_there_when_no_time_is(tmp_path: Path) -> None:
    status, _, report = measure(tmp_path / "gpu.json", "--minutes", "0")
    assert status == 0
    assert {step["status"] for step in report["steps"].values()} == {"not run"}
