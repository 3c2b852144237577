"""What a trainer calls after a promotion: workers look at their registry at once.

The registry's pointer is the truth, and workers look at it by themselves; the message only saves
them the wait.
"""

import os
from pathlib import Path

from pipeline.control import LOOK
from pipeline.settings import PASSWORD_VARIABLE, default_state
from pipeline.streams.connect import Access
from pipeline.streams.control import Controls
from pipeline.streams.link import linked
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
    url = os.environ.get("PRN_REDIS_URL", "") if redis_url is None else redis_url
    given = os.environ.get(PASSWORD_VARIABLE) if password is None else password
    state = state_dir or Path(os.environ.get("PRN_STATE_DIR") or default_state())
    with linked(Access(url, username, given), state) as link:
        controls = Controls(link.client, line)
        controls.send(encode_control(LOOK))
        return len(controls.workers())
