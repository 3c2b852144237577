"""Commands as an install without extras runs them: what the base leaves out does not import."""

import json
import os
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
SCRIPTS: dict[str, str] = PROJECT["scripts"]
PROGRAM = """
import json, sys
from importlib import import_module

hidden, words, module, function, before = json.loads(sys.argv[1])

class Hiding:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hiding())
exec(before)
sys.argv = words
getattr(import_module(module), function)()
"""


@cache
def base_distributions() -> frozenset[str]:
    """The names of what `pip install prn-line` brings, canonical."""
    found = {"prn-line"}
    waiting = [Requirement(line) for line in PROJECT["dependencies"]]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name in found and not requirement.extras:
            continue
        found.add(name)
        try:
            lines = requires(name) or []
        except PackageNotFoundError:
            continue
        for line in lines:
            needed = Requirement(line)
            given = [{"extra": extra} for extra in requirement.extras or {""}]
            if needed.marker is None or any(map(needed.marker.evaluate, given)):
                waiting.append(needed)
    return frozenset(found)


@cache
def hidden_modules() -> frozenset[str]:
    """The names on top of every installed distribution that the base does not bring."""
    base = base_distributions()
    return frozenset(
        module
        for module, names in packages_distributions().items()
        if not base.intersection(map(canonicalize_name, names))
    )


def run_base(
    command: str,
    *words: str,
    environment: dict[str, str] | None = None,
    hidden: frozenset[str] | None = None,
    before: str = "",
) -> subprocess.CompletedProcess[str]:
    """Run a command of pyproject.toml in a process that lacks what the base does not bring.

    Args:
        command: its name.
        words: its flags.
        environment: beside this process's.
        hidden: modules that do not import; None: all that the base does not bring.
        before: statements to run first.
    """
    module, _, function = SCRIPTS[command].partition(":")
    left_out = sorted(hidden_modules() if hidden is None else hidden)
    order = json.dumps([left_out, [command, *words], module, function, before])
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, order],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(environment or {})},
    )
