"""prn-s as an engine file: ONNX Runtime's rate, and TensorRT's answer for this GPU."""

import importlib.util
import time
from pathlib import Path
from typing import Any

import onnxruntime

from engines.bench import bench_engine
from engines.manifest import Snapshot, Thresholds
from engines.open import open_engine
from engines.plans.build import PlanOptions, build_plan
from gpu_steps.job import Job, print_line
from gpu_steps.network import SIZE, SMALL, drawn_prn
from trainer.export.engine_file import export_onnx, write_engine

BATCHES = (1, 8, 32)
REPEATS = 30
BENCH_S = 12.0
CUDA = "CUDAExecutionProvider"
BACKENDS = ("tensorrt", "tensorrt_rtx")


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
        job.put(backend, job.attempt(lambda: plan(job, engine, backend)))  # noqa: B023
        print_line(f"{backend}: {job.figures[backend]}")


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


def plan(job: Job, engine: Path, backend: str) -> dict[str, Any]:
    """Build a plan for this GPU, on a CPU for another; `attempt` records a refusal's words."""
    target = "this-gpu" if job.has_gpu else "sm_89"
    kind = "tensorrt" if backend == "tensorrt" else "tensorrt_rtx"
    started = time.monotonic()
    options = PlanOptions(kind, target, (1, 8, 16), "fp16")
    built = build_plan(engine, job.room / "engine" / f"{backend}.plan", options)
    return {"built_for": built.device, "seconds": time.monotonic() - started}
