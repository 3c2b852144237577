"""What this machine calls itself, for reports."""

import os
import platform
import resource
from pathlib import Path

_CPU_TABLE = Path("/proc/cpuinfo")


def machine_name() -> str:
    """Processor, usable cores and system, in one line."""
    return f"{_processor()}, {usable_cores()} cores, {platform.system()} {platform.machine()}"


def usable_cores() -> int:
    """Count the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def peak_memory_mb() -> float:
    """Give the most memory that this process has held so far, megabytes of 10^6 bytes."""
    unit = 1 if platform.system() == "Darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _processor() -> str:
    if _CPU_TABLE.is_file():
        for line in _CPU_TABLE.read_text("utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or "unknown processor"
