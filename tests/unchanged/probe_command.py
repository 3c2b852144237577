"""Run one command's entry point in this process and print what it says of itself, as JSON.

python probe_command.py NAME MODULE:FUNCTION [SUBCOMMAND]
"""

import io
import json
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from typing import Any

import pydantic_settings

_IN_THE_HELP = {"title", "description"}
WRONG_FLAG = "--no-such-flag"


class Declared:
    """Remembers the settings class that a command parses its flags with."""

    def __init__(self) -> None:
        self.settings: Any = None
        self._run = pydantic_settings.CliApp.run
        pydantic_settings.CliApp.run = staticmethod(self._remember)  # type: ignore[method-assign]

    def _remember(self, settings: Any, **options: Any) -> Any:  # noqa: ANN401  # pydantic's
        self.settings = settings
        return self._run(settings, **options)

    def described(self) -> dict[str, Any] | None:
        """Return the environment variables, and the schema without names of classes."""
        if self.settings is None:
            return None
        schema = self.settings.model_json_schema()
        prefix = self.settings.model_config.get("env_prefix", "")
        definitions = schema.get("$defs", {})
        return {
            f"{prefix}{name}".upper(): _plain(field, definitions)
            for name, field in schema["properties"].items()
        }


def _plain(schema: Any, definitions: dict[str, Any]) -> Any:  # noqa: ANN401  # JSON
    """Return a schema with its references resolved and its titles and texts left out."""
    if isinstance(schema, list):
        return [_plain(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        meant = dict(definitions[schema["$ref"].rpartition("/")[2]])
        rest = {name: part for name, part in schema.items() if name != "$ref"}
        return _plain({**meant, **rest}, definitions)
    kept = schema.keys() - _IN_THE_HELP
    return {name: _plain(schema[name], definitions) for name in sorted(kept)}


def run(command: Callable[[], object], name: str, *arguments: str) -> dict[str, Any]:
    """Run a command to its end; return its status and what it wrote."""
    sys.argv = [name, *arguments]
    out, err = io.StringIO(), io.StringIO()
    status: object = None
    with redirect_stdout(out), redirect_stderr(err):
        try:
            command()
        except SystemExit as ended:
            status = ended.code
    return {"status": status, "out": out.getvalue(), "err": err.getvalue()}


def main(name: str, entry: str, *words: str) -> None:
    """Print the help, the version, the answer to a wrong flag, and what can be set."""
    module, _, function = entry.partition(":")
    command = getattr(import_module(module), function)
    declared = Declared()
    said: dict[str, Any] = {
        "help": run(command, name, *words, "--help"),
        "version": run(command, name, *words, "--version"),
        "wrong flag": run(command, name, *words, WRONG_FLAG),
    }
    said["settings"] = declared.described()
    sys.stdout.write(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
