"""Training batches: what the loop needs of them, and making the next one while one is learned."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Batch(Protocol):
    """Pictures with their masks."""

    @property
    def frames(self) -> NDArray[np.uint8]:
        """uint8 [B, H, W, 3], RGB."""
        ...

    @property
    def masks(self) -> NDArray[np.float32]:
        """float32 [B, H, W], 0..1."""
        ...

    @property
    def normals(self) -> NDArray[np.intp]:
        """[B], the normal picture that each was made from; -1: none."""
        ...


class Generator(Protocol):
    """Makes batches; may be called from any thread."""

    def batch(self, step: int) -> Batch:
        """Make the batch of `step`: always the same one."""
        ...


@contextmanager
def made_ahead(generator: Generator, start: int, end: int) -> Iterator[Iterator[Batch]]:
    """Give the batches of steps start..end-1, each made in a thread while the last one is used."""
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        yield _batches(thread, generator, start, end)


def _batches(
    thread: ThreadPoolExecutor, generator: Generator, start: int, end: int
) -> Iterator[Batch]:
    if start >= end:
        return
    coming = thread.submit(generator.batch, start)
    for step in range(start + 1, end + 1):
        batch = coming.result()
        if step < end:
            coming = thread.submit(generator.batch, step)
        yield batch
