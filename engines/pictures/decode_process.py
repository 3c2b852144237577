"""Decodes pictures whose cost no check can bound, in a child process under limits.

`decode_apart` starts the child with the first such picture and keeps it for the next. The child may
take memory in proportion to the announced size, and `CPU_S` seconds of CPU for a picture. A picture
that kills its decoder is a `PictureError`; the next one gets a new child.
"""

import atexit
import os
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.errors import PictureError
from engines.pictures.headers import PictureHeader, check_picture

CPU_S = 10
WAIT_S = 60.0  # for a machine under load; the CPU limit is what usually ends a decoder
_BYTES_A_PIXEL = 32  # decoded at up to 4 channels of 32 bits, and as much again
_SPARE_BYTES = 64 << 20
_MOST_CHANNELS = 4
_DEPTHS = frozenset({"uint8", "int8", "uint16", "int16", "int32", "float32", "float64"})
_NO_THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
_MOST_LIKELY_KILLED = "1000"  # what the kernel ends first where memory runs out


def decode_apart(header: PictureHeader) -> NDArray[np.generic]:
    """Decode a picture in the child process of this process, as `decode_checked` does.

    Raises:
        PictureError: damaged, or it takes its decoder more than the limits.
    """
    return _decoder(os.getpid()).decode(header)


class LimitedDecoder:
    """A child process that decodes one picture at a time; started when needed, also after a death.

    Safe to use from several threads.
    """

    def __init__(self, cpu_s: int = CPU_S, wait_s: float = WAIT_S) -> None:
        self._cpu_s = cpu_s
        self._wait_s = wait_s
        self._turn = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None

    def decode(self, header: PictureHeader) -> NDArray[np.generic]:
        """Decode a picture that passed the checks.

        Raises:
            PictureError: damaged, or it takes its decoder more than the limits.
        """
        with self._turn:
            try:
                return self._ask(self._running(), header)
            except (EOFError, OSError, TimeoutError) as error:
                self._end()
                raise PictureError(
                    f"its decoder crashed, or took more than {self._cpu_s} s of CPU or the memory "
                    f"of a picture of {header.height}x{header.width}: save it as PNG"
                ) from error

    def close(self) -> None:
        """End the child; the next picture starts another."""
        with self._turn:
            self._end()

    def _ask(self, pipe: Connection, header: PictureHeader) -> NDArray[np.generic]:
        pipe.send_bytes(self._cpu_s.to_bytes(4, "little"))
        pipe.send_bytes(header.content)
        if not pipe.poll(self._wait_s):
            raise TimeoutError
        why = pipe.recv_bytes().decode("utf-8", "replace")
        if why:
            raise PictureError(why)
        depth, channels = pipe.recv_bytes().decode("ascii").split()
        if depth not in _DEPTHS or not 0 <= int(channels) <= _MOST_CHANNELS:
            raise PictureError(f"picture of {channels} channels of {depth}: save it as RGB")
        shape = (header.height, header.width, int(channels))[: 3 if int(channels) else 2]
        values = np.empty(shape, depth)
        if pipe.recv_bytes_into(values.reshape(-1).view(np.uint8).data) != values.nbytes:
            raise EOFError
        return values

    def _running(self) -> Connection:
        if self._pipe is not None:
            return self._pipe
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "engines.pictures.decode_process", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **_NO_THREADS},
            )
        self._pipe = Connection(ours.detach())
        return self._pipe

    def _end(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._pipe = self._process = None


@cache
def _decoder(process_id: int) -> LimitedDecoder:
    """Return this process's decoder; a forked process gets its own."""
    decoder = LimitedDecoder()

    def close() -> None:
        if os.getpid() == process_id:
            decoder.close()

    atexit.register(close)
    return decoder


def _serve(pipe: Connection) -> None:
    """Decode what the parent sends until it is gone."""
    from engines.pictures.read import decode_checked  # noqa: PLC0415  # that module imports this one

    idle_bytes = _mapped_bytes()
    while True:
        cpu_s = int.from_bytes(pipe.recv_bytes(), "little")
        content = pipe.recv_bytes()
        try:
            header = check_picture(content)
            with _limits(idle_bytes + len(content), header, cpu_s):
                values = decode_checked(header)
        except (PictureError, MemoryError) as error:
            pipe.send_bytes(str(error).encode() or b"takes more memory than a picture of its size")
            continue
        pipe.send_bytes(b"")
        channels = values.shape[2] if values.ndim > 2 else 0  # noqa: PLR2004
        pipe.send_bytes(f"{values.dtype} {channels}".encode("ascii"))
        pipe.send_bytes(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)


@contextmanager
def _limits(idle_bytes: int, header: PictureHeader, cpu_s: int) -> Iterator[None]:
    """Limit this process while it decodes; the kernel ends it where it takes more CPU."""
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
    with suppress(OSError):  # where /proc is read-only the kernel chooses
        Path("/proc/self/oom_score_adj").write_text(_MOST_LIKELY_KILLED, "ascii")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        _serve(Connection(int(sys.argv[1])))


if __name__ == "__main__":
    _main()
