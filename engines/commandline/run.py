"""How every command of this project starts and ends.

One frozen settings class declares flags, environment variables (prefix `PRN_`) and help at once;
`engines.commandline.flags` words the help.
An expected error ends the program with one sentence on stderr and exit status 1, wrong flags and
an extra that is not installed with status 2, an interrupt with 130.
"""

import os
import re
import sys
from argparse import RawTextHelpFormatter
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, NoReturn, TypeVar

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    CliApp,
    CliSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from engines.commandline.flags import add_flags, flag_name, usage
from engines.extras import MissingExtra, check_command, needs_extra

USAGE_STATUS = 2
INTERRUPT_STATUS = 130
_SERVICE_LINK = re.compile(r"(?:tcp|udp|sctp)://[0-9a-fA-F.:\[\]]+:\d+")


class CommandSettings(BaseSettings):
    """The declaration of a command: subclass it, one field per flag."""

    model_config = SettingsConfigDict(
        env_prefix="PRN_",
        env_ignore_empty=True,
        frozen=True,
        allow_inf_nan=False,
        cli_kebab_case=True,
        cli_implicit_flags="toggle",
        cli_avoid_json=True,
    )


Settings = TypeVar("Settings", bound=CommandSettings)


def run_command(
    prog: str,
    settings_type: type[Settings],
    main: Callable[[Settings], int | None],
    expected: tuple[type[Exception], ...],
    arguments: list[str] | None = None,
) -> NoReturn:
    """Parse flags and environment, run `main`, exit with its status.

    Args:
        prog: the command's name, as typed.
        settings_type: the declaration; its docstring opens the help.
        main: gets the settings; what it returns is the exit status, None is 0.
        expected: errors that end the program with their sentence instead of a traceback.
        arguments: in place of `sys.argv[1:]`.
    """
    given = sys.argv[1:] if arguments is None else arguments
    _drop_service_links(prog)
    settings = _parse(prog, settings_type, given)
    if getattr(settings, "allow_stray_bytes", False):
        from engines.pictures.stray_bytes import allow_stray_bytes  # noqa: PLC0415  # few commands

        allow_stray_bytes()
    ending: tuple[type[Exception], ...] = (OSError, *expected)
    try:
        with needs_extra(prog):
            check_command(prog)
            status = main(settings)
    except KeyboardInterrupt:
        sys.exit(INTERRUPT_STATUS)
    except MissingExtra as error:
        sys.stderr.write(f"{prog}: {error}\n")
        sys.exit(USAGE_STATUS)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except ending as error:
        sys.exit(f"{prog}: {error}")
    sys.exit(status or 0)


def _drop_service_links(prog: str) -> None:
    """Drop variables that Kubernetes sets for its own Services: a Service `prn` sets PRN_PORT."""
    for name, text in list(os.environ.items()):
        of_a_service = f"{name.removesuffix('_PORT')}_SERVICE_HOST" in os.environ
        if name.startswith("PRN_") and of_a_service and _SERVICE_LINK.fullmatch(text):
            del os.environ[name]
            sys.stderr.write(
                f"{prog}: {name}={text} comes from a Kubernetes Service and is ignored: set "
                "enableServiceLinks: false in the pod\n"
            )


def _parse(prog: str, settings_type: type[Settings], given: list[str]) -> Settings:
    source: CliSettingsSource[Any] = CliSettingsSource(
        settings_type,
        cli_prog_name=prog,
        add_argument_method=add_flags(settings_type),
        formatter_class=RawTextHelpFormatter,
    )
    source.root_parser.usage = usage(prog, settings_type)
    source.root_parser.add_argument(
        "--version",
        action="version",
        version=f"{prog} {version('prn-line')}",
        help="say which release this is",
    )
    try:
        return CliApp.run(settings_type, cli_args=given, cli_settings_source=source)
    except ValidationError as error:
        lines = [_sentence(settings_type, part) for part in error.errors()]
        sys.stderr.write("".join(f"{prog}: {line}\n" for line in lines))
        sys.stderr.write(f"{prog} --help says what can be set\n")
    except SettingsError as error:
        sys.stderr.write(f"{prog}: {error}\n")
    sys.exit(USAGE_STATUS)


def _sentence(settings_type: type[CommandSettings], part: Any) -> str:  # noqa: ANN401
    where = str(part["loc"][0]) if part["loc"] else ""
    message = str(part["msg"]).removeprefix("Value error, ")
    if where not in settings_type.model_fields:
        return message
    flag = flag_name(where)
    if part["type"] == "missing":
        return f"{flag} is needed (or the environment variable PRN_{where.upper()})"
    return f"{flag} (PRN_{where.upper()}): {message}"
