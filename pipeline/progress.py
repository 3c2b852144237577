"""Progress on stderr: a bar where the end is known, a count where it is not."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from engines.commandline.terminal import Terminal


@contextmanager
def progress(title: str, total: int | None, *, shown: bool) -> Iterator[Callable[[int], None]]:
    """Return a function that says how many more are done.

    Args:
        title: what is being done.
        total: how many there will be; None where nobody knows.
        shown: whether anything is drawn.
    """
    if not shown:
        yield lambda _more: None
        return
    columns = (
        TextColumn("{task.description:>12}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TaskProgressColumn(show_speed=True),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Terminal(file=sys.stderr)) as bar:
        task = bar.add_task(title, total=total)
        yield lambda more: bar.advance(task, more)
