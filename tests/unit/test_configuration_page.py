"""docs/configuration.md shows what the commands declare, and its example is one that they take."""

import re
import tomllib
from pathlib import Path

import pytest
from programs.configuration_page import PAGE, SCRIPTS, filled

from engines.commandline.config_file import SHARED_KEYS, read_values
from engines.commandline.declarations import declarations

TEXT = PAGE.read_text("utf-8")
EXAMPLE = re.search(r"```toml\n(.*?)```", TEXT, re.DOTALL)


def test_tables_are_those_of_the_declarations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/elsewhere")
    assert filled(TEXT) == TEXT, "make docs writes the tables anew"


@pytest.mark.parametrize("prog", SCRIPTS)
def test_every_command_has_a_section(prog: str) -> None:
    assert re.search(rf"^### {prog}( \w+)?$", TEXT, re.MULTILINE)


@pytest.mark.parametrize("prog", SCRIPTS)
def test_every_command_takes_the_example(prog: str, tmp_path: Path) -> None:
    assert EXAMPLE
    file = tmp_path / "line.toml"
    file.write_text(EXAMPLE[1], "utf-8")
    for declared in declarations({prog: SCRIPTS[prog]}):
        values = read_values(file, declared.prog, declared.settings_type)
        assert ("redis_url" in values) == ("redis_url" in declared.settings_type.model_fields)


def test_tables_of_the_example_are_commands() -> None:
    assert EXAMPLE
    named = tomllib.loads(EXAMPLE[1])
    assert set(named) - {"line"} <= set(SCRIPTS)


def test_page_lists_the_keys_that_commands_share() -> None:
    listed = TEXT.partition("- `[line]` may hold")[2].partition("\n- ")[0]
    assert re.findall(r"`([\w-]+)`", listed) == list(SHARED_KEYS)
