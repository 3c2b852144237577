"""What a trainer calls after a promotion: workers look at their registry at once.

The registry's pointer is the truth, and workers look at it by themselves; the message only saves
them the wait.
"""

from typing import Unpack

from pipeline.control import LOOK
from pipeline.settings import RedisAccess, RedisArguments
from pipeline.streams.control import Controls
from pipeline.wire import encode_control


def announce(line: str, **redis: Unpack[RedisArguments]) -> int:
    """Ask every worker of a line to look at its registry; return how many are alive.

    Args:
        line: the line's name.
        redis: as `RedisArguments` says, but it waits for no Redis unless `redis_wait_s` is given.

    Raises:
        ConnectionLost: nothing answers there; workers find the promotion by themselves.
        RedisFull, RedisUnfit: it takes no message, or refuses this user.
        SettingsError: no such URL, or a name that is none.
    """
    access = RedisAccess.from_arguments({"redis_wait_s": 0.0, **redis})
    with access.connect() as connection:
        controls = Controls(connection.client, line)
        controls.send(encode_control(LOOK))
        return len(controls.workers())
