import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[3] / "fuzz"
sys.path.append(str(FUZZ))

from mutate import hunt  # noqa: E402  # a program's folder, not a package

SOUND = b"\x81\xa1v\x01"


@pytest.mark.parametrize("name", ["wire", "control"])
def test_mutated_messages_find_nothing(name: str) -> None:
    command = [sys.executable, str(FUZZ / f"{name}.py"), "--seconds", "1", "--seed", "7"]
    root = str(FUZZ.parents[1])
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=root, env={"PYTHONPATH": root}
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "0 findings, seed 7" in done.stdout


def test_reader_that_raises_is_found_with_its_message() -> None:
    def refuse(message: bytes) -> None:
        if message != SOUND:
            raise KeyError("v")

    tried, findings = hunt([(refuse, [SOUND])], 0.2, 1)
    assert tried >= len(findings) > 0
    assert "KeyError" in findings[0]
    assert hunt([(refuse, [SOUND])], 0.0, 3)[1] == hunt([(refuse, [SOUND])], 0.0, 3)[1]
