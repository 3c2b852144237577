"""Progress bars on a terminal, the same for every command."""

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
    """Return progress bars, drawn while the context is entered; names are shown without markup.

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
