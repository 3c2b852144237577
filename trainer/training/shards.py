"""A batch in parts, one thread and one core for each, whose gradients are averaged.

The other way, two threads for every operation, costs the same on two free cores, but there the
threads wait for each other thousands of times a step: where other work takes a core away, a step
takes six to twelve times as long instead of twice (docs/experiments.md). The parts are fixed by
the settings, not by the machine: with fewer cores they take turns, and the weights are the same.
"""

import copy
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engines.machine import usable_cores
from trainer.networks.prn import Head
from trainer.training.batches import Batch


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of a batch."""

    frames: NDArray[np.uint8]
    masks: NDArray[np.float32]
    normals: NDArray[np.intp]


def split_batch(batch: Batch, count: int) -> list[Shard]:
    """Deal the pictures out in turn, so that each part has its share of every kind."""
    return [
        Shard(
            np.ascontiguousarray(batch.frames[start::count]),
            np.ascontiguousarray(batch.masks[start::count]),
            batch.normals[start::count],
        )
        for start in range(count)
    ]


@contextmanager
def single_cores(count: int) -> Iterator[ThreadPoolExecutor]:
    """Open threads on which every operation keeps to one core: `count`, or one a core."""
    threads = min(count, usable_cores())
    with ThreadPoolExecutor(threads, "shards", initializer=_keep_to_one_core) as pool:
        yield pool


def replicas(head: Head, count: int) -> list[Head]:
    """Give `head` and copies of it that share its weights, but have batch statistics of their own.

    Batch norm writes its running statistics while it runs: threads must not share them.
    """
    copies = [copy.deepcopy(head) for _ in range(count - 1)]
    for twin in copies:
        for mine, shared in zip(twin.parameters(), head.parameters(), strict=True):
            mine.data = shared.data
    return [head, *copies]


@torch.no_grad()
def average_statistics(heads: Sequence[nn.Module]) -> None:
    """Set the running statistics of every twin to the mean of all."""
    for buffers in zip(*(head.buffers() for head in heads), strict=True):
        if buffers[0].is_floating_point():
            mean = mean_of(buffers)
            for buffer in buffers:
                buffer.copy_(mean)


@torch.no_grad()
def copy_statistics(heads: Sequence[nn.Module]) -> None:
    """Copy all buffers of the first twin to the others."""
    for first, *others in zip(*(head.buffers() for head in heads), strict=True):
        for buffer in others:
            buffer.copy_(first)


def mean_of(tensors: Sequence[Tensor]) -> Tensor:
    """Average in the order of `tensors`, so that the last bit does not depend on threads."""
    total = tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return total / len(tensors)


def _keep_to_one_core() -> None:
    torch.set_num_threads(1)
