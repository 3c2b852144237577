"""Progress on stderr: a bar where the end is known, a count where it is not."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from engines.commandline.progress import progress_bars
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
    with progress_bars(Terminal(file=sys.stderr), width=12, rate=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda more: bar.advance(task, more)
