"""List the installed commands and their flags without running them."""

import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution

from engines.commandline.run import DECLARED, Declaration


def installed_commands() -> dict[str, str]:
    """Return the commands of this installation, each with its `module:function`."""
    try:
        entries = distribution("prn-line").entry_points
    except PackageNotFoundError:  # a copy of the sources that was never installed
        return {}
    return {entry.name: entry.value for entry in entries if entry.group == "console_scripts"}


def declarations(commands: Mapping[str, str]) -> list[Declaration]:
    """Return the declaration of each command's flags, sorted by name.

    A command whose optional dependencies are not installed is left out, with a note on stderr.

    Args:
        commands: name to `module:function`, as `installed_commands` returns them.
    """
    found: list[Declaration] = []
    token = DECLARED.set(found)
    try:
        for prog, place in sorted(commands.items()):
            _declare(prog, place)
    finally:
        DECLARED.reset(token)
    return found


def _declare(prog: str, place: str) -> None:
    module, _, function = place.partition(":")
    try:
        getattr(import_module(module), function)()
    except SystemExit:
        return  # every command ends this way
    except ImportError as error:
        sys.stderr.write(f"{prog} is left out, {error.name} is not installed\n")
