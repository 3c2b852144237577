"""Consumer groups: made once, by whoever comes first."""

import redis

from pipeline.streams.connect import Client, translated


def make_group(client: Client, stream: str, group: str, start: str) -> None:
    """Make `group` on `stream`, both where missing.

    Args:
        client: of the line's server.
        stream: key.
        group: name.
        start: `0` for every entry that is there, `$` for new ones only.
    """
    with translated():
        try:
            client.xgroup_create(stream, group, id=start, mkstream=True)
        except redis.ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise
