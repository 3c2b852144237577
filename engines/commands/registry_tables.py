"""Print the tables of `engine-registry list` and `show`."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from engines.commandline.terminal import Terminal, styled
from engines.manifest import Manifest
from engines.registry.records import Pointer, Version

_SHOWN_PROMOTIONS = 10
_GATE_COLUMNS = ("incumbent", "candidate", "difference", "low", "high")


def print_registry(
    url: str,
    versions: list[Version],
    damaged: list[str],
    history: list[Pointer],
    refused: list[Pointer],
) -> None:
    """Print one row per version, newest first, then the last promotions."""
    _print(_registry(url, versions, damaged, history, refused))


def print_version(
    version: Version, manifest: Manifest, gate: object, pointer: Pointer | None
) -> None:
    """Print a version, whether it may serve, and the gate's report."""
    table = Table(box=None, show_header=False, title=version.name, title_justify="left")
    for name, text in _facts(version, manifest, pointer).items():
        table.add_row(name, styled(text))
    _print(Group(table, *_admission(manifest), *_gate(gate)))


def _print(report: RenderableType) -> None:
    Terminal().print(report)


def _registry(
    url: str,
    versions: list[Version],
    damaged: list[str],
    history: list[Pointer],
    refused: list[Pointer],
) -> RenderableType:
    if not versions and not damaged:
        return styled(f"no version in {url} yet: add the first with engine-registry add ENGINE")
    pointer = history[0] if history else None
    table = _table("version", "registered", "state", "reports", title=url)
    for version in reversed(versions):
        state = _state(version.name, pointer)
        reports = " ".join(name for name in version.files if name in ("gate.json", "run.json"))
        style = "bold green" if state == "in force" else ""
        table.add_row(version.name, _moment(version.created), styled(state, style=style), reports)
    for name in damaged:
        table.add_row(name, "", styled("DAMAGED: add it again", style="bold red"), "")
    if pointer is None:
        return Group(table, styled("none is in force: engine-registry promote VERSION"))
    return Group(table, _promotions(history, refused))


def _table(*columns: str, title: str) -> Table:
    table = Table(box=SIMPLE_HEAD, title=styled(title), title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _promotions(history: list[Pointer], refused: list[Pointer]) -> Table:
    table = _table("in force since", "version", "by", "", title="last promotions")
    for pointer in history[:_SHOWN_PROMOTIONS]:
        table.add_row(
            _moment(pointer.at), pointer.promoted, styled(pointer.by), _word(pointer, refused)
        )
    return table


def _word(pointer: Pointer, refused: list[Pointer]) -> Text:
    return styled("refused by a line" if pointer in refused else "", style="red")


def _state(name: str, pointer: Pointer | None) -> str:
    if pointer is not None and name == pointer.promoted:
        return "in force"
    return "before" if pointer is not None and name == pointer.previous else ""


def _moment(at: str) -> str:
    """2026-11-26T07:33:12.123+00:00 -> 2026-11-26 07:33:12Z."""
    return at.partition(".")[0].partition("+")[0].rstrip("Z").replace("T", " ") + "Z"


def _facts(version: Version, manifest: Manifest, pointer: Pointer | None) -> dict[str, str]:
    limits = manifest.thresholds
    facts = {
        "state": _state(version.name, pointer) or "not in force",
        "model": f"{manifest.model} {manifest.version}",
        "registered": _moment(version.created),
        "built": _moment(manifest.created),
        "engine": f"{manifest.format}, {manifest.precision}, for {manifest.device}",
        "frames": f"{manifest.height} x {manifest.width}, up to {manifest.max_batch} in a batch",
        "NG above": f"{limits.image:g} ({limits.method}; {limits.normals} normals)",
        "mask above": f"{limits.pixel:g}",
        "sha256": version.sha256,
        "files": ", ".join(version.files),
    }
    if manifest.snapshot is not None:
        shot = manifest.snapshot
        facts["learned from"] = f"{shot.name}: {shot.normals} normals, {shot.defects} defects"
    if manifest.golden:
        facts["golden set"] = ", ".join(
            f"{name} {value:.4g}" for name, value in manifest.golden.items()
        )
    return facts


def _admission(manifest: Manifest) -> list[Text]:
    found = manifest.admission
    if found is None:
        return [styled("admission: none; prove it on a machine with engine-admit", style="yellow")]
    said = f"on {found.machine} with {found.backend}, {_moment(found.created)}"
    if found.admitted:
        return [styled(f"admitted {said}", style="green")]
    return [styled(f"NOT ADMITTED {said}: {'; '.join(found.reasons)}", style="bold red")]


def _gate(gate: object) -> list[RenderableType]:
    """Print the known fields of a report; a gate may have written others."""
    if gate is None:
        return [styled("gate: no report")]
    if not isinstance(gate, dict):
        return [styled(f"gate: {gate}"[:200])]
    parts: list[RenderableType] = [styled(f"gate: {gate.get('decision', 'no decision')}")]
    for word in ("reasons", "warnings"):
        lines = gate.get(word)
        parts += [styled(f"  {line}") for line in lines] if isinstance(lines, list) else []
    listed = gate.get("figures")
    figures = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    return [*parts, _figures(figures)] if figures else parts


def _figures(figures: list[dict[str, Any]]) -> Table:
    table = Table(box=SIMPLE_HEAD, title="gate's figures", title_justify="left")
    table.add_column("figure")
    for column in _GATE_COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("standing")
    for figure in figures:
        name = f"{figure.get('name', '')} {figure.get('unit', '')}".strip()
        values = [_number(figure.get(column)) for column in _GATE_COLUMNS]
        table.add_row(styled(name), *values, styled(str(figure.get("standing", ""))))
    return table


def _number(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, int | float) else ""
