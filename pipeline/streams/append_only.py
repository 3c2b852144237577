"""The append-only file of the embedded server after a power cut: what is safe to mend, and how.

Redis itself drops a last command that was not written whole. A file system may leave zeros behind
it, which Redis refuses: no command ends with a zero, so they are cut off and nothing is lost by it.
Damage further up costs every command after it: that is decided by a person.
"""

import logging
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from pipeline.errors import RedisUnfit

FOLDER, MANIFEST = "appendonlydir", "appendonly.aof.manifest"
_BASE = re.compile(r"appendonly\.aof\.(\d+)\.base\.(?:rdb|aof)")
_INCREMENT = re.compile(r"appendonly\.aof\.(\d+)\.incr\.aof")
_CHUNK = 1 << 16
_REPAIR_WAIT_S = 600.0
_log = logging.getLogger(__name__)


def cut_zeros(state: Path) -> int:
    """Cut zeros off the end of the newest increment and return how many; no server may run."""
    files = _numbered(state / FOLDER, _INCREMENT)
    if not files:
        return 0
    path = files[-1]
    whole = path.stat().st_size
    size = _size_without_zeros(path, whole)
    if size < whole:
        os.truncate(path, size)
        fields = {"file": str(path), "zeros": whole - size}
        why = "a power cut left zeros behind the last command: they were cut off"
        _log.warning("redis.repaired", extra={**fields, "why": why})
    return whole - size


def _size_without_zeros(path: Path, size: int) -> int:
    with path.open("rb") as file:
        while size:
            start = max(0, size - _CHUNK)
            file.seek(start)
            kept = file.read(size - start).rstrip(b"\0")
            if kept:
                return start + len(kept)
            size = start
    return 0


def advice(state: Path, said: str) -> str:
    """Return what to do where a server did not start, as its log says; "" where it is no damage."""
    folder = state / FOLDER
    if not re.search(r"(?i)append only file|AOF", said) or not folder.is_dir():
        return ""
    return (
        f"the append-only file in {folder} is damaged, as by a power cut or a bad disk. "
        f"`pipeline-redis --repair --state-dir {state}` keeps a copy and drops everything from the "
        f"damage on; to begin anew with an empty line instead: mv {folder} {folder}.damaged"
    )


def repair(state: Path, server: Path) -> str:
    """Copy the append-only file, drop everything from the damage on, and return what was done.

    Args:
        state: the folder of a server that does not run.
        server: the program of a Redis or Valkey server, which also is the one that repairs.

    Raises:
        RedisUnfit: there is nothing to repair, or it cannot be repaired.
    """
    folder = state / FOLDER
    increments = _numbered(folder, _INCREMENT)
    if not increments:
        raise RedisUnfit(f"no append-only file in {state}: name the right --state-dir")
    copy = folder.with_name(f"{FOLDER}.{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    shutil.copytree(folder, copy)
    cut_zeros(state)
    _write_manifest(folder)
    checked = subprocess.run(
        ["redis-check-aof", "--fix", str(increments[-1])],  # noqa: S607  # the server, so named
        executable=server,
        input="y\n",
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_REPAIR_WAIT_S,
        check=False,
    )
    done = "; ".join(line for line in checked.stdout.splitlines() if line.strip())
    if checked.returncode:
        raise RedisUnfit(
            f"cannot repair {folder}: {done} {checked.stderr.strip()}: begin anew with "
            f"rm -r {folder}; the copy is {copy}"
        )
    return f"{done}; what it was before: {copy}"


def _write_manifest(folder: Path) -> None:
    """Write the manifest anew from the files that are there, where it was lost."""
    manifest = folder / MANIFEST
    if manifest.is_file() and manifest.read_bytes().strip(b"\0 \n"):
        return
    lines = [
        f"file {path.name} seq {path.name.split('.')[2]} type {kind}\n"
        for kind, files in (
            ("b", _numbered(folder, _BASE)[-1:]),
            ("i", _numbered(folder, _INCREMENT)),
        )
        for path in files
    ]
    manifest.write_text("".join(lines), "ascii")


def _numbered(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    """Return the files of one kind, oldest first."""
    if not folder.is_dir():
        return []
    named = [(pattern.fullmatch(path.name), path) for path in folder.iterdir()]
    return [path for _, path in sorted((int(name[1]), path) for name, path in named if name)]
