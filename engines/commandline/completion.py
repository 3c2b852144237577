"""Completion of every command's flags in bash and zsh, made by shtab from the parsers."""

from argparse import ArgumentParser
from collections.abc import Iterable, Mapping

from engines.commandline.declarations import declarations, installed_commands
from engines.commandline.run import Declaration, flag_source

__all__ = ["completion_script", "installed_commands"]
_PATHS = {"FILE": "FILE", "PATH": "FILE", "DIR": "DIRECTORY"}  # metavar to shtab's constant


def completion_script(shell: str, commands: Mapping[str, str]) -> str:
    """Return a script that completes the commands.

    Args:
        shell: `bash` or `zsh`.
        commands: name to `module:function`.
    """
    import shtab  # noqa: PLC0415  # only here

    by_prog: dict[str, list[Declaration]] = {}
    for declared in declarations(commands):
        by_prog.setdefault(declared.prog.partition(" ")[0], []).append(declared)
    scripts = []
    for prog, of_prog in by_prog.items():
        parser = _parser(prog, of_prog)
        for part in _with_actions(parser):
            for action in part._actions:  # noqa: SLF001  # argparse shows them nowhere else
                kind = _PATHS.get(str(action.metavar))
                if kind is not None:
                    action.complete = getattr(shtab, kind)  # type: ignore[attr-defined]
        scripts.append(shtab.complete(parser, shell))
    return "\n".join(scripts)


def _parser(prog: str, declared: list[Declaration]) -> ArgumentParser:
    first, *_ = declared
    if first.prog == prog:
        return _choosing(flag_source(prog, first.settings_type).root_parser)
    parser = ArgumentParser(prog)
    words = parser.add_subparsers()
    for each in declared:
        summary = (each.settings_type.__doc__ or "").partition("\n")[0]
        word = words.add_parser(each.prog.removeprefix(f"{prog} "), help=summary)
        flag_source(each.prog, each.settings_type, word)
        _choosing(word)
    return parser


def _choosing(parser: ArgumentParser) -> ArgumentParser:
    """Turn `{a,b}`, which help shows for a flag, into choices that a shell can offer."""
    for action in parser._actions:  # noqa: SLF001
        shown = str(action.metavar)
        if action.choices is None and shown.startswith("{") and shown.endswith("}"):
            action.choices = shown[1:-1].split(",")
    return parser


def _with_actions(parser: ArgumentParser) -> Iterable[ArgumentParser]:
    yield parser
    for action in parser._actions:  # noqa: SLF001
        if isinstance(action.choices, dict):
            yield from action.choices.values()
