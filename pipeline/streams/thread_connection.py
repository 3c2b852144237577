"""Connections of their own for the calls that every frame pays.

redis-py takes a connection from its pool for each call, looks whether it is alive, times it for its
metrics and gives it back: 0.25 ms where other work has emptied the processor's caches in between,
as an engine does (docs/experiments.md). A lane keeps a connection for each thread. A cluster's
client must choose a node for each call: there a lane calls the ordinary way.

A connection goes back to its pool whenever a call may not have read its whole answer: the next call
would take that answer for its own. And only the pool asks Sentinel where the primary is now.
"""

import threading
import time
from typing import Any

import redis
from redis.cluster import RedisCluster

from pipeline.streams.connect import Client

LOOK_AFTER_S = 1.0  # a connection that was idle for longer may be dead: look before using it


class ThreadConnection:
    """Calls Redis on a connection of the calling thread; all close with their client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._many_nodes = isinstance(client, RedisCluster)
        self._local = threading.local()

    def __call__(self, *command: Any) -> Any:  # noqa: ANN401  # whatever Redis answers
        """Send a command, return its answer as the client would; errors are redis-py's.

        After a lost connection the next call takes a new one.
        """
        if self._many_nodes:
            return self._client.execute_command(*command)
        connection = self._connection()
        try:
            connection.send_command(*command)
            answer = self._client.parse_response(connection, command[0])
        except redis.ReadOnlyError:
            self._drop(connection)  # it leads to what is no longer the primary
            raise
        except redis.ResponseError:
            raise  # the answer was read whole
        except BaseException:
            self._drop(connection)
            raise
        self._local.used_s = time.monotonic()
        return answer

    def _connection(self) -> Any:  # noqa: ANN401  # redis-py has several kinds
        connection = getattr(self._local, "connection", None)
        if connection is not None and time.monotonic() - self._local.used_s > LOOK_AFTER_S:
            connection = self._checked(connection)
        if connection is None:
            connection = self._client.connection_pool.get_connection()
            self._local.connection, self._local.used_s = connection, time.monotonic()
        return connection

    def _checked(self, connection: Any) -> Any:  # noqa: ANN401
        """Return the connection, or drop one that is closed or holds an old answer."""
        try:
            if not connection.can_read():
                return connection
        except (redis.ConnectionError, redis.TimeoutError, OSError):
            pass
        self._drop(connection)
        return None

    def _drop(self, connection: Any) -> None:  # noqa: ANN401
        self._local.connection = None
        connection.disconnect()
        self._client.connection_pool.release(connection)
