"""`pipeline-redis`: the embedded Redis of this machine, held in the foreground."""

import sys
import time
from pathlib import Path

from pydantic import Field

from engines.commandline.flags import Folder
from engines.commandline.run import CommandSettings
from pipeline.errors import RedisUnfit
from pipeline.settings import default_state
from pipeline.signals import stopped_by_signals
from pipeline.streams.append_only import repair
from pipeline.streams.embedded import embedded_url, find_server, is_running, stop

_LOOK_S = 0.2
NOT_RUNNING_STATUS = 1


class RedisSettings(CommandSettings):
    """Run the embedded Redis until Ctrl-C or SIGTERM, so that programs may come and go."""

    state_dir: Folder = Field(
        default_factory=default_state, description="where the server keeps its data"
    )
    max_memory_mb: int = Field(
        default=1024, ge=16, description="the most memory it takes, MB; applies when it starts"
    )
    stop: bool = Field(
        default=False,
        description="stop the server of the state folder, its data kept, and end; "
        "a program that still uses it starts it again",
    )
    repair: bool = Field(
        default=False,
        description="mend the append-only file of the state folder after a power cut, and end: a "
        "copy is kept, and everything from the damage on is dropped",
    )


def run(settings: RedisSettings) -> int:
    """Hold the server, stop it, or mend what it left."""
    if settings.stop:
        return _stop(settings.state_dir)
    if settings.repair:
        return _repair(settings.state_dir)
    waiting = [True]
    with (
        stopped_by_signals(waiting.clear),
        embedded_url(settings.state_dir, settings.max_memory_mb) as url,
    ):
        sys.stdout.write(f"{url}\n")
        sys.stdout.flush()
        while waiting:
            time.sleep(_LOOK_S)
            if waiting and not is_running(settings.state_dir):
                sys.stderr.write(f"pipeline-redis: the server of {settings.state_dir} is gone\n")
                return NOT_RUNNING_STATUS
    return 0


def _repair(state: Path) -> int:
    if is_running(state):
        raise RedisUnfit(f"a server runs in {state}, so its file is whole: nothing was changed")
    sys.stdout.write(f"{repair(state, find_server())}\n")
    return 0


def _stop(state: Path) -> int:
    if not is_running(state):
        sys.stderr.write(f"pipeline-redis: no server runs in {state}\n")
        return NOT_RUNNING_STATUS
    stop(state)
    sys.stdout.write(f"stopped the server of {state}\n")
    return 0
