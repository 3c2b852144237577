"""What Redis refuses with, as redis-py reads it: what passes is waited for, what lasts is told."""

import pytest
from redis._parsers.base import BaseParser

from pipeline.errors import ConnectionLost, PipelineError, RedisFull, RedisUnfit
from pipeline.streams.connect import translated

PASSING = [
    "CLUSTERDOWN The cluster is down",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "NOREPLICAS Not enough good replicas to write.",
    "LOADING Redis is loading the dataset in memory",
    "READONLY You can't write against a read only replica.",
]
FULL = [
    "OOM command not allowed when used memory > 'maxmemory'.",
    "MISCONF Errors writing to the AOF file: No space left on device",
]
LASTING = [
    "NOAUTH Authentication required.",
    "NOPERM this user has no permissions to run the 'xadd' command",
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    "ERR unknown command 'XADD'",
]


@pytest.mark.parametrize(
    ("said", "reaction"),
    [
        *((said, ConnectionLost) for said in PASSING),
        *((said, RedisFull) for said in FULL),
        *((said, RedisUnfit) for said in LASTING),
    ],
)
def test_each_refusal_has_its_reaction(said: str, reaction: type[PipelineError]) -> None:
    with pytest.raises(reaction), translated():
        raise BaseParser.parse_error(said)
