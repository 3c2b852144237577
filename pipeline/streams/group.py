"""Consumer groups: made once, by whoever comes first."""

from typing import TypeAlias

import redis

from pipeline.streams.connect import Client
from pipeline.streams.keys import GROUP, Keys
from pipeline.streams.scripts import Script
from pipeline.streams.thread_connection import ThreadConnection

Raw: TypeAlias = "tuple[bytes, dict[bytes, bytes]]"  # id and fields, as they come


def make_group(client: Client, keys: Keys, consumer: str = "") -> None:
    """Make the workers' group and its stream of frames where missing, also on a full server.

    It begins with the first frame that is there.

    Args:
        client: of the line's server.
        keys: of the line.
        consumer: one to list in the group before it reads, where named.

    Raises:
        ConnectionLost: no answer; call again.
        RedisUnfit: this user may not.
    """
    Script(client.execute_command, "join_group")([keys.frames, keys.bytes], [GROUP, "0", consumer])


def is_stream_gone(error: redis.ResponseError) -> bool:
    """Return whether the group is missing, or its key holds something else; joining mends both."""
    return "NOGROUP" in str(error) or "WRONGTYPE" in str(error)


def read_group(
    connection: ThreadConnection,
    reader: tuple[str, str],
    stream: str,
    after: str,
    count: int | None,
    block_ms: int,
) -> list[Raw]:
    """Read entries of one stream in the name of `reader` (group, consumer).

    Args:
        connection: the connection that waits.
        reader: group and consumer.
        stream: key.
        after: `>` for entries never delivered, else an id: the reader's own ones after it.
        count: at most so many; None for all.
        block_ms: wait so long for the first; 0 returns at once.

    Returns: (id, fields) each; an own entry that is gone from the stream has no fields.
    """
    options: list[str | int] = [] if count is None else ["COUNT", count]
    if block_ms:
        options += ["BLOCK", block_ms]
    found = connection("XREADGROUP", "GROUP", *reader, *options, "STREAMS", stream, after)
    return [raw for _, raws in found or [] for raw in raws]
