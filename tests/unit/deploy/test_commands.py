"""Every command line in deploy/ against the command's own parser."""

import importlib
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import pytest
from fakes.deploy_files import ROOT, CommandLine, command_lines, program

from engines.commandline import run as commands
from engines.commandline.run import CommandSettings
from pipeline.settings import PASSWORD_VARIABLE

SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
LINES = command_lines()


class ParsedError(Exception):
    """Leaves a command where it would begin to work."""


@dataclass
class OnlyParses:
    """Stands in for `run_command`: parses the flags as it does, and runs nothing."""

    settings: CommandSettings | None = None

    def __call__(
        self,
        prog: str,
        settings_type: type[CommandSettings],
        main: Callable[..., Any],
        expected: tuple[type[Exception], ...],
        arguments: list[str] | None = None,
    ) -> NoReturn:
        del main, expected
        given = commands.sys.argv[1:] if arguments is None else arguments
        self.settings = commands._parse(prog, settings_type, given)
        raise ParsedError


def parse(line: CommandLine, monkeypatch: pytest.MonkeyPatch) -> CommandSettings:
    name, *flags = line.words
    assert name in SCRIPTS, f"{line.where}: {name} is no console script of pyproject.toml"
    module_name, _, function = SCRIPTS[name].partition(":")
    module = importlib.import_module(module_name)
    parser = OnlyParses()
    for importer in (module, commands):  # some import it only when they are called
        monkeypatch.setattr(importer, "run_command", parser, raising=False)
    monkeypatch.setattr("sys.argv", [name, *flags])
    for variable, value in line.environment.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(ParsedError):
        getattr(module, function)()
    assert parser.settings is not None
    return parser.settings


@pytest.mark.parametrize("line", LINES, ids=lambda line: line.where)
def test_command_takes_every_flag_and_variable_that_it_is_given(
    line: CommandLine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        fields = type(parse(line, monkeypatch)).model_fields
    except SystemExit:
        pytest.fail(f"{line.where}: {' '.join(line.words)}\n{capsys.readouterr().err}")
    known = {f"PRN_{name.upper()}" for name in fields} | {PASSWORD_VARIABLE}
    assert {name for name in line.environment if name.startswith("PRN_")} <= known


def test_every_kind_of_process_is_started_by_each_way_of_deploying() -> None:
    program("docker-compose")  # its lines are among them
    found = {(line.where.partition(":")[0].rpartition(".")[2], line.words[0]) for line in LINES}
    for way in ("compose", "service", "yaml"):
        for command in ("pipeline-camera", "pipeline-worker", "trainer-retrain"):
            assert (way, command) in found
