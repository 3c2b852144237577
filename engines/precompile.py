"""Compile an engine in another process, for a process that must not be slowed down.

Loading the compiled engine costs a worker a quarter to a half of the CPU time of compiling
(docs/experiments.md). The other process runs on idle cores, and ends with its parent. Its result
comes through an unlinked file: nothing foreign is ever read, and nothing is left behind.
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

TIMEOUT_S = 600.0  # then the caller compiles it itself
_LOWEST = 19
_log = logging.getLogger(__name__)


def prepare(path: Path, backend: Backend, device: str, threads: int) -> bytes | None:
    """Compile an engine file for `open_engine`; return None if that is useless or fails.

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
    """Restrict a process to idle cores."""
    with suppress(ProcessLookupError):
        if hasattr(os, "SCHED_IDLE"):
            os.sched_setscheduler(process, os.SCHED_IDLE, os.sched_param(0))
        else:
            os.setpriority(os.PRIO_PROCESS, process, _LOWEST)


def _finish(process: subprocess.Popen[bytes]) -> None:
    try:
        status = process.wait(TIMEOUT_S)
    finally:
        process.kill()  # it has ended
    if status != 0:
        raise subprocess.CalledProcessError(status, process.args)


def end_with_parent() -> None:
    """End this process as soon as the other end of its standard input is closed."""

    def wait() -> None:
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _main(path: Path, threads: int) -> None:
    """Compile `path` and write the result to standard output, with nothing else in it."""
    end_with_parent()
    out = os.dup(1)
    os.dup2(2, 1)  # because libraries may print
    from engines.backends.openvino import compiled_bytes  # noqa: PLC0415  # only in this process

    content = compiled_bytes(path, read_manifest(path), threads or usable_cores())
    with os.fdopen(out, "wb") as file:
        file.write(content)


if __name__ == "__main__":
    _main(Path(sys.argv[1]), int(sys.argv[2]))
