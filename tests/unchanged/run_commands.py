"""What the commands say of themselves: help, version, wrong flags, and what can be set."""

import json
import os
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

_PROBE = Path(__file__).with_name("probe_command.py")
_SUBCOMMANDS = {"engine-registry": ("list", "show", "add", "promote", "rollback", "fetch")}
_TIMEOUT_S = 120


def entry_points(root: Path) -> dict[str, str]:
    """Return each command's entry point, "module:function"."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    return dict(sorted(project["scripts"].items()))


def environment(root: Path, **more: str) -> dict[str, str]:
    """Return an environment that is the same everywhere: this tree, 100 columns, no `PRN_*`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PRN_")}
    fixed = {
        "PYTHONPATH": str(root),
        "COLUMNS": "100",
        "LINES": "50",
        "HOME": "/home/nobody",
        "XDG_STATE_HOME": "/home/nobody/state",
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
        "TZ": "UTC",
        "OMP_NUM_THREADS": "1",
    }
    return {**kept, **fixed, **more}


def capture(root: Path) -> dict[str, Any]:
    """Return for each command and subcommand what `probe_command.py` found out."""
    commands = entry_points(root)
    wanted = {name: (entry, ()) for name, entry in commands.items()}
    for name, words in _SUBCOMMANDS.items():
        wanted |= {f"{name} {word}": (commands[name], (word,)) for word in words}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        probed = pool.map(lambda name: _probe(root, name, *wanted[name]), wanted)
        return dict(zip(wanted, probed, strict=True))


def _probe(root: Path, name: str, entry: str, words: tuple[str, ...]) -> Any:  # noqa: ANN401  # JSON
    command = name.partition(" ")[0]
    done = subprocess.run(
        [sys.executable, str(_PROBE), command, entry, *words],
        capture_output=True,
        text=True,
        check=False,
        env=environment(root),
        timeout=_TIMEOUT_S,
    )
    return json.loads(done.stdout) if done.returncode == 0 else {"failed": done.stderr}
