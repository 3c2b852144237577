"""Decode one picture at a time under limits: the child process of `decode_process`."""

import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

import engines.pictures.libraries  # noqa: F401  # before memory is limited
from engines.errors import PictureError
from engines.pictures.headers import PictureHeader, check_picture
from engines.pictures.read import decode_checked

_BYTES_A_PIXEL = 32  # decoded at up to 4 channels of 32 bits, and as much again
_SPARE_BYTES = 64 << 20
_MOST_LIKELY_KILLED = "1000"  # the kernel ends this process first when memory runs out


def _serve(pipe: Connection) -> None:
    """Decode pictures from the parent until it is gone."""
    idle_bytes = _mapped_bytes()
    while True:
        cpu_s = int.from_bytes(pipe.recv_bytes(), "little")
        content = pipe.recv_bytes()
        try:
            header = check_picture(content)
            with _limits(idle_bytes + len(content), header, cpu_s):
                values = decode_checked(header)
        except (PictureError, MemoryError) as error:
            pipe.send_bytes(str(error).encode() or b"needs more memory than a picture of its size")
            continue
        pipe.send_bytes(b"")
        channels = values.shape[2] if values.ndim > 2 else 0  # noqa: PLR2004
        pipe.send_bytes(f"{values.dtype} {channels}".encode("ascii"))
        pipe.send_bytes(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)


@contextmanager
def _limits(idle_bytes: int, header: PictureHeader, cpu_s: int) -> Iterator[None]:
    """Limit this process while it decodes; the kernel ends it if it uses more CPU."""
    most = idle_bytes + _SPARE_BYTES + _BYTES_A_PIXEL * header.height * header.width
    used = resource.getrusage(resource.RUSAGE_SELF)
    used_s = int(used.ru_utime + used.ru_stime)
    hard_memory, hard_cpu = (
        resource.getrlimit(kind)[1] for kind in (resource.RLIMIT_AS, resource.RLIMIT_CPU)
    )
    resource.setrlimit(resource.RLIMIT_AS, (_at_most(most, hard_memory), hard_memory))
    resource.setrlimit(resource.RLIMIT_CPU, (_at_most(used_s + cpu_s + 1, hard_cpu), hard_cpu))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard_memory, hard_memory))
        resource.setrlimit(resource.RLIMIT_CPU, (hard_cpu, hard_cpu))


def _at_most(asked: int, hard: int) -> int:
    return asked if hard == resource.RLIM_INFINITY else min(asked, hard)


def _mapped_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _main() -> None:
    with suppress(OSError):  # /proc is read-only: the kernel chooses
        Path("/proc/self/oom_score_adj").write_text(_MOST_LIKELY_KILLED, "ascii")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        _serve(Connection(int(sys.argv[1])))


if __name__ == "__main__":
    _main()
