"""Compiling an engine in another process, for one that must not feel it.

A worker that judges parts takes what comes out of it in a quarter to a half of the CPU time that
compiling takes (docs/experiments.md). The other process runs where a core would be idle, and ends
with the one that asked; what it made comes through an unlinked file: nothing foreign is ever read,
and nothing is left behind.
"""

import logging
import os
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from engines.machine import usable_cores
from engines.manifest import read_manifest
from engines.open import Backend, compiles_here

TIMEOUT_S = 600.0  # then whoever asked compiles it itself
_LOWEST = 19
_log = logging.getLogger(__name__)


def prepare(path: Path, backend: Backend, device: str, threads: int) -> bytes | None:
    """Compile an engine file elsewhere, for `open_engine`; None where that is of no use or fails.

    Args:
        path: the engine file, its manifest beside it.
        backend: as for `open_engine`.
        device: likewise.
        threads: likewise.
    """
    if not compiles_here(path, backend, device):
        return None
    words = [sys.executable, "-m", "engines.precompile", str(path), str(threads)]
    try:
        with tempfile.TemporaryFile() as file:
            with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=file) as process:
                _yield_to_all(process.pid)
                _finish(process)
            file.seek(0)
            return file.read()
    except (OSError, subprocess.SubprocessError) as error:
        _log.warning("engine.not_prepared", extra={"engine": str(path), "why": str(error)})
        return None


def _yield_to_all(process: int) -> None:
    """Let a process run only where a core would be idle."""
    with suppress(ProcessLookupError):
        if hasattr(os, "SCHED_IDLE"):
            os.sched_setscheduler(process, os.SCHED_IDLE, os.sched_param(0))
        else:
            os.setpriority(os.PRIO_PROCESS, process, _LOWEST)


def _finish(process: subprocess.Popen[bytes]) -> None:
    try:
        status = process.wait(TIMEOUT_S)
    finally:
        process.kill()  # of no use where it has ended
    if status != 0:
        raise subprocess.CalledProcessError(status, process.args)


def end_with_parent() -> None:
    """End this process as soon as nobody holds the other end of its standard input."""

    def wait() -> None:
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _main(path: Path, threads: int) -> None:
    """Compile `path` and write what came out to the standard output, which is nobody else's."""
    end_with_parent()
    out = os.dup(1)
    os.dup2(2, 1)  # libraries may print
    from engines.backends.openvino import compiled_bytes  # noqa: PLC0415  # only in this process

    content = compiled_bytes(path, read_manifest(path), threads or usable_cores())
    with os.fdopen(out, "wb") as file:
        file.write(content)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]))
