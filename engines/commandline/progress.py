"""Progress on a terminal: every command shows it with the bars of this module."""

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def progress_bars(
    console: Console, *, width: int = 30, counted: bool = True, rate: bool = False
) -> Progress:
    """Return bars that are drawn while they are entered; names are shown as they are.

    Args:
        console: where they are drawn.
        width: of the names, characters.
        counted: whether anything is counted; else only the time is shown.
        rate: show the rate and the time left in place of the time passed.
    """
    columns: list[ProgressColumn] = [TextColumn(f"{{task.description:<{width}}}", markup=False)]
    if counted:
        columns += [BarColumn(), MofNCompleteColumn()]
    if rate:
        columns += [TaskProgressColumn(show_speed=True), TimeRemainingColumn()]
    else:
        columns += [TimeElapsedColumn()]
    return Progress(*columns, console=console)
