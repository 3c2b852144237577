"""Paths that are something else than a file that can be read to its end."""

import os
from pathlib import Path

ODD = ["fifo", "folder", "loop", "/dev/zero", "/dev/full", "/dev/null", "/nowhere"]


def make_odd(kind: str, path: Path) -> Path:
    """Make one of `ODD` at `path`."""
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    else:
        path.symlink_to(kind)
    return path
