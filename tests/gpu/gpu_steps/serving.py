"""prn-s as an engine file: ONNX Runtime's rate, TensorRT's plans, and what 8 bits give.

Weights are random, so the errors of 8 bits say that a plan computes, not how well it judges.
"""

import importlib.util
import time
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np
import onnxruntime
from fakes.prn import normal_pictures

from engines.admission.timing import bench_engine, measure_gain
from engines.backends.tensorrt.api import PlanBackend
from engines.conversion.tensorrt import PlanOptions, build_plan
from engines.manifest import Snapshot, Thresholds
from engines.open import open_engine
from engines.pictures.read import read_picture
from gpu_steps.job import Job, NotRunError, print_line
from gpu_steps.network import SIZE, SMALL, drawn_prn
from trainer.export.engine_file import export_onnx, write_engine

BATCHES = (1, 8, 32)
REPEATS = 30
BENCH_S = 12.0
LEAST_S = 25.0  # below that no plan is begun, nor compared
CUDA = "CUDAExecutionProvider"
Precision = Literal["fp16", "int8"]
BACKENDS = get_args(PlanBackend)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def run(job: Job) -> None:
    started = time.monotonic()
    engine = export(job)
    job.put("export_s", time.monotonic() - started)
    providers = onnxruntime.get_available_providers()
    job.put("providers", providers)
    for device in ("cuda", "cpu"):
        if device == "cuda" and not (job.has_gpu and CUDA in providers):
            why = f"ONNX Runtime {onnxruntime.__version__} has {', '.join(providers)} here"
            job.put("onnxruntime_cuda", {"not run": why})
            continue
        job.put(f"onnxruntime_{device}", job.attempt(lambda: rates(job, engine, device)))  # noqa: B023
        print_line(f"onnxruntime_{device}: {job.figures[f'onnxruntime_{device}']}")
    for backend in BACKENDS:
        if importlib.util.find_spec(backend) is None:
            job.put(backend, {"not run": f"{backend} is not installed"})
            continue
        for precision in PRECISIONS:
            name = f"{backend}_{precision}"
            job.put(name, job.attempt(lambda: plan(job, engine, backend, precision)))  # noqa: B023
            print_line(f"{name}: {job.figures[name]}")
        name = f"{backend}_int8_over_fp16"
        job.put(name, job.attempt(lambda: compare(job, backend)))  # noqa: B023
        print_line(f"{name}: {job.figures[name]}")


def export(job: Job) -> Path:
    """Write prn-s with random weights to the room; torch and ONNX Runtime are compared on it."""
    made = drawn_prn(job, "prn-s")
    content = export_onnx(made.network, made.normals.pixels[:2])
    size = SIZE if job.has_gpu else SMALL
    path = job.room / "engine" / "prn-s.onnx"
    write_engine(
        path,
        content,
        "prn-s",
        (size, size),
        Thresholds(image=0.5, pixel=0.5, method="none: random weights", normals=0),
        Snapshot(name="drawn", sha256="0" * 64, normals=len(made.normals.pixels)),
        {"weights": "random"},
    )
    return path


def rates(job: Job, engine: Path, device: str) -> list[dict[str, Any]]:
    with open_engine(engine, "onnxruntime", device) as opened:
        repeats, batches = (REPEATS, BATCHES) if job.has_gpu else (2, (1, 2))
        points = bench_engine(opened.engine, batches, repeats, BENCH_S)
        rows = [point.model_dump() for point in points]
        return [{"backend": opened.backend} | row for row in rows]


def plan(job: Job, engine: Path, backend: PlanBackend, precision: Precision) -> dict[str, Any]:
    """Build a plan for this GPU, on a CPU for another; `attempt` records a refusal's words."""
    check_time(job)
    options = PlanOptions(
        backend,
        "this-gpu" if job.has_gpu else "sm_89",
        precision=precision,
        kernels=job.room,
        calibration=pictures_folder(job) if precision == "int8" else None,
    )
    started = time.monotonic()
    built = build_plan(engine, plan_path(job, backend, precision), options)
    return {"built_for": built.device, "seconds": time.monotonic() - started}


def compare(job: Job, backend: str) -> dict[str, Any]:
    """Rates of both plans on this GPU, the gain as the gate measures it, and how far they part."""
    check_time(job)
    frames = np.stack([read_picture(path) for path in sorted(pictures_folder(job).iterdir())[:8]])
    paths = [plan_path(job, backend, precision) for precision in PRECISIONS]
    with open_engine(paths[0]) as half, open_engine(paths[1]) as eight:
        wanted, got = half.engine.score(frames), eight.engine.score(frames)
        found: dict[str, Any] = {
            "score_off_by": float(np.abs(got.score - wanted.score).max()),
            "map_off_by": float(np.abs(got.maps - wanted.maps).max()),
            "gain": measure_gain(eight.engine, half.engine, REPEATS, "wall"),
        }
        for precision, opened in zip(PRECISIONS, (half, eight), strict=True):
            points = bench_engine(opened.engine, (1, 8, 16), REPEATS, BENCH_S / 2)
            found[precision] = [point.model_dump() for point in points]
    return found


def check_time(job: Job) -> None:
    if job.left_s() < LEAST_S:
        raise NotRunError(f"{job.left_s():.0f} s are left")


def plan_path(job: Job, backend: str, precision: str) -> Path:
    return job.room / "engine" / f"{backend}-{precision}.plan"


def pictures_folder(job: Job) -> Path:
    """Write good pictures for 8 bits to learn from, once."""
    folder = job.room / "pictures"
    if not folder.is_dir():
        folder.mkdir()
        for number, pixels in enumerate(normal_pictures(16, SIZE if job.has_gpu else SMALL)):
            cv2.imwrite(str(folder / f"{number:02}.png"), pixels[..., ::-1])
    return folder
