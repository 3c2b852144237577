"""Progress of a command on the terminal, and how long each step took."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, Self

from rich.console import Console
from rich.progress import TaskID

from engines.commandline.progress import progress_bars


class Steps(Protocol):
    """Receives progress; `step` yields a function to call with the number of pictures done."""

    def step(self, name: str, total: int | None) -> AbstractContextManager[Callable[[int], None]]:
        """Open a step of `total` pictures, None if there is nothing to count."""
        ...


class TerminalSteps:
    """A progress bar for each step; enter it around all of them."""

    def __init__(self, console: Console) -> None:
        self.seconds: dict[str, float] = {}  # of each finished step
        self._progress = progress_bars(console)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def training(self) -> Callable[[int, int, str, float], None]:
        """Return a function that shows a training: steps done, total steps, loss, seconds left."""
        task: TaskID | None = None
        started = time.monotonic()

        def show(done: int, end: int, loss: str, seconds_left: float) -> None:
            nonlocal task
            if task is None:
                task = self._progress.add_task("training", total=end)
            text = f"training, {loss}, {seconds_left / 60:.1f} min left"
            self._progress.update(task, completed=done, total=end, description=text)
            self.seconds["training"] = time.monotonic() - started

        return show

    @contextmanager
    def step(self, name: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Show a step of `total` pictures, None if there is nothing to count."""
        task = self._progress.add_task(name, total=total)
        started = time.monotonic()
        yield lambda done: self._progress.advance(task, done)
        self.seconds[name] = time.monotonic() - started
        self._progress.update(task, total=total or 1, completed=total or 1)
