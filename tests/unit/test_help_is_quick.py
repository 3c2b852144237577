"""`--help` answers at once: it does not wait for torch to be imported."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
    "scripts"
]
TRAINER_COMMANDS = sorted(name for name in SCRIPTS if name.startswith("trainer-"))
HELP = """
import sys
from importlib import import_module

class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            raise RuntimeError("torch is imported")

sys.meta_path.insert(0, Refusing())
sys.argv[1:] = ["--help"]
getattr(import_module({module!r}), {function!r})()
"""


def test_there_are_commands_to_look_at() -> None:
    assert "trainer-train" in TRAINER_COMMANDS


@pytest.mark.parametrize("command", TRAINER_COMMANDS)
def test_help_imports_no_torch(command: str) -> None:
    module, _, function = SCRIPTS[command].partition(":")
    program = HELP.format(module=module, function=function)
    shown = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stderr
    assert "\n  --" in shown.stdout
