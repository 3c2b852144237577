"""Times of work on a GPU, by its events; on a CPU by the wall clock, to prove the program."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

Call = Callable[[], object]
WARM_UP = 3
SAMPLES = 60
FLUSH_SHARE = 3  # of the L2 cache's size, written between two calls
HIDDEN_CYCLES = 1_000_000  # the GPU waits 0.5 ms, while the host enqueues what is timed


def spread(times: Sequence[float]) -> dict[str, float]:
    """Median and the 5th and 95th percentile."""
    low, median, high = (round(float(each), 3) for each in np.percentile(times, [5, 50, 95]))
    return {"median": median, "p5": low, "p95": high, "samples": len(times)}


@dataclass
class Clock:
    device: torch.device
    samples: int

    def __post_init__(self) -> None:
        self.has_gpu = self.device.type == "cuda"
        self.l2_bytes = 1 << 16
        if self.has_gpu:
            self.l2_bytes = torch.cuda.get_device_properties(0).L2_cache_size
        size = FLUSH_SHARE * self.l2_bytes
        self._flush = torch.zeros(size, dtype=torch.uint8, device=self.device)

    def hot_us(self, call: Call) -> dict[str, float]:
        """Time on the GPU, the same buffers again and again; the host's part is hidden."""
        return self._events(call, flushed=False)

    def cold_us(self, call: Call) -> dict[str, float]:
        """Time on the GPU after the L2 cache was filled with other, written lines."""
        return self._events(call, flushed=True)

    def flush(self) -> None:
        """Write more than the L2 cache holds."""
        self._flush.add_(1)

    def called_us(self, call: Call) -> dict[str, float]:
        """Wall time of calls one after the other, the host's part included, in runs of ten."""
        for _ in range(WARM_UP):
            call()
        times, run = [], 10
        for _ in range(max(3, self.samples // run)):
            self.synchronize()
            started = time.perf_counter()
            for _ in range(run):
                call()
            self.synchronize()
            times.append((time.perf_counter() - started) * 1e6 / run)
        return spread(times)

    def waited_us(self, call: Call, samples: int | None = None) -> dict[str, float]:
        """Wall time of single calls, each waited for."""
        for _ in range(WARM_UP):
            call()
        self.synchronize()
        return spread([self._waited(call) for _ in range(samples or self.samples)])

    def all_us(self, call: Call) -> dict[str, Any]:
        return {
            "cold_us": self.cold_us(call),
            "hot_us": self.hot_us(call),
            "called_us": self.called_us(call),
        }

    def synchronize(self) -> None:
        if self.has_gpu:
            torch.cuda.synchronize()

    def copy_gb_per_s(self, size: int) -> dict[str, float]:
        """Bytes read and written by a copy within the device's memory, by its time."""
        source = torch.ones(size, dtype=torch.uint8, device=self.device)
        target = torch.empty_like(source)
        times = self.hot_us(lambda: target.copy_(source))
        return {
            "median": 2 * size / times["median"] / 1e3,
            "least": 2 * size / times["p95"] / 1e3,
            "most": 2 * size / times["p5"] / 1e3,
        }

    def _waited(self, call: Call) -> float:
        started = time.perf_counter()
        call()
        self.synchronize()
        return (time.perf_counter() - started) * 1e6

    def _events(self, call: Call, *, flushed: bool) -> dict[str, float]:
        for _ in range(WARM_UP):
            call()
        if not self.has_gpu:
            return spread([self._waited(call) for _ in range(self.samples)])
        pairs = [
            (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
            for _ in range(self.samples)
        ]
        torch.cuda.synchronize()
        for start, end in pairs:
            if flushed:
                self.flush()
            torch.cuda._sleep(HIDDEN_CYCLES)
            start.record()
            call()
            end.record()
        torch.cuda.synchronize()
        return spread([start.elapsed_time(end) * 1000 for start, end in pairs])


def open_clock(device: str) -> Clock:
    return Clock(torch.device(device), SAMPLES if device == "cuda" else 3)
