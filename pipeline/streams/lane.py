"""Connections of their own for the calls that every frame pays.

redis-py takes a connection from its pool for each call, looks whether it is alive, times it for its
metrics and gives it back: 0.25 ms where other work has emptied the processor's caches in between,
as an engine does (docs/experiments.md). A lane keeps a connection for each thread. A cluster's
client must choose a node for each call: there a lane calls the ordinary way.
"""

import threading
from typing import Any

from redis.cluster import RedisCluster

from pipeline.streams.connect import Client


class Lane:
    """Calls Redis on a connection of the calling thread; all close with their client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._many_nodes = isinstance(client, RedisCluster)
        self._kept = threading.local()

    def __call__(self, *command: Any) -> Any:  # noqa: ANN401  # whatever Redis answers
        """Send a command, return its answer as the client would; errors are redis-py's.

        After a lost connection the next call connects anew.
        """
        if self._many_nodes:
            return self._client.execute_command(*command)
        connection = self._connection()
        connection.send_command(*command)
        return self._client.parse_response(connection, command[0])

    def _connection(self) -> Any:  # noqa: ANN401  # redis-py has several kinds
        connection = getattr(self._kept, "connection", None)
        if connection is None:
            connection = self._kept.connection = self._client.connection_pool.get_connection()
        return connection
