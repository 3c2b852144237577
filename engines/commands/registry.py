"""`engine-registry`: list the engines that may serve, and choose the version in force.

It opens no engine, and imports the table code only when it prints one. So a rollback waits for no
library that it does not need.
"""

import getpass
import json
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from importlib.metadata import version as release
from pathlib import Path
from typing import Annotated, Any, NoReturn

from pydantic import Field
from pydantic_settings import CliPositionalArg

from engines.commandline.flags import File, Folder, Metavar
from engines.commandline.run import (
    DECLARED,
    USAGE_STATUS,
    CommandSettings,
    Declaration,
    run_command,
)
from engines.errors import EngineError, RegistryError, UnknownVersion
from engines.files import open_regular
from engines.registry.records import MAX_EXTRA_BYTES, Pointer, Version
from engines.registry.registry import Registry

PROG = "engine-registry"
GATE = "gate.json"
MAX_EXTRA_FILES = 32  # files that may come with an engine
VersionWord = Annotated[str, Metavar("VERSION")]


class _RegistrySettings(CommandSettings):
    registry: Annotated[str, Metavar("URL")] = Field(
        description="a folder, or a URL such as s3://bucket/registry"
    )
    as_json: bool = Field(default=False, description="print JSON in place of sentences")


class ListSettings(_RegistrySettings):
    """List the versions, which one is in force, and who promoted it when."""


class ShowSettings(_RegistrySettings):
    """Show a version: its manifest's figures, its gate report, its files."""

    version: CliPositionalArg[VersionWord] = Field(
        default="", description="as engine-registry list shows it; default: the one in force"
    )


class AddSettings(_RegistrySettings):
    """Add an engine file by hand; it is not in force until it is promoted."""

    engine: CliPositionalArg[File] = Field(
        description="engine file; its manifest lies beside it, and so do the kernels of a plan"
    )
    extra: list[File] = Field(
        default=[],
        max_length=MAX_EXTRA_FILES,
        description="files to keep with it, such as a gate.json",
    )


class _ChangeSettings(_RegistrySettings):
    by: Annotated[str, Metavar("NAME")] = Field(
        default="", max_length=200, description="name for the history; default: user@machine"
    )


class PromoteSettings(_ChangeSettings):
    """Put an admitted version in force: its bytes are verified, then the pointer moves."""

    version: CliPositionalArg[VersionWord] = Field(description="as engine-registry list shows it")


class RollbackSettings(_ChangeSettings):
    """Put the previous version in force again; a second rollback undoes the first.

    A version that a line refused on live frames is skipped: promote it by name.
    A version that no machine admitted is skipped too; it cannot be promoted at all.
    """


class FetchSettings(_RegistrySettings):
    """Copy a version here, verified; engine-admit can then try it on this machine."""

    version: CliPositionalArg[VersionWord] = Field(description="as engine-registry list shows it")
    folder: CliPositionalArg[Folder] = Field(description="the copy goes to DIR/VERSION")


def registry() -> NoReturn:
    """Run engine-registry."""
    if (declared := DECLARED.get()) is not None:
        declared += [Declaration(f"{PROG} {word}", kind) for word, (kind, _) in _COMMANDS.items()]
        sys.exit(0)
    word, *arguments = sys.argv[1:] or ["--help"]
    if word in _COMMANDS:
        settings_type, main = _COMMANDS[word]
        run_command(f"{PROG} {word}", settings_type, main, (EngineError,), arguments)
    if word == "--version":
        sys.stdout.write(f"{PROG} {release('prn-line')}\n")
        sys.exit(0)
    if word in ("--help", "-h"):
        sys.stdout.write(_help())
        sys.exit(0)
    sys.stderr.write(f"{PROG}: {word!r} is not a command: use {', '.join(_COMMANDS)}\n")
    sys.stderr.write(f"{PROG} --help describes each\n")
    sys.exit(USAGE_STATUS)


def run_list(settings: ListSettings) -> None:
    """Print the versions and the last promotions."""
    opened = Registry(settings.registry)
    (versions, damaged), history = opened.survey(), opened.history()
    refused = [pointer for pointer in history if opened.is_refused(pointer)]
    if settings.as_json:
        _write_json(
            {
                "versions": [asdict(version) for version in versions],
                "damaged": damaged,
                "promotions": [asdict(pointer) for pointer in history],
                "refused": [asdict(pointer) for pointer in refused],
            }
        )
        return
    from engines.commands.registry_tables import print_registry  # noqa: PLC0415  # rich is slow to import

    print_registry(settings.registry, versions, damaged, history, refused)


