"""The product form under torch.compile, as long as time is left; compilation takes most of it."""

import itertools
import time
from collections.abc import Callable
from typing import Any

import torch
from gpu_rig import drawn, open_rig
from torch import Tensor

from gpu_steps.clock import open_clock
from gpu_steps.composition import (
    Answer,
    Multiply,
    agreement,
    best_multiply,
    product_form,
    scales_of,
    widened,
    with_graph,
)
from gpu_steps.job import Job, NotRunError
from gpu_steps.residual import KINDS, sizes_of

MODE = "max-autotune-no-cudagraphs"
LEAST_S = 15.0  # below that no case is begun


def run(job: Job) -> None:
    rig, clock = open_rig(job.device, job.room), open_clock(job.device)
    cases = [(3, 2, "fp32")]
    if job.has_gpu:
        cases = list(itertools.product((20, 40), (1, 8, 32), KINDS))
    job.put("mode", MODE if job.has_gpu else "eager: no compiler, to prove this step")
    for count, batch, kind in cases:
        if job.left_s() < LEAST_S:
            raise NotRunError(f"no time was left for K {count}, batch {batch}, {kind} and after")
        bound = drawn(rig, sizes_of(job, count), batch, KINDS[kind])
        row: dict[str, Any] = {"batch": batch, "prototypes": count, "kind": kind}
        started = time.monotonic()
        form, row["multiply"] = first_that_compiles(job, scales_of(bound))
        row["compile_s"] = round(time.monotonic() - started, 1)
        if isinstance(form, dict):
            job.add("forms", row | {"compiled": form})
            continue
        row["agreement"] = {"compiled": job.attempt(lambda: agreement(bound, form))}  # noqa: B023
        if "not run" in row["agreement"]["compiled"]:  # a wrong form is no baseline
            job.add("forms", row)
            continue
        row["ours"] = with_graph(job, clock, bound.launch)
        row["compiled"] = with_graph(job, clock, form)
        job.add("forms", row)


def first_that_compiles(job: Job, scales: list[tuple[Tensor, Tensor, Tensor]]) -> tuple[Any, str]:
    """Compile with the best product that the compiler knows; a form, or why there is none."""
    form: Any = None
    multiply: Multiply = best_multiply(scales[0][0])
    for multiply in dict.fromkeys((best_multiply(scales[0][0]), widened)):
        form = job.attempt(lambda: compiled_form(job, scales, multiply))  # noqa: B023
        if not isinstance(form, dict):
            break
    return form, multiply.__name__


def compiled_form(
    job: Job, scales: list[tuple[Tensor, Tensor, Tensor]], multiply: Multiply
) -> Callable[[], list[Answer]]:
    """Compile for these shapes alone, and call once."""
    torch.compiler.reset()

    def all_scales(given: list[tuple[Tensor, Tensor, Tensor]]) -> list[Answer]:
        return [product_form(*scale, multiply) for scale in given]

    how: dict[str, Any] = {"mode": MODE} if job.has_gpu else {"backend": "eager"}
    made = torch.compile(all_scales, fullgraph=True, dynamic=False, **how)
    with torch.inference_mode():
        made(scales)

    def form() -> list[Answer]:
        with torch.inference_mode():
            answers: list[Answer] = made(scales)
        return answers

    return form
