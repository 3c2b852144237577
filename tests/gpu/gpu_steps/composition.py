"""The same answers by framework operators: eager torch, in a CUDA graph, and as published.

Product form, a scale at a time: |P|^2 - 2 <F, P> by a matrix product accumulated in float32, its
least, the chosen prototype gathered, subtracted, squared, summed. Ours is timed beside it, in the
same way.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from gpu_rig import BoundCall, captured, drawn, open_rig
from torch import Tensor
from torch.nn import functional

from gpu_steps.clock import Clock, open_clock
from gpu_steps.job import Job, WrongError
from gpu_steps.residual import KINDS, sizes_of

Answer = tuple[Tensor, Tensor, Tensor]  # residual [N, D], index [N], distance [N]
Multiply = Callable[[Tensor, Tensor], Tensor]
PUBLISHED_BATCH = 32  # of more the published form does not fit
CLOSE = 1e-3


def cases(job: Job) -> list[tuple[int, int, str]]:
    if not job.has_gpu:
        return [(2, 3, kind) for kind in KINDS]
    return list(itertools.product((1, 8, 32, 64), (20, 40), KINDS))


def run(job: Job) -> None:
    rig, clock = open_rig(job.device, job.room), open_clock(job.device)
    for batch, count, kind in cases(job):
        bound = drawn(rig, sizes_of(job, count), batch, KINDS[kind])
        row: dict[str, Any] = {"batch": batch, "prototypes": count, "kind": kind}
        row["ours"] = with_graph(job, clock, bound.launch)
        forms = eager_forms(bound)
        row["agreement"] = {name: agreement(bound, form) for name, form in forms.items()}
        for name, form in forms.items():
            row[name] = job.attempt(lambda: with_graph(job, clock, form))  # noqa: B023
        if batch <= PUBLISHED_BATCH:
            for name, form in published_forms(bound).items():
                row[name] = job.attempt(lambda: {"cold_us": clock.cold_us(form)})  # noqa: B023
        job.add("forms", row)
        if job.has_gpu:
            torch.cuda.empty_cache()


def with_graph(job: Job, clock: Clock, call: Callable[[], object]) -> dict[str, Any]:
    found: dict[str, Any] = clock.all_us(call)
    if clock.has_gpu:
        found["graph"] = job.attempt(lambda: clock.all_us(captured([call])))
    return found


def eager_forms(bound: BoundCall) -> dict[str, Callable[[], list[Answer]]]:
    """The product form, with features or prototypes on the left of the product."""
    multiply = best_multiply(bound.features[0].values)
    scales = scales_of(bound)

    def straight() -> list[Answer]:
        return [product_form(*scale, multiply) for scale in scales]

    def turned() -> list[Answer]:
        return [product_form(*scale, lambda f, p: multiply(p, f).T) for scale in scales]

    return {"eager": straight, "eager_turned": turned}


def scales_of(bound: BoundCall) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Features, prototypes and the prototypes' squared lengths, which are constants."""
    return [
        (feature.values, prototype.values, prototype.values.float().square().sum(1))
        for feature, prototype in zip(bound.features, bound.prototypes, strict=True)
    ]


def product_form(features: Tensor, prototypes: Tensor, norms: Tensor, multiply: Multiply) -> Answer:
    products = multiply(features, prototypes)  # [N, K]
    gaps = norms - (products + products)  # torch.compile 2.13 forgets the alpha of torch.add here
    index = gaps.argmin(1)
    residual = torch.sub(features, prototypes[index]).square_()
    return residual, index, residual.sum(1, dtype=torch.float32)


def widened(left: Tensor, right: Tensor) -> Tensor:
    return left.float() @ right.float().T


def into_float32(left: Tensor, right: Tensor) -> Tensor:
    return torch.mm(left, right.T, out_dtype=torch.float32)


def best_multiply(example: Tensor) -> Multiply:
    """Half factors with a float32 result where torch has it: a half result overflows here."""
    if example.dtype == torch.float32:
        return widened
    try:
        into_float32(example, example)
    except (RuntimeError, TypeError):
        return widened
    return into_float32


def agreement(bound: BoundCall, form: Callable[[], Sequence[Answer]]) -> dict[str, float]:
    """Compare a form's answers with ours.

    Raises:
        WrongError: the distances differ by more than the form's roundings.
    """
    bound.launch()
    answers = form()
    if bound.features[0].values.is_cuda:
        torch.cuda.synchronize()
    same, worst = [], 0.0
    for scale, (_, index, distance) in enumerate(answers):
        ours, far = bound.index.values[:, scale], bound.distance.values[:, scale]
        same.append(float((ours == index).float().mean()))
        worst = max(worst, float(((far - distance).abs() / distance).max()))
    if not worst <= CLOSE:
        raise WrongError(f"distances differ by {worst:.2g} of themselves, wanted {CLOSE}")
    return {"same_index": min(same), "distance_off_by": worst}


def published_forms(bound: BoundCall) -> dict[str, Callable[[], list[Tensor]]]:
    """As the public implementations do it: every pair materialised, or cdist."""
    pairs = [(f.values, p.values) for f, p in zip(bound.features, bound.prototypes, strict=True)]

    def expanded() -> list[Tensor]:
        return [gathered(f, p, expanded_distances(f, p)) for f, p in pairs]

    def cdist() -> list[Tensor]:
        return [gathered(f, p, torch.cdist(f, p)) for f, p in pairs]

    return {"published_expand": expanded, "published_cdist": cdist}


def expanded_distances(features: Tensor, prototypes: Tensor) -> Tensor:
    count, kinds = len(features), len(prototypes)
    left = features.repeat_interleave(kinds, dim=0)  # [N * K, D]
    right = prototypes.repeat(count, 1)
    return functional.pairwise_distance(left, right).view(count, kinds)


def gathered(features: Tensor, prototypes: Tensor, distances: Tensor) -> Tensor:
    return (features - prototypes[distances.argmin(1)]) ** 2
