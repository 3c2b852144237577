"""What is installed: libraries of the base, extras, and strangers under our own names."""

import importlib
from collections.abc import Mapping, Sequence
from importlib.metadata import (
    PackageNotFoundError,
    metadata,
    packages_distributions,
    requires,
    version,
)

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from engines.extras import install_command
from pipeline.commands.machine_checks import CheckStatus, HealthCheck

DISTRIBUTION = "prn-line"
OWN_NAMES = ("engines", "pipeline", "trainer")
_NOT_FOR_USERS = {"dev", "deploy-tests"}
_ONE_FOLDER = ("onnxruntime", "onnxruntime-gpu")


def check_installation() -> list[HealthCheck]:
    """Check libraries, extras and names as Python finds them."""
    lines = requires(DISTRIBUTION) or []
    owners = packages_distributions()
    extras = metadata(DISTRIBUTION).get_all("Provides-Extra") or []
    return [
        *check_base(base_requirements(lines), owners),
        check_extras(lines, sorted(set(extras) - _NOT_FOR_USERS)),
        *check_names(owners),
        *check_runtimes(),
    ]


def base_requirements(lines: Sequence[str]) -> list[Requirement]:
    """Return what a distribution needs here without an extra, of its metadata's lines."""
    return _needed(lines, "")


def check_base(needed: Sequence[Requirement], owners: Mapping[str, list[str]]) -> list[HealthCheck]:
    """Import every library of the base; one line where all is well.

    Args:
        needed: the libraries.
        owners: as of `packages_distributions`: module -> the distributions that hold it.
    """
    wrong, well = [], []
    for requirement in needed:
        name = requirement.name
        try:
            _import(name, owners)
            found = version(name)
        except Exception as error:  # noqa: BLE001  # whatever its import raises is the finding
            mend = f"{type(error).__name__}: {error}: pip install '{_plain(requirement)}'"
            wrong.append(HealthCheck(f"library {name}", CheckStatus.FAILURE, mend))
            continue
        if requirement.specifier.contains(found, prereleases=True):
            well.append(f"{name} {found}")
        else:
            mend = f"{found} is installed: pip install '{_plain(requirement)}'"
            wrong.append(HealthCheck(f"library {name}", CheckStatus.FAILURE, mend))
    return [*wrong, HealthCheck("libraries", CheckStatus.OK, ", ".join(well))]


def check_extras(lines: Sequence[str], extras: Sequence[str]) -> HealthCheck:
    """Name the extras that are complete, and how to install the others.

    Args:
        lines: the requirements of our own metadata.
        extras: those to look at.
    """
    complete, others = [], []
    for extra in extras:
        missing = _missing(lines, extra)
        if missing:
            others.append(f"{extra} (without {', '.join(missing)})")
        else:
            complete.append(extra)
    found = f"installed: {', '.join(complete) or 'none'}"
    if others:
        found += f"; not installed: {', '.join(others)}: {install_command('EXTRA')}"
    return HealthCheck("extras", CheckStatus.OK, found)


def check_names(owners: Mapping[str, list[str]]) -> list[HealthCheck]:
    """Name every other distribution that has a package of the same name as one of ours.

    Of two in one folder each overwrites files of the other.
    """
    ours = canonicalize_name(DISTRIBUTION)
    return [
        HealthCheck(
            f"package {name}",
            CheckStatus.FAILURE,
            f"{stranger} has a package of this name too: install prn-line and {stranger} into "
            "environments of their own, and reinstall prn-line here",
        )
        for name in OWN_NAMES
        for stranger in sorted(set(owners.get(name, ())))
        if canonicalize_name(stranger) != ours
    ]


def check_runtimes() -> list[HealthCheck]:
    """Name both builds of ONNX Runtime in one environment: together they lose CUDA."""
    found = [name for name in _ONE_FOLDER if _is_installed(name)]
    if found != list(_ONE_FOLDER):
        return []
    mend = "both write to one folder, and CUDA is lost: pip uninstall both, then install one"
    return [HealthCheck("ONNX Runtime", CheckStatus.WARNING, f"{' and '.join(found)}: {mend}")]


def _needed(lines: Sequence[str], extra: str) -> list[Requirement]:
    """Return the requirements that hold here with an extra, or without one: ""."""
    found = []
    for line in lines:
        requirement = Requirement(line)
        marker = requirement.marker
        of_base = marker is None or marker.evaluate({"extra": ""})
        of_extra = marker is not None and marker.evaluate({"extra": extra})
        if of_extra and not of_base if extra else of_base:
            found.append(requirement)
    return found


def _missing(lines: Sequence[str], extra: str) -> list[str]:
    """Return the names of what an extra, and those within it, need and what is not there."""
    missing: list[str] = []
    for requirement in _needed(lines, extra):
        if canonicalize_name(requirement.name) == canonicalize_name(DISTRIBUTION):
            for inner in sorted(requirement.extras):
                missing += _missing(lines, inner)
        elif not _is_installed(requirement.name):
            missing.append(requirement.name)
    return list(dict.fromkeys(missing))


def _import(name: str, owners: Mapping[str, list[str]]) -> None:
    """Import the modules of a distribution; where none is known, the one of its name."""
    wanted = canonicalize_name(name)
    modules = [
        module
        for module, names in owners.items()
        if wanted in map(canonicalize_name, names)
        and module.isidentifier()
        and not module.startswith("_")
    ]
    for module in modules or [name]:
        importlib.import_module(module)


def _is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _plain(requirement: Requirement) -> str:
    """Return a requirement as pip takes it, without its marker."""
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}{requirement.specifier}"
