"""What a machine has: Python, memory, shared memory, disk, GPU."""

import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

from engines.errors import BackendError, NoDriver
from engines.extras import install_command
from engines.machine import Gpu, list_gpus
from pipeline.streams.connect import ReplicationStatus

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108  # where POSIX shared memory lies on Linux
SHARED_MEMORY_MB = 256
MEMORY_MB = 2048
DISK_WARNING_MB, DISK_FAILURE_MB = 2048, 200
_MB = 1 << 20


class CheckStatus(StrEnum):
    """How a check went."""

    OK = "ok"
    WARNING = "warning"
    FAILURE = "failure"


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One thing that was looked at."""

    what: str
    state: CheckStatus
    found: str  # what is there, and where something is wrong, how to mend it


def check_machine(state_dir: Path) -> list[HealthCheck]:
    """Look at everything that needs no Redis."""
    return [
        HealthCheck("Python", *_python()),
        HealthCheck("cores", *_cores()),
        HealthCheck("memory", *_memory()),
        HealthCheck("shared memory", *_shared_memory()),
        HealthCheck("disk", *_disk(state_dir)),
        HealthCheck("GPU", *check_gpu()),
    ]


def check_replication(nodes: list[ReplicationStatus]) -> HealthCheck:
    """Look at the role of the server, and at what a failover would lose."""
    what = "Redis replication"
    if any(node.is_replica for node in nodes):
        mend = "a read-only replica: name the primary, or redis+sentinel://HOSTS/SERVICE"
        return HealthCheck(what, CheckStatus.FAILURE, mend)
    replicas = sum(node.replicas for node in nodes)
    if not replicas:
        return HealthCheck(what, CheckStatus.OK, "primary without replicas: no failover")
    found = f"primary with {replicas} replicas"
    if not all(node.waits_for_replicas for node in nodes):
        mend = "set min-replicas-to-write 1 and min-replicas-max-lag 2 on every server"
        return HealthCheck(
            what,
            CheckStatus.WARNING,
            f"{found}: a primary that is cut off goes on admitting frames, and a failover loses "
            f"them; {mend}",
        )
    mend = "a failover may still lose the last writes: pipeline-reconcile says so"
    return HealthCheck(what, CheckStatus.OK, f"{found}, writes need one of them; {mend}")


def _python() -> tuple[CheckStatus, str]:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if platform.system() != "Linux":
        return CheckStatus.WARNING, f"{found}: tested on Linux only"
    return CheckStatus.OK, found


def _cores() -> tuple[CheckStatus, str]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if cores == 1:
        return CheckStatus.WARNING, "1: camera, Redis and engine share it; two or more run better"
    return CheckStatus.OK, f"{cores}"


def _memory() -> tuple[CheckStatus, str]:
    total_mb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _MB
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text("ascii").strip()).isdecimal():
        total_mb = min(total_mb, int(text) // _MB)
    if total_mb < MEMORY_MB:
        return CheckStatus.WARNING, f"{total_mb} MB: below {MEMORY_MB} MB only small models fit"
    return CheckStatus.OK, f"{total_mb} MB"


def _shared_memory() -> tuple[CheckStatus, str]:
    if not SHARED_MEMORY.is_dir():
        return (
            CheckStatus.WARNING,
            f"no {SHARED_MEMORY}: send frames as raw, JPEG or PNG, not as ring",
        )
    usage = shutil.disk_usage(SHARED_MEMORY)
    found = f"{usage.free // _MB} of {usage.total // _MB} MB free"
    if usage.free // _MB < SHARED_MEMORY_MB:
        mend = "give the container --shm-size=1g, or send frames as raw, JPEG or PNG"
        return CheckStatus.WARNING, f"{found}: too little for a ring of frames; {mend}"
    return CheckStatus.OK, found


def _disk(state_dir: Path) -> tuple[CheckStatus, str]:
    there = next(
        path for path in (state_dir.absolute(), *state_dir.absolute().parents) if path.exists()
    )
    free_mb = shutil.disk_usage(there).free // _MB
    found = f"{free_mb} MB free for {state_dir}"
    if free_mb < DISK_FAILURE_MB:
        return CheckStatus.FAILURE, f"{found}: make room or choose another --state-dir"
    if free_mb < DISK_WARNING_MB:
        return CheckStatus.WARNING, f"{found}: the AOF of a busy line may need more"
    return CheckStatus.OK, found


def check_gpu(find: Callable[[], list[Gpu]] = list_gpus) -> tuple[CheckStatus, str]:
    """Look for GPUs, and for what is needed to use them."""
    try:
        gpus = find()
    except NoDriver:
        return CheckStatus.OK, "no NVIDIA driver (optional): the CPU judges"
    except BackendError as error:
        return CheckStatus.WARNING, f"{error}: see nvidia-smi"
    found = f"{len(gpus)}: {gpus[0].name}" if gpus else "driver, but no GPU"
    wanted = {"TensorRT": ("tensorrt", "tensorrt_rtx"), "pycuda": ("pycuda",)}
    lacking = [name for name, modules in wanted.items() if not any(map(find_spec, modules))]
    if lacking:
        mend = f"{install_command('gpu')} tensorrt-rtx, or NVIDIA's own tensorrt"
        return CheckStatus.WARNING, f"{found}; without {' and '.join(lacking)} (optional): {mend}"
    return CheckStatus.OK, found
