"""Every target of tests/fuzz for a few seconds; `make fuzz` looks for longer."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[1] / "fuzz"
ROOT = FUZZ.parents[1]
TARGETS = sorted(
    path.stem for path in FUZZ.glob("*.py") if path.stem not in {"__init__", "mutate", "mutation"}
)


def run(target: str, *flags: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(FUZZ / f"{target}.py"), *flags],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
    )


@pytest.mark.parametrize("target", TARGETS)
def test_target_finds_nothing_in_a_few_seconds(target: str) -> None:
    ended = run(target, "--seconds", "4", "--seed", "1")
    assert ended.returncode == 0, ended.stderr[-4000:]
    assert json.loads(ended.stdout.splitlines()[-1])["inputs"] > 100


def test_finding_ends_with_status_1_and_can_be_run_again(tmp_path: Path) -> None:
    target = tmp_path / "fragile.py"
    target.write_text(
        "import sys\n"
        "from fuzz.mutation import run_target\n"
        "def check(content):\n"
        "    assert b'good' in content\n"
        "sys.exit(run_target(check, [b'all good here']))\n"
    )
    ended = run(str(target.with_suffix("")), "--seconds", "20", "--seed", "3")
    assert ended.returncode == 1
    shown = next(line for line in ended.stderr.splitlines() if line.startswith("input of"))
    again = run(str(target.with_suffix("")), "--hex", shown.split()[-1])
    assert again.returncode == 1
    assert json.loads(again.stdout) | {"inputs": 1, "findings": 1} == json.loads(again.stdout)
