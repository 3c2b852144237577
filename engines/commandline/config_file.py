"""The configuration file of a line, `--config line.toml`: one table per command, `[line]` for all.

Keys are flags without their dashes. Flags and environment variables override the file.
"""

import re
import tomllib
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from engines.commandline.declarations import installed_commands
from engines.commandline.flags import flag_name, is_positional
from engines.errors import ConfigError
from engines.files import read_file

SHARED_TABLE = "line"
# keys that [line] may hold: each command uses those that it has a flag for
SHARED_KEYS = (
    "line",
    "redis-url",
    "redis-username",
    "redis-password-file",
    "redis-wait-s",
    "state-dir",
    "log-level",
    "log-format",
    "registry",
    "archive",
    "store",
)
_MAX_BYTES = 1 << 20
_PASSWORD = re.compile(r"\w+://(?:[^/@\s]*:[^/@\s]+@|\S*[?&]password=)")


def table_name(prog: str) -> str:
    """Return the table of a command: `engine-registry.list` for `engine-registry list`."""
    return prog.replace(" ", ".")


def read_values(file: Path, prog: str, settings_type: type[BaseModel]) -> dict[str, Any]:
    """Read what the file holds for one command, by field.

    Raises:
        ConfigError: the file cannot be read, a table or key is unknown, or a value is a secret.
    """
    document = _parse(file)
    _refuse_secrets(file, document)
    _check_tables(file, document)
    fields = {
        flag_name(name)[2:]: name
        for name, field in settings_type.model_fields.items()
        if not is_positional(field)
    }
    shared = _table(file, document, [SHARED_TABLE])
    _check_keys(file, SHARED_TABLE, shared, SHARED_KEYS)
    own = _table(file, document, prog.split())
    _check_keys(file, table_name(prog), own, fields)
    values = {key: value for key, value in shared.items() if key in fields} | own
    return {fields[key]: value for key, value in values.items()}


def _parse(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_file(file, _MAX_BYTES).decode())
    except OSError as error:
        raise ConfigError(f"cannot read the configuration file {file}: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(f"{file} is not a TOML file: {error}") from error


def _table(file: Path, document: dict[str, Any], path: list[str]) -> dict[str, Any]:
    table: Any = document
    for name in path:
        table = table.get(name, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{file}: {name} is not a table: write [{'.'.join(path)}] above it")
    return dict(table)


def _check_tables(file: Path, document: dict[str, Any]) -> None:
    """Refuse a table that belongs to no command of this installation."""
    known = [SHARED_TABLE, *installed_commands()]
    for name, table in document.items():
        if not isinstance(table, dict):
            raise ConfigError(
                f"{file}: {name} stands above the first table: move it into [{SHARED_TABLE}] or "
                "into the table of a command"
            )
        if name not in known:
            raise ConfigError(f"{file}: no command is called {name}{_near(name, known)}")


def _check_keys(file: Path, table: str, values: dict[str, Any], known: Iterable[str]) -> None:
    for key in values:
        if key not in known:
            raise ConfigError(f"{file}: [{table}] has no {key}{_near(key, known)}")


def _near(name: str, known: Iterable[str]) -> str:
    near = get_close_matches(name.replace("_", "-"), list(known), n=1)
    return f": did you mean {near[0]}?" if near else ""


def _refuse_secrets(file: Path, value: object, key: str = "") -> None:
    if isinstance(value, dict):
        for name, inner in value.items():
            _refuse_secrets(file, inner, name)
    elif isinstance(value, list):
        for inner in value:
            _refuse_secrets(file, inner, key)
    elif "password" in key and not key.endswith("file"):
        raise ConfigError(
            f"{file}: {key} would be a secret in a file that others read: use redis-password-file"
        )
    elif isinstance(value, str) and _PASSWORD.search(value):
        raise ConfigError(
            f"{file}: {key} holds a password: use redis-password-file for Redis, and the "
            "environment variable of the flag for anything else"
        )
