"""Flags as `--help` shows them: from a field's type, default and description.

pydantic-settings shows Python's names for types, defaults and enumerations. This module sits
between it and argparse, through its `add_argument_method`.
"""

import shutil
import textwrap
from argparse import ArgumentParser
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from inspect import get_annotations
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import CliPositionalArg

_POSITIONAL = get_args(CliPositionalArg[str])[1]  # how pydantic-settings marks such a field
_HELP_COLUMN = 26  # of argparse, and its margin
_LEAST_COLUMNS = 30
_METAVARS = {int: "INT", float: "NUMBER", Path: "PATH"}
# a field cannot be named like an attribute of pydantic or a Python keyword
_RENAMED = {"as_json": "json", "as_kind": "as", "from_file": "from", "list_frames": "list"}
PREFIX = "PRN_"  # prefix of every environment variable
AddArgument = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Metavar:
    """The name of a flag's value in the help; used in an Annotated type."""

    text: str


Name = Annotated[str, Metavar("NAME")]
File = Annotated[Path, Metavar("FILE")]
Folder = Annotated[Path, Metavar("DIR")]


def flag_name(field: str) -> str:
    """Return the flag of a field."""
    return "--" + _RENAMED.get(field, field).replace("_", "-")


def variable_name(field: str) -> str:
    """Return the environment variable of a field: the name of its flag, in capitals."""
    return PREFIX + _RENAMED.get(field, field).upper()


def older_variable_name(field: str) -> str:
    """Return the variable that earlier releases used for this field, which is still read."""
    return PREFIX + field.upper()


def add_flags(settings_type: type[BaseModel]) -> AddArgument:
    """Return a function that adds a declaration's flags to a parser, with readable help.

    Fields that it inherits from a class with a docstring stand in a group under that docstring.
    """
    groups: dict[str, Any] = {}

    def add(parser: ArgumentParser, *names: str, **given: Any) -> Any:  # noqa: ANN401
        positional = not names[0].startswith("-")
        name = names[0] if positional else given.get("dest", "")
        if name not in settings_type.model_fields:
            return ArgumentParser.add_argument(parser, *names, **given)  # --help
        field = settings_type.model_fields[name]
        given["help"] = _wrapped(help_text(field)).replace("%", "%%")
        if "metavar" in given:
            given["metavar"] = metavar(name, field)
        title = _title(settings_type, name)
        if title and title not in groups:
            groups[title] = parser.add_argument_group(title)
        spelled = name if positional else flag_name(name)
        return groups.get(title, parser).add_argument(spelled, **given)

    return add


def usage(prog: str, settings_type: type[BaseModel]) -> str:
    """Return the usage line, with the required flags."""
    needed = [
        metavar(name, field)
        if is_positional(field)
        else f"{flag_name(name)} {metavar(name, field)}"
        for name, field in settings_type.model_fields.items()
        if field.is_required()
    ]
    needed.sort(key=lambda one: one.startswith("--"))
    return " ".join([prog, *needed, "[options]"])


def is_positional(field: FieldInfo) -> bool:
    """Return whether a field is a positional argument."""
    return _POSITIONAL in field.metadata


def metavar(name: str, field: FieldInfo) -> str:
    """Return the name of a flag's value: its type's own, its choices, or argparse's."""
    written = next((one.text for one in field.metadata if isinstance(one, Metavar)), "")
    return written or _of_type(field.annotation) or _RENAMED.get(name, name).upper()


def _of_type(annotation: Any) -> str:  # noqa: ANN401  # a type, or a form of typing
    arguments = get_args(annotation)
    if get_origin(annotation) is Annotated:
        texts = [one.text for one in arguments[1:] if isinstance(one, Metavar)]
        return texts[0] if texts else _of_type(arguments[0])
    if get_origin(annotation) is Literal:
        return "{" + ",".join(map(shown, arguments)) + "}"
    if get_origin(annotation) is list:
        return f"{_of_type(arguments[0])},..."
    if arguments:  # a union with None
        return next(filter(None, map(_of_type, arguments)), "")
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return "{" + ",".join(map(shown, annotation)) + "}"
    return _METAVARS.get(annotation, "")


def help_text(field: FieldInfo) -> str:
    """Return a field's description, with its default if that is useful to a reader."""
    said = field.description or ""
    if field.is_required():
        first, *more = said.split("\n")
        return "\n".join([f"{first} (required)", *more])
    default = field.get_default(call_default_factory=True, validated_data={})
    if default is None or default is False or default in ("", []) or "default:" in said:
        return said
    return f"{said} (default: {shown(default)})"


def shown(default: object) -> str:
    """Return a value as it is written for a flag."""
    if isinstance(default, list):
        return ",".join(map(shown, default))
    if isinstance(default, Enum):
        return str(default.value)
    if isinstance(default, float):
        return f"{default:g}"
    if isinstance(default, Path) and default.is_relative_to(Path.home()):
        return f"~/{default.relative_to(Path.home())}"
    return str(default)


def _title(settings_type: type[BaseModel], name: str) -> str:
    """Return the docstring of the class that a field is inherited from; "" for a class's own."""
    owner = next(kind for kind in settings_type.__mro__ if name in get_annotations(kind))
    if owner is settings_type or not owner.__doc__:
        return ""
    sentence = owner.__doc__.partition("\n")[0].rstrip(".")
    return sentence[0].lower() + sentence[1:]


def _wrapped(text: str) -> str:
    """Wrap each line of a text at the terminal's width."""
    columns = max(_LEAST_COLUMNS, shutil.get_terminal_size().columns - _HELP_COLUMN)
    lines = [
        textwrap.fill(line, columns, subsequent_indent=" " * (len(line) - len(line.lstrip())))
        for line in text.split("\n")
    ]
    return "\n".join(lines)
