"""Write the tables of docs/configuration.md from the commands' declarations: `make docs`."""

import os
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from pydantic.fields import FieldInfo

from engines.commandline.declarations import declarations
from engines.commandline.flags import (
    flag_name,
    is_positional,
    metavar,
    shown,
    variable_name,
)
from engines.commandline.run import Declaration
from pipeline.settings import WaitingSettings

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "configuration.md"
BEGIN, END = "<!-- begin: written by make docs -->", "<!-- end: written by make docs -->"
SCRIPTS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
    "scripts"
]
HEAD = "| flag | variable | value | default | meaning |\n|---|---|---|---|---|"
SHARED = "Line and Redis"


def tables() -> str:
    """Return a section for each command, and one for the flags that the line's commands share."""
    os.environ.pop("XDG_STATE_HOME", None)  # a default of this machine, not of the page
    fields = WaitingSettings.model_fields
    parts = [f"### {SHARED}", HEAD + "\n" + "\n".join(_row(*item) for item in fields.items())]
    for declared in declarations(SCRIPTS):
        parts += _section(declared)
    return "\n\n".join(parts)


def filled(page: str) -> str:
    """Return a page with its tables written anew."""
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"the page has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{after}"


def _section(declared: Declaration) -> Iterator[str]:
    kind = declared.settings_type
    shared = {name for name in WaitingSettings.model_fields if name in kind.model_fields}
    of_line = {"line", "redis_url"} <= shared
    own = {
        name: field
        for name, field in kind.model_fields.items()
        if not (of_line and name in shared and _same(name, field))
    }
    yield f"### {declared.prog}"
    yield _first_sentence(kind.__doc__ or "")
    if of_line:
        link = SHARED.lower().replace(" ", "-")
        without = "" if "redis_wait_s" in shared else ", without `--redis-wait-s`"
        yield f"The flags of [{SHARED}](#{link}){without}" + (", and:" if own else ".")
    if own:
        yield HEAD + "\n" + "\n".join(_row(*item) for item in own.items())


def _same(name: str, field: FieldInfo) -> bool:
    return field.description == WaitingSettings.model_fields[name].description


def _first_sentence(text: str) -> str:
    return " ".join(text.partition("\n\n")[0].split())


def _row(name: str, field: FieldInfo) -> str:
    needed, default = field.is_required(), ""
    if not needed:
        value = field.get_default(call_default_factory=True, validated_data={})
        plain = value is None or value is False or value in ("", [])
        default = "" if plain else f"`{shown(value)}`"
    value_name = "" if field.annotation is bool else f"`{metavar(name, field)}`"
    flag = metavar(name, field) if is_positional(field) else flag_name(name)
    meaning = (field.description or "").replace("\n", " ").replace("|", "\\|")
    cells = [
        f"`{flag}`",
        f"`{variable_name(name)}`",
        value_name.replace("|", "\\|"),
        "(required)" if needed else default,
        " ".join(meaning.split()),
    ]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text("utf-8")), "utf-8")
    sys.stdout.write(f"wrote {PAGE}\n")
