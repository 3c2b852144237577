"""Whether a server is still fit for a line: someone may set it otherwise while parts pass.

At a start an unfit server is refused. A line that runs is not stopped for it: parts would pass
without a verdict at once, instead of perhaps when the server is full. It is said, and loudly.
"""

import logging
import threading
from collections.abc import Callable

from pipeline.errors import RedisUnfit
from pipeline.streams.connect import Client, check_server

EVERY_S = 30.0
_log = logging.getLogger(__name__)


class Fitness:
    """Asks a server now and then; any thread may."""

    def __init__(self, client: Client, clock: Callable[[], float]) -> None:
        """Watch a server that was found fit a moment ago.

        Args:
            client: of the server.
            clock: monotonic seconds.
        """
        self._client = client
        self._clock = clock
        self._asked_s = clock()
        self._answered_s = self._asked_s
        self._why = ""
        self._asking = threading.Lock()

    def look(self) -> str:
        """Ask if `EVERY_S` have passed; say why the server is unfit, "" while it is fit.

        So it may be called as often as one likes: two short commands in half a minute.

        Raises:
            ConnectionLost, RedisFull: no answer.
        """
        return self.ask() if self._clock() - self._asked_s >= EVERY_S else self._why

    def ask(self) -> str:
        """Ask now, as after a lost connection: another server may answer than before.

        Raises:
            ConnectionLost, RedisFull: no answer.
        """
        failed_s = self._clock()
        with self._asking:
            if self._answered_s > failed_s:
                return self._why  # another thread asked while this one waited
            self._asked_s = self._clock()
            try:
                server = check_server(self._client)
            except RedisUnfit as error:
                self._why = str(error)
                _log.error("redis.unfit", extra={"why": self._why})
            else:
                if self._why:
                    _log.warning("redis.fit", extra={"server": server})
                self._why = ""
            self._answered_s = self._clock()
            return self._why
