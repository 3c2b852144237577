"""Training batches: what the loop needs of them, and making the next one while one is learned."""

from collections import deque
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


class BatchGenerator(Protocol):
    """Makes batches; may be called from any thread."""

    def batch(self, step: int) -> Batch:
        """Make the batch of `step`: always the same one."""
        ...


@contextmanager
def prefetched(
    generator: BatchGenerator, start: int, end: int, ahead: int = 1
) -> Iterator[Iterator[Batch]]:
    """Return the batches of steps start..end-1; `ahead` threads make the next while one is used."""
    with ThreadPoolExecutor(ahead, thread_name_prefix="batches") as threads:
        yield _batches(threads, generator, range(start, end), ahead)


def _batches(
    threads: ThreadPoolExecutor, generator: BatchGenerator, steps: range, ahead: int
) -> Iterator[Batch]:
    coming = deque(threads.submit(generator.batch, step) for step in steps[:ahead])
    for step in steps:
        batch = coming.popleft().result()
        if step + ahead < steps.stop:
            coming.append(threads.submit(generator.batch, step + ahead))
        yield batch
