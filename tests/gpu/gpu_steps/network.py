"""PRN in torch: a training step of the full network, and inference, on drawn pictures.

The encoder is a ResNet-18 of random weights, folded and frozen by the trainer's own loader: the
times are those of real weights. Training is the trainer's own step, once as `trainer-train` runs it
(deterministic) and once with whatever kernels cuDNN likes.
"""

import contextlib
import gc
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before cuBLAS starts, as in training

import numpy as np
import safetensors.torch
import torch
from fakes.prn import TINY, TINY_PAPER, Squares, normal_pictures
from torch import Tensor

from gpu_steps.clock import Clock, open_clock
from gpu_steps.job import Job, print_line
from trainer.choices import PrnSize
from trainer.networks.backbones import Backbone, ResNet18, load_weights
from trainer.networks.image_score import image_score
from trainer.networks.prn import PRN, PRN_CONFIGS, NetworkParts
from trainer.networks.residual import compare_scales
from trainer.training.prn.initial import InitialPrn, make_prn
from trainer.training.training_step import OptimizerConfig, TrainingState

SIZE, SMALL = 256, 32  # a side, in pixels
NORMALS, PROTOTYPES = 100, 20
BATCH = 64
BATCHES = (1, 8, 32)
STEPS = 8
WARM_STEPS = 2
CALLS = 20
LEAST_S = 12.0  # below that no measurement is begun
Judge = Callable[[PRN, Tensor], tuple[Tensor, Tensor]]


def run(job: Job) -> None:
    clock = open_clock(job.device)
    job.put("tf32", {"convolutions": torch.backends.cudnn.allow_tf32, "products": False})
    started = time.monotonic()
    made = drawn_prn(job, "prn")
    job.put("prototypes", {"seconds": time.monotonic() - started, "count": PROTOTYPES})
    train(job, made)
    plans: tuple[PrnSize, ...] = ("prn", "prn-s")
    for plan in plans:
        network = (made if plan == "prn" else drawn_prn(job, plan)).network.to(job.device).eval()
        infer(job, clock, network, plan)


def drawn_prn(job: Job, plan: PrnSize) -> InitialPrn:
    """A network with random weights and prototypes of drawn pictures, on the CPU."""
    normals, size = (NORMALS, SIZE) if job.has_gpu else (6, SMALL)
    share = PROTOTYPES / NORMALS if job.has_gpu else 0.5
    pixels = normal_pictures(normals, size)
    backbone, parts = random_resnet18(job.room), NetworkParts()
    sizes = dict(PRN_CONFIGS) if job.has_gpu else {"prn": TINY_PAPER, "prn-s": TINY}
    return make_prn(backbone, pixels, sizes[plan], parts, job.room, 1, prototype_share=share)


def random_resnet18(folder: Path) -> Backbone:
    """Draw weights by seed, and load them as a file of real ones would be."""
    torch.manual_seed(1)
    with tempfile.TemporaryDirectory(dir=folder) as room:
        weights = Path(room) / "random.safetensors"
        safetensors.torch.save_file(ResNet18().state_dict(), weights)
        return load_weights(ResNet18(), weights)


def train(job: Job, made: InitialPrn) -> None:
    """Time steps of the full network, each way as long as time is left."""
    network = made.network.to(job.device)
    fine, middle, coarse = (each.prototypes for each in network.compared)
    normals = made.normals.sharing((fine, middle, coarse))
    batch = Squares(made.normals.pixels, size=BATCH if job.has_gpu else 4).batch(1)
    for deterministic in (True, False) if job.has_gpu else (True,):
        for precision in ("fp32", "bf16"):
            if job.left_s() < LEAST_S:
                return
            method = OptimizerConfig(learning_rate=1e-4, precision=precision, shards=1)

            def trained(method: OptimizerConfig = method) -> dict[str, Any]:
                return steps_ms(job, TrainingState(network, normals, method), batch)

            row = {"precision": precision, "deterministic": deterministic, "batch": batch_of(job)}
            with repeatable(deterministic):
                job.add("training", row | job.attempt(trained))
            free(job)


def batch_of(job: Job) -> int:
    return BATCH if job.has_gpu else 4


def steps_ms(job: Job, state: TrainingState, batch: Any) -> dict[str, Any]:  # noqa: ANN401
    """Wall time of steps, each waited for, and the most memory that torch took of the GPU."""
    if job.has_gpu:
        torch.cuda.reset_peak_memory_stats()
    times, losses = [], []
    for step in range(WARM_STEPS + STEPS if job.has_gpu else 2):
        started = time.perf_counter()
        losses.append(float(state.step(batch, 1.0, step).total))  # the number: it is done then
        times.append((time.perf_counter() - started) * 1000)
        if job.left_s() < LEAST_S / 2:
            break
    took = times[WARM_STEPS:] or times[-1:]
    median = float(np.median(took))
    peak = torch.cuda.max_memory_allocated() / 1e9 if job.has_gpu else None
    return {
        "step_ms": round(median, 2),
        "slowest_ms": round(max(took), 2),
        "first_ms": round(times[0], 1),
        "pictures_per_s": round(len(batch.frames) * 1000 / median, 1),
        "peak_gb": peak,
        "losses": [round(losses[0], 4), round(losses[-1], 4)],
    }


@contextlib.contextmanager
def repeatable(wanted: bool) -> Iterator[None]:  # noqa: FBT001  # a column of the table
    torch.use_deterministic_algorithms(wanted)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=False)


def infer(job: Job, clock: Clock, network: PRN, plan: str) -> None:
    """Time judging frames that lie on the device, each call waited for."""
    size, batches = (SIZE, BATCHES) if job.has_gpu else (SMALL, (2,))
    dice = torch.Generator().manual_seed(1)
    frames = torch.randint(
        0, 256, (max(batches), size, size, 3), dtype=torch.uint8, generator=dice
    ).to(job.device)
    with torch.inference_mode():
        wanted = judge_fp32(network, frames)[1]
        for kind, judge in (("fp32", judge_fp32), ("fp16", judge_fp16)):
            off = float((judge(network, frames)[1] - wanted).abs().max())
            for batch in batches:
                if job.left_s() < LEAST_S / 2:
                    print_line("no time is left for more")
                    return
                some = frames[:batch]
                call = lambda judge=judge, some=some: judge(network, some)  # noqa: E731
                found = job.attempt(lambda: clock.waited_us(call, CALLS if job.has_gpu else 2))  # noqa: B023
                job.add("inference", judged_row(plan, kind, batch, found, off))


def judged_row(
    plan: str, kind: str, batch: int, found: dict[str, Any], off: float
) -> dict[str, Any]:
    row = {"plan": plan, "kind": kind, "batch": batch, "map_off_by": off, "call_us": found}
    if "median" in found:
        row["frames_per_s"] = round(batch * 1e6 / found["median"], 1)
    return row


def judge_fp32(network: PRN, frames: Tensor) -> tuple[Tensor, Tensor]:
    score, maps, _, _ = network(frames)
    return score, maps


def judge_fp16(network: PRN, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Encoder and head in half; distances in float32, whose sums half cannot hold."""
    with torch.autocast(frames.device.type, torch.float16):
        stem, (fine, middle, coarse) = network.encoder(frames)
    features = fine.float(), middle.float(), coarse.float()
    residuals, _, _ = compare_scales(features, network.compared)
    with torch.autocast(frames.device.type, torch.float16):
        logits = network.head(stem, features, residuals)[:, 0]
    maps = logits.float().sigmoid()
    return image_score(maps), maps


def free(job: Job) -> None:
    gc.collect()
    if job.has_gpu:
        torch.cuda.empty_cache()
