"""`trainer-gate`: compare a candidate with the engine in force."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from engines.commandline.terminal import Terminal
from trainer.commands.data_folder import print_json, print_losses, read_folder
from trainer.dataset import Dataset
from trainer.progress import TerminalSteps
from trainer.retrain.comparison import Rules
from trainer.retrain.disagreements import PAGE_NAME, figure_cells
from trainer.retrain.gate import Conditions, pass_gate
from trainer.retrain.gate_report import GateReport
from trainer.retrain_settings import GateSettings
from trainer.samples.store import SampleStore
from trainer.seen import unseen

REFUSED_STATUS = 1
_COLOURS = {"better": "green", "worse": "red", "same": "", "unknown": "dim"}


def gate(settings: GateSettings) -> int:
    """Compare the engines, print the report and return the exit status."""
    console = Terminal(stderr=settings.as_json)
    conditions = Conditions(
        backend=settings.backend,
        device=settings.device,
        allow_ungated=settings.allow_ungated,
        rules=Rules(seed=settings.seed, slack=settings.slack),
    )
    dataset = _found(settings, console)
    engines = [each for each in (settings.candidate, settings.incumbent) if each is not None]
    golden = unseen(dataset, engines).test
    with TerminalSteps(console) as steps:
        report = pass_gate(
            settings.candidate, settings.incumbent, golden, conditions, settings.out, steps
        )
    if settings.as_json:
        print_json(report.model_dump(mode="json") | {"files": dataset.files.as_json()})
    else:
        print_report(console, report, settings.out / PAGE_NAME)
    return 0 if report.promoted else REFUSED_STATUS


def print_report(console: Console, report: GateReport, page: Path) -> None:
    """Print the figures and the decision."""
    of_normals = _count(report.normals, report.normal_groups)
    of_defects = _count(report.defects, report.defect_groups)
    title = f"{of_normals} golden pictures of good parts, {of_defects} of defects"
    table = Table(title=title, title_justify="left")
    table.add_column("")
    span = f"{report.confidence:.0%} interval"
    for name in ("incumbent", "candidate", "difference", span, "candidate is"):
        table.add_column(name, justify="right")
    for figure in report.figures:
        standing = figure.standing
        cells = (figure.name, *figure_cells(figure), standing)
        table.add_row(*cells, style=_COLOURS[standing])
    console.print(table)
    for warning in report.warnings:
        console.print(f"warning: {warning}", style="yellow", soft_wrap=True)
    decision = "passes" if report.promoted else "is refused"
    style = "bold green" if report.promoted else "bold red"
    why = "; ".join(report.reasons)
    console.print(f"the candidate {decision}: {why}", style=style, soft_wrap=True)
    console.print(f"see {page}", soft_wrap=True)


def _count(pictures: int, groups: int | None) -> str:
    return f"{pictures}" if groups in {None, pictures} else f"{pictures} (in {groups} groups)"


def _found(settings: GateSettings, console: Console) -> Dataset:
    """Find the pictures to judge by, and those that the engines may have learned from."""
    if settings.store is not None:
        with SampleStore.look(settings.store) as store:
            dataset = store.golden()
    else:
        assert settings.data is not None  # noqa: S101  # checked by the settings
        dataset = read_folder(settings.data, settings, console)
    print_losses(dataset, console)
    return dataset
