"""Which waiting frames the engine takes next: pure, from deadlines and the engine's cost.

Frames are taken by earliest deadline. A batch is as large as the engine's best size and the
earliest deadline in it allow. What could not be in time even alone and at once is late.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

NS_PER_MS = 1_000_000
CostMs = Callable[[int], float]  # frames in a batch -> milliseconds


@dataclass(frozen=True, slots=True)
class WaitingFrame:
    """What batching knows of a frame."""

    deadline_ns: int
    arrived_ns: int
    alone: bool = False  # it may have killed a worker: nobody shares a batch with it


@dataclass(frozen=True, slots=True)
class BatchDecision:
    """What to do now; indices into the waiting frames."""

    batch: tuple[int, ...]  # score these now; empty: nothing yet
    late: tuple[int, ...]  # answer LATE now
    wake_ns: int | None  # where the batch is empty: decide again then, or at the next arrival


def decide_batch(
    waiting: Sequence[WaitingFrame],
    now_ns: int,
    cost_ms: CostMs,
    max_batch: int,
    max_wait_ms: float,
) -> BatchDecision:
    """Decide on the next batch.

    Args:
        waiting: frames in the order of their arrival.
        now_ns: UTC, nanoseconds.
        cost_ms: the engine's time for a batch.
        max_batch: the most frames worth scoring together.
        max_wait_ms: how long a frame may wait for company while the engine is free.
    """
    alone_ns = int(cost_ms(1) * NS_PER_MS)
    late = tuple(
        index for index, frame in enumerate(waiting) if frame.deadline_ns < now_ns + alone_ns
    )
    lost = set(late)
    ready = sorted(
        (index for index in range(len(waiting)) if index not in lost),
        key=lambda index: (waiting[index].deadline_ns, index),
    )
    if not ready:
        return BatchDecision((), late, None)
    first = waiting[ready[0]]
    if first.alone:
        return BatchDecision((ready[0],), late, None)
    company = [index for index in ready if not waiting[index].alone][:max_batch]
    size = _size_in_time(len(company), first.deadline_ns - now_ns, cost_ms)
    if size < max_batch and size == len(ready):
        wake_ns = _worth_waiting_until(waiting, ready, cost_ms, max_wait_ms)
        if wake_ns > now_ns:
            return BatchDecision((), late, wake_ns)
    return BatchDecision(tuple(company[:size]), late, None)


def _size_in_time(most: int, left_ns: int, cost_ms: CostMs) -> int:
    size = most
    while size > 1 and cost_ms(size) * NS_PER_MS > left_ns:
        size -= 1
    return size


def _worth_waiting_until(
    waiting: Sequence[WaitingFrame], ready: list[int], cost_ms: CostMs, max_wait_ms: float
) -> int:
    oldest_ns = min(waiting[index].arrived_ns for index in ready)
    larger_ns = int(cost_ms(len(ready) + 1) * NS_PER_MS)
    return min(oldest_ns + int(max_wait_ms * NS_PER_MS), waiting[ready[0]].deadline_ns - larger_ns)
