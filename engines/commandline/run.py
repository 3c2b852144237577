"""How every command of this project starts and ends.

One frozen settings class declares flags, environment variables (prefix `PRN_`) and help at once;
`engines.commandline.flags` writes the help. A flag overrides its variable, which overrides the
configuration file that `--config` names. An expected error ends the program with one sentence on
stderr and exit status 1, wrong flags and an extra that is not installed with status 2, an interrupt
with 130.
"""

import os
import re
import sys
from argparse import SUPPRESS, ArgumentParser, RawTextHelpFormatter
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import ValidationError
from pydantic_settings import (
    BaseSettings,
    CliApp,
    CliSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from engines.commandline.flags import (
    PREFIX,
    add_flags,
    flag_name,
    older_variable_name,
    usage,
    variable_name,
)
from engines.errors import ConfigError
from engines.extras import MissingExtra, check_command, needs_extra

USAGE_STATUS = 2
INTERRUPT_STATUS = 130
_SERVICE_LINK = re.compile(r"(?:tcp|udp|sctp)://[0-9a-fA-F.:\[\]]+:\d+")


class CommandSettings(BaseSettings):
    """The declaration of a command: subclass it, one field per flag."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        frozen=True,
        allow_inf_nan=False,
        cli_kebab_case=True,
        cli_implicit_flags="toggle",
        cli_avoid_json=True,
    )

    @classmethod
    def settings_customise_sources(  # noqa: D102  # pydantic-settings calls it
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        if isinstance(env_settings, EnvSettingsSource):
            env_settings.env_vars = _named_by_flags(settings_cls, env_settings.env_vars)
        return init_settings, env_settings


@dataclass(frozen=True, slots=True)
class Declaration:
    """A command and its settings, as passed to `run_command`."""

    prog: str
    settings_type: type[CommandSettings]


# while this is a list, `run_command` only adds its command to it
DECLARED: ContextVar[list[Declaration] | None] = ContextVar("DECLARED", default=None)
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
    if (declared := DECLARED.get()) is not None:
        declared.append(Declaration(prog, settings_type))
        sys.exit(0)
    given = sys.argv[1:] if arguments is None else arguments
    _drop_service_links(prog)
    settings = _parse(prog, settings_type, given)
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


def _named_by_flags(
    settings_type: type[BaseSettings], variables: Mapping[str, str | None]
) -> dict[str, str | None]:
    """Return the environment with each field's variable under the name that pydantic looks for."""
    named = dict(variables)
    for field in settings_type.model_fields:
        if text := variables.get(variable_name(field).lower()):
            named[older_variable_name(field).lower()] = text
    return named


def _drop_service_links(prog: str) -> None:
    """Drop variables that Kubernetes sets for Services: a Service `prn` sets PRN_PORT."""
    for name, text in list(os.environ.items()):
        of_a_service = f"{name.removesuffix('_PORT')}_SERVICE_HOST" in os.environ
        if name.startswith("PRN_") and of_a_service and _SERVICE_LINK.fullmatch(text):
            del os.environ[name]
            sys.stderr.write(
                f"{prog}: {name}={text} comes from a Kubernetes Service and is ignored: set "
                "enableServiceLinks: false in the pod\n"
            )


def flag_source(
    prog: str, settings_type: type[BaseSettings], parser: ArgumentParser | None = None
) -> CliSettingsSource[Any]:
    """Build the settings source that parses a command's flags, using `parser` if given."""
    source: CliSettingsSource[Any] = CliSettingsSource(
        settings_type,
        cli_prog_name=prog,
        root_parser=parser,
        add_argument_method=add_flags(settings_type),
        formatter_class=RawTextHelpFormatter,
    )
    source.root_parser.usage = usage(prog, settings_type)
    _add_config(source.root_parser)
    source.root_parser.add_argument(
        "--version",
        action="version",
        version=f"{prog} {version('prn-line')}",
        help="show the release and exit",
    )
    return source


def _parse(prog: str, settings_type: type[Settings], given: list[str]) -> Settings:
    source = flag_source(prog, settings_type)
    from_file: dict[str, Any] = {}
    try:
        file, given = _take_config(prog, given)
        if file is not None and not {"-h", "--help", "--version"} & set(given):
            from engines.commandline.config_file import read_values  # noqa: PLC0415  # seldom used

            from_file = _not_in_environment(read_values(file, prog, settings_type))
        return CliApp.run(settings_type, given, source, **from_file)
    except ValidationError as error:
        lines = [_sentence(settings_type, part, prog, file, from_file) for part in error.errors()]
        sys.stderr.write("".join(f"{prog}: {line}\n" for line in lines))
        sys.stderr.write(f"{prog} --help lists all flags\n")
    except (ConfigError, SettingsError) as error:
        sys.stderr.write(f"{prog}: {error}\n")
    sys.exit(USAGE_STATUS)


def _add_config(parser: ArgumentParser, **given: Any) -> None:  # noqa: ANN401
    parser.add_argument(
        "--config",
        metavar="FILE",
        help="TOML file with values for flags that are not given",
        **(given or {"default": SUPPRESS, "dest": SUPPRESS}),
    )


def _take_config(prog: str, given: list[str]) -> tuple[Path | None, list[str]]:
    """Return the file of `--config` or PRN_CONFIG, and the arguments without it."""
    parser = ArgumentParser(prog, add_help=False, allow_abbrev=False, usage=f"{prog} [options]")
    _add_config(parser, default=os.environ.get(f"{PREFIX}CONFIG"), dest="config")
    known, rest = parser.parse_known_args(given)
    return (Path(known.config) if known.config else None), rest


def _not_in_environment(values: dict[str, Any]) -> dict[str, Any]:
    """Return the file's values for which no environment variable is set."""
    present = {name for name, text in os.environ.items() if text}
    return {
        field: value
        for field, value in values.items()
        if not {variable_name(field), older_variable_name(field)} & present
    }


def _sentence(
    settings_type: type[CommandSettings],
    part: Any,  # noqa: ANN401
    prog: str,
    file: Path | None,
    from_file: dict[str, Any],
) -> str:
    where = str(part["loc"][0]) if part["loc"] else ""
    message = str(part["msg"]).removeprefix("Value error, ")
    if where not in settings_type.model_fields:
        return message
    flag = flag_name(where)
    if part["type"] == "missing":
        return f"{flag} is needed (or the environment variable {variable_name(where)})"
    if where in from_file and part["input"] is from_file[where]:
        return f"{file}: {flag[2:]} of {prog}: {message}"
    return f"{flag} ({variable_name(where)}): {message}"
