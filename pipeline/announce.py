"""What a trainer calls after a promotion: workers look at their registry at once.

The registry's pointer is the truth, and workers look at it by themselves; the message only saves
them the wait.
"""

from pathlib import Path

from pipeline.control import LOOK
from pipeline.settings import RedisAccess
from pipeline.streams.control import Controls
from pipeline.wire import encode_control


def announce(
    line: str,
    *,
    redis_url: str | None = None,
    username: str | None = None,
    password: str | None = None,
    state_dir: Path | None = None,
) -> int:
    """Tell every worker of a line to look at its registry; returns how many are alive to hear it.

    Args:
        line: the line's name.
        redis_url: as `--redis-url`; None takes PRN_REDIS_URL, empty: the embedded server.
        username: ACL user.
        password: None takes the environment variable PRN_REDIS_PASSWORD.
        state_dir: of the embedded server; None takes PRN_STATE_DIR, else its default.

    Raises:
        ConnectionLost: nothing answers there; workers find the promotion by themselves.
        RedisFull, RedisUnfit: it takes no message, or refuses this user.
        SettingsError: no such URL, or a name that is none.
    """
    access = RedisAccess.from_arguments(redis_url, username, password, state_dir)
    with access.connect() as connection:
        controls = Controls(connection.client, line)
        controls.send(encode_control(LOOK))
        return len(controls.workers())
