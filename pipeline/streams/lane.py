"""A connection of its own for the calls that every frame pays.

redis-py takes a connection from its pool for each call, looks whether it is alive, times it for its
metrics and gives it back: 0.25 ms where other work has emptied the processor's caches in between,
as an engine does (docs/experiments.md). A lane keeps its connection. A cluster's client must
choose a node for each call: there a lane calls the ordinary way.
"""

import threading
from typing import Any

from redis.cluster import RedisCluster

from pipeline.streams.connect import Client


class Lane:
    """Calls Redis on one connection, one call at a time; it closes with its client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._many_nodes = isinstance(client, RedisCluster)
        self._connection: Any = None
        self._using = threading.Lock()

    def __call__(self, *command: Any) -> Any:  # noqa: ANN401  # whatever Redis answers
        """Send a command, return its answer as the client would; errors are redis-py's.

        After a lost connection the next call connects anew.
        """
        if self._many_nodes:
            return self._client.execute_command(*command)
        with self._using:
            if self._connection is None:
                self._connection = self._client.connection_pool.get_connection()
            self._connection.send_command(*command)
            return self._client.parse_response(self._connection, command[0])
