"""What programs import, and the commands beside a line, need Linux for nothing.

The rest of a line runs on Linux. None of this was run on Windows or macOS: types tell which names
of the standard library they lack, and a process without those names imports and starts.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rigs.base_install import ROOT, hidden_modules, run_base
from rigs.other_systems import POSIX_MODULES, WINDOWS

SDK = (
    "pipeline.announce",
    "pipeline.archive",
    "pipeline.consumer",
    "pipeline.drift.history",
    "pipeline.frames",
    "pipeline.labels",
)
COMMANDS = ("pipeline-consume", "pipeline-control", "pipeline-label")
LOADED = f"""
import sys
from importlib import import_module

for name in {[*SDK, "pipeline.cli"]!r} + [f"pipeline.commands.{{name}}" for name in sys.argv[1:]]:
    import_module(name)
print(*sorted(name for name in sys.modules if name.partition(".")[0] in ("engines", "pipeline")))
"""


@pytest.fixture(scope="session")
def loaded() -> list[str]:
    """Our modules that are on the way of the SDK and the commands."""
    words = [command.removeprefix("pipeline-") for command in COMMANDS]
    command = [sys.executable, "-c", LOADED, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_modules_use_no_name_that_a_system_lacks(
    loaded: list[str], platform: str, tmp_path: Path
) -> None:
    assert "engines.files" in loaded
    assert check_types(platform, loaded, tmp_path) == ""


def test_types_find_a_name_that_a_system_lacks(tmp_path: Path) -> None:
    assert 'no attribute "posix_fallocate"' in check_types(
        "win32", ["pipeline.ring.segment"], tmp_path
    )


def check_types(platform: str, modules: list[str], cache: Path) -> str:
    command = [sys.executable, "-m", "mypy", "--config-file=", f"--cache-dir={cache}"]
    command += ["--strict", "--ignore-missing-imports", "--follow-imports=silent"]
    command += ["--no-error-summary", f"--platform={platform}"]
    for module in modules:
        command += ["--module", module]
    paths = {**os.environ, "MYPYPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=paths)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_command_starts_without_what_windows_lacks(command: str) -> None:
    shown = run_base(command, "--help", hidden=hidden_modules() | POSIX_MODULES, before=WINDOWS)
    assert shown.returncode == 0, shown.stderr
    assert "\n  --" in shown.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_command_says_that_windows_has_no_embedded_server(command: str, tmp_path: Path) -> None:
    words = {
        "pipeline-consume": (),
        "pipeline-control": ("--show",),
        "pipeline-label": ("--as", "normal", "--entry", "1-0"),
    }[command]
    environment = {"PRN_REDIS_URL": "", "PRN_STATE_DIR": str(tmp_path)}
    ended = run_base(
        command,
        *words,
        hidden=hidden_modules() | POSIX_MODULES,
        before=WINDOWS,
        environment=environment,
    )
    assert ended.returncode == 1
    assert ended.stderr.endswith(
        f"{command}: no embedded Redis on Windows: give --redis-url or set PRN_REDIS_URL\n"
    )
