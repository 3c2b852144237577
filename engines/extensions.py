"""Sources and backends of other packages, offered as entry points.

Only installed packages are searched: no file, flag or message can name code to load.
"""

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

from engines.errors import BackendError

SOURCES = "prn_line.sources"  # the word before the colon of --source -> opens it
BACKENDS = "prn_line.backends"  # the suffix of an engine file, without its dot -> opens it


def extension_names(group: str) -> list[str]:
    """Return what installed packages offer in a group, sorted."""
    return sorted(entry.name for entry in entry_points(group=group))


def find_extension(group: str, name: str) -> Callable[..., Any] | None:
    """Return what an installed package offers under a name, or None.

    Raises:
        BackendError: two packages offer it, or it does not import.
    """
    entries = list(entry_points(group=group, name=name))
    if not entries:
        return None
    places = sorted({entry.value for entry in entries})
    if len(places) > 1:
        raise BackendError(f"{group} {name} is offered by {' and '.join(places)}: uninstall one")
    try:
        found: Callable[..., Any] = entries[0].load()
    except (ImportError, AttributeError) as error:
        raise BackendError(f"{group} {name} ({places[0]}) does not import: {error}") from error
    return found
