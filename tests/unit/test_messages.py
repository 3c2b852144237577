"""Whoever follows a message finds the flag that it names."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from engines.commandline.flags import flag_name

ROOT = Path(__file__).parents[2]
MODULES = {
    path: ast.parse(path.read_text("utf-8"))
    for package in ("engines", "pipeline", "trainer")
    for path in sorted((ROOT / package).rglob("*.py"))
}
FOREIGN = {  # flags of other programs that messages and commands name
    "--shm-size": "docker run",
    "--version": "every command",
    "--config": "every command",
    "--help": "every command",
    "--include": "the Lua scripts",
    "--force-reinstall": "pip install",
    "--no-deps": "pip install",
}
_FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]+")


def settings_classes() -> dict[str, ast.ClassDef]:
    """Every class that declares flags, by name."""
    classes = {
        node.name: node
        for tree in MODULES.values()
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    }

    def declares(name: str) -> bool:
        bases = [base.id for base in classes[name].bases if isinstance(base, ast.Name)]
        return any(
            base == "CommandSettings" or (base in classes and declares(base)) for base in bases
        )

    return {name: node for name, node in classes.items() if declares(name)}


@cache
def flags() -> set[str]:
    """Every flag of every command."""
    return {
        flag_name(statement.target.id)
        for node in settings_classes().values()
        for statement in node.body
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)
    }


def named_flags(path: Path) -> dict[str, int]:
    """The flags that the strings of a module name, with a line where each stands.

    A string that is a flag and nothing else belongs to a command line.
    """
    return {
        flag: node.lineno
        for node in ast.walk(MODULES[path])
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for flag in _FLAG.findall(node.value)
        if node.value != flag
    }


def test_commands_have_flags() -> None:
    assert {"--budget-mb", "--cti", "--drain-s", "--skip-admission", "--json"} <= flags()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_flag_that_a_message_names_exists(path: Path) -> None:
    unknown = {flag: line for flag, line in named_flags(path).items() if flag not in flags()}
    assert {flag: line for flag, line in unknown.items() if flag not in FOREIGN} == {}
