"""Decode pictures whose cost no check can bound, in a child process under limits.

`decode_apart` starts the child (`decoder_program`) with the first such picture and keeps it for the
next. The child may use memory in proportion to the announced size, and `CPU_S` seconds of CPU per
picture. A picture that kills its decoder raises a `PictureError`; the next one gets a new child.
"""

import atexit
import os
import socket
import subprocess
import sys
import threading
from functools import cache
from multiprocessing.connection import Connection

import numpy as np
from numpy.typing import NDArray

from engines.errors import PictureError
from engines.pictures.headers import PictureHeader

CPU_S = 10
WAIT_S = 60.0  # for a machine under load; usually the CPU limit ends a decoder
_MOST_CHANNELS = 4
_DEPTHS = frozenset({"uint8", "int8", "uint16", "int16", "int32", "float32", "float64"})
_NO_THREADS = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def decode_apart(header: PictureHeader) -> NDArray[np.generic]:
    """Decode a picture in the child process of this process, as `decode_checked` does.

    Raises:
        PictureError: damaged, or decoding exceeds the limits.
    """
    return _decoder(os.getpid()).decode(header)


class LimitedDecoder:
    """A child process that decodes one picture at a time; started when needed, also after a crash.

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
            PictureError: damaged, or decoding exceeds the limits.
        """
        with self._turn:
            try:
                return self._ask(self._running(), header)
            except (EOFError, OSError, TimeoutError) as error:
                self._end()
                raise PictureError(
                    f"its decoder crashed, or exceeded {self._cpu_s} s of CPU or the memory "
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
                [sys.executable, "-m", "engines.pictures.decoder_program", str(theirs.fileno())],
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
    """Return the decoder of this process; a forked process gets its own."""
    decoder = LimitedDecoder()

    def close() -> None:
        if os.getpid() == process_id:
            decoder.close()

    atexit.register(close)
    return decoder
