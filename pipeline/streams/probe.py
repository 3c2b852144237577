"""What can be learned of a server that a line would run on."""

import statistics
import time
from dataclasses import dataclass

from pipeline.streams.clock import server_ahead_ms
from pipeline.streams.connect import Client, ask_nodes, translated

_PINGS = 50


@dataclass(frozen=True, slots=True)
class ServerReport:
    """How a server is set up, and how far away it is."""

    append_only: bool  # whether an answer outlives a crash of the server
    max_memory_mb: float  # 0: no limit
    used_memory_mb: float
    ahead_ms: float  # its clock against ours, give or take half a round trip
    round_trip_ms: float  # median


def probe(client: Client) -> ServerReport:
    """Ask a server about itself; takes some fifty round trips.

    Raises:
        ConnectionLost, RedisUnfit: it does not answer, or refuses to.
    """
    with translated():
        persistence, memory = ask_nodes(client, "persistence")[0], ask_nodes(client, "memory")[0]
        trips_s = [_round_trip_s(client) for _ in range(_PINGS)]
    return ServerReport(
        append_only=bool(persistence.get("aof_enabled", 0)),
        max_memory_mb=int(memory.get("maxmemory", 0)) / (1 << 20),
        used_memory_mb=int(memory.get("used_memory", 0)) / (1 << 20),
        ahead_ms=server_ahead_ms(client),
        round_trip_ms=statistics.median(trips_s) * 1e3,
    )


def _round_trip_s(client: Client) -> float:
    began = time.perf_counter()
    client.ping()
    return time.perf_counter() - began
