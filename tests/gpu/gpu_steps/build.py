"""Compile the kernels for this GPU; what each takes of a multiprocessor."""

import os
import time
from dataclasses import asdict

from gpu_rig import compile_for_this_gpu, open_rig

from engines.residual.compile_kernel import find_nvcc
from gpu_steps.job import Job


def run(job: Job) -> None:
    started = time.monotonic()
    if not job.has_gpu:
        open_rig(job.device, job.room)
        job.put("seconds", time.monotonic() - started)
        job.put("usage", "g++ compiled it for the CPU")
        return
    job.put("nvcc", find_nvcc(os.environ))
    compiled = compile_for_this_gpu(job.room)
    job.put("seconds", time.monotonic() - started)
    job.put("library", compiled.library.name)
    job.put("usage", [asdict(each) for each in compiled.usage])