def run_show(settings: ShowSettings) -> None:
    """Print one version."""
    opened = Registry(settings.registry)
    pointer = opened.pointer()
    version = opened.version(settings.version or _promoted(pointer, settings.registry))
    manifest = opened.manifest(version.name)
    gate = _gate(opened, version)
    if settings.as_json:
        _write_json(
            {
                "version": asdict(version),
                "in_force": pointer is not None and pointer.promoted == version.name,
                "manifest": manifest.model_dump(mode="json"),
                "gate": gate,
            }
        )
        return
    from engines.commands.registry_tables import print_version  # noqa: PLC0415

    print_version(version, manifest, gate, pointer)


def run_add(settings: AddSettings) -> None:
    """Register an engine, and print what is left to do."""
    extra = _extra(settings.extra)
    with _busy(f"adding {settings.engine.name}"):
        opened = Registry(settings.registry)
        version = opened.register(settings.engine, extra)
    manifest = opened.manifest(version.name)
    promoting = f"{PROG} promote {version.name}"
    if manifest.is_admitted and manifest.admission:
        proven = f"admitted on {manifest.admission.machine}; {promoting} puts it in force"
    else:
        proven = f"not admitted on any machine: prove it with engine-admit before {promoting}"
    _tell(settings, asdict(version), f"{version.name} is in the registry, {proven}")


def run_promote(settings: PromoteSettings) -> None:
    """Promote, and print what is in force now."""
    opened = Registry(settings.registry)
    with _busy(f"verifying {settings.version}"):
        pointer = opened.promote(settings.version, _by(settings))
    _tell_pointer(settings, pointer)


def run_rollback(settings: RollbackSettings) -> None:
    """Roll back, and print what is in force now."""
    _tell_pointer(settings, Registry(settings.registry).rollback(_by(settings)))


def run_fetch(settings: FetchSettings) -> None:
    """Fetch, and print where the copy is."""
    with _busy(f"fetching {settings.version}"):
        engine = Registry(settings.registry).fetch(settings.version, settings.folder)
    _tell(settings, {"engine": str(engine)}, f"{engine} is complete; prove it with engine-admit")


def _extra(paths: list[Path]) -> dict[str, bytes]:
    extra: dict[str, bytes] = {}
    for path in paths:
        if path.name in extra:
            raise RegistryError(f"two files of --extra are called {path.name}: rename one")
        with open_regular(path) as file:
            extra[path.name] = file.read(MAX_EXTRA_BYTES + 1)  # a longer one is refused there
    return extra


def _promoted(pointer: Pointer | None, url: str) -> str:
    if pointer is None:
        raise UnknownVersion(f"nothing is in force in {url} yet: name a version")
    return pointer.promoted


def _gate(opened: Registry, version: Version) -> object:
    if GATE not in version.files:
        return None
    with suppress(ValueError):
        return json.loads(opened.read(version.name, GATE))
    return "gate.json is not JSON"


def _by(settings: _ChangeSettings) -> str:
    if settings.by:
        return settings.by
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = "somebody"
    return f"{user}@{socket.gethostname()}"


def _tell_pointer(settings: _RegistrySettings, pointer: Pointer) -> None:
    before = f"; before it was {pointer.previous}" if pointer.previous else ""
    _tell(
        settings,
        asdict(pointer),
        f"{pointer.promoted} is in force since {pointer.at}, by {pointer.by}{before}",
    )


def _tell(settings: _RegistrySettings, fields: dict[str, Any], sentence: str) -> None:
    if settings.as_json:
        _write_json(fields)
    else:
        sys.stdout.write(sentence + "\n")


def _write_json(fields: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(fields, indent=2) + "\n")


@contextmanager
def _busy(text: str) -> Iterator[None]:
    """Show that hashing or a slow network takes time."""
    if not sys.stderr.isatty():
        yield
        return
    from engines.commandline.terminal import Terminal, styled  # noqa: PLC0415  # for people only

    with Terminal(stderr=True).status(styled(text)):
        yield


def _help() -> str:
    rows = "".join(
        f"  {word:<10}  {(kind.__doc__ or '').partition(chr(10))[0]}\n"
        for word, (kind, _) in _COMMANDS.items()
    )
    return (
        f"usage: {PROG} COMMAND --registry URL [options]\n\n"
        "Keep the engines that may serve, and choose the one in force.\n\n"
        f"commands ({PROG} COMMAND --help shows its flags):\n{rows}\n"
        "options:\n"
        "  -h, --help  show this help message and exit\n"
        "  --version   show the release and exit\n"
    )


_COMMANDS: dict[str, tuple[type[CommandSettings], Callable[[Any], int | None]]] = {
    "list": (ListSettings, run_list),
    "show": (ShowSettings, run_show),
    "add": (AddSettings, run_add),
    "promote": (PromoteSettings, run_promote),
    "rollback": (RollbackSettings, run_rollback),
    "fetch": (FetchSettings, run_fetch),
}
