"""The kernel's times: hot, cold, in a CUDA graph, launch by launch, and beside the floor.

needed bytes = (2 N + K) D s: every feature and prototype read once, every residual written once.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from gpu_rig import BoundCall, Rig, captured, drawn, open_rig
from torch.profiler import ProfilerActivity, profile

from gpu_steps.clock import Clock, open_clock, spread
from gpu_steps.job import Job, WrongError
from gpu_steps.machine import smi

PRN = (262_144, 131_072, 65_536)  # elements of a map
SMALL = (2100, 512, 300)
KINDS = {"fp16": torch.float16, "fp32": torch.float32}
NOMINAL_GB_PER_S = 3000.0
COPY_BYTES = 1 << 31
ROTATED = 20  # calls in one graph, over sets of arrays that L2 does not hold together
MOST_SETS = 16
PROFILED = 30


def cases(job: Job) -> list[tuple[int, int, str]]:
    """Batch, prototypes, element type."""
    if not job.has_gpu:
        return [(1, 3, "fp16"), (9, 3, "fp32")]
    batches, counts = (1, 8, 32, 64), (20, 40)
    return [(batch, count, kind) for kind in KINDS for count in counts for batch in batches]


def sizes_of(job: Job, count: int) -> list[tuple[int, int]]:
    """Elements and prototypes of each scale."""
    return [(elements, count) for elements in (PRN if job.has_gpu else SMALL)]


def needed_bytes(sizes: Sequence[tuple[int, int]], batch: int, kind: str) -> int:
    return sum((2 * batch + count) * elements * KINDS[kind].itemsize for elements, count in sizes)


def run(job: Job) -> None:
    rig, clock = open_rig(job.device, job.room), open_clock(job.device)
    copied = clock.copy_gb_per_s(COPY_BYTES if job.has_gpu else 1 << 20)
    job.put("copy_gb_per_s", copied)
    job.put("nothing_us", clock.hot_us(lambda: None))  # what two events alone measure
    for batch, count, kind in cases(job):
        sizes = sizes_of(job, count)
        bound = drawn(rig, sizes, batch, KINDS[kind])
        before = bound.run()
        row = {"batch": batch, "prototypes": count, "kind": kind} | timed(job, rig, clock, bound)
        row |= {"rotated_us": job.attempt(lambda: rotated(rig, clock, sizes, batch, kind))}  # noqa: B023  # called at once
        bytes_needed = needed_bytes(sizes, batch, kind)
        job.add("calls", row | beside_floor(bytes_needed, row, copied["median"]))
        bound.forget()
        if not before.same_bits(bound.run()):
            raise WrongError(f"batch {batch}, K {count}, {kind}: other bits than before")
    if job.has_gpu:
        job.put("clocks_after", smi())
    for batch, count, kind in cases(job):
        bound = drawn(rig, sizes_of(job, count), batch, KINDS[kind])
        parts = job.attempt(lambda: launches_us(clock, bound))  # noqa: B023
        job.add("launches", {"batch": batch, "prototypes": count, "kind": kind, "cold_us": parts})


def timed(job: Job, rig: Rig, clock: Clock, bound: BoundCall) -> dict[str, Any]:
    row = clock.all_us(bound.launch)
    if rig.has_gpu:
        row["graph"] = job.attempt(lambda: clock.all_us(captured([bound.launch])))
    return row


def rotated(
    rig: Rig, clock: Clock, sizes: Sequence[tuple[int, int]], batch: int, kind: str
) -> dict[str, float]:
    """Time a call in a graph of many, each finding L2 full of the others' arrays."""
    wanted = 3 * clock.l2_bytes // needed_bytes(sizes, batch, kind) + 2
    count = min(MOST_SETS, wanted)
    sets = [drawn(rig, sizes, batch, KINDS[kind], seed) for seed in range(count)]
    launches = [sets[place % count].launch for place in range(max(ROTATED, count))]

    def one_by_one() -> None:
        for launch in launches:
            launch()

    found = clock.hot_us(captured(launches) if rig.has_gpu else one_by_one)
    per_call = {
        name: value / len(launches) for name, value in found.items() if name.startswith(("m", "p"))
    }
    return per_call | {"sets": count, "samples": found["samples"]}


def beside_floor(needed: int, row: dict[str, Any], copied: float) -> dict[str, Any]:
    """Set the times beside the least that the bytes need: 1 is the floor, hot may be above it."""
    floors = {"copy": needed / copied / 1e3, "3.0 TB/s": needed / NOMINAL_GB_PER_S / 1e3}
    figures: dict[str, Any] = {"needed_mb": needed / 1e6, "floor_us": floors}
    for name in ("cold_us", "hot_us", "rotated_us"):
        if "median" in row[name]:
            took = row[name]["median"]
            figures[name.replace("_us", "_gb_per_s")] = round(needed / took / 1e3, 1)
            figures[name.replace("_us", "_share_of_floor")] = {
                floor: round(least / took, 3) for floor, least in floors.items()
            }
    return figures


def launches_us(clock: Clock, bound: BoundCall) -> dict[str, dict[str, float]]:
    """Time each launch by itself, as the profiler notes it; L2 is flushed before each call."""
    if not clock.has_gpu:
        raise LookupError("the profiler notes launches on a GPU")
    bound.launch()
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as noted:
        for _ in range(PROFILED):
            clock.flush()
            bound.launch()
        torch.cuda.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        noted.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text("utf-8"))["traceEvents"]
    return sorted_by_launch(events)


def sorted_by_launch(events: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Durations in microseconds by the launch's kind."""
    found: dict[str, list[float]] = {"distances": [], "residuals": [], "memset": []}
    for event in events:
        kind, name = event.get("cat"), str(event.get("name"))
        if kind == "kernel" and "prn_distances" in name:
            found["distances"].append(event["dur"])
        elif kind == "kernel" and "prn_residuals" in name:
            found["residuals"].append(event["dur"])
        elif kind == "gpu_memset":
            found["memset"].append(event["dur"])
    if not found["distances"]:
        raise LookupError(f"the profiler noted none of our launches among {len(events)} events")
    return {name: spread(times) for name, times in found.items() if times}
