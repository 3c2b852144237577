"""The consuming side of a line: verdicts, from where a program left off."""

from dataclasses import dataclass

import redis

from pipeline.streams.connect import Client, translated
from pipeline.streams.group import Raw, make_group, read_group
from pipeline.streams.keys import NEVER_DELIVERED, Keys, check_name
from pipeline.streams.thread_connection import ThreadConnection


@dataclass(frozen=True, slots=True)
class Result:
    """A verdict as it lies in the stream: nothing of it is trusted yet."""

    result_id: str
    answer: str
    entry_id: str
    header: bytes
    judgement: bytes | None


class ResultReader:
    """Reads the verdicts of one line."""

    def __init__(self, client: Client, line: str) -> None:
        self._client = client
        self._keys = Keys(line)
        self._connection = ThreadConnection(client)

    def join(self, program: str, *, from_start: bool) -> None:
        """Make the program's group where it has none: at the oldest verdict kept, or at now."""
        start = "0" if from_start else "$"
        make_group(self._client, self._keys.results, check_name(program), start)

    def missed(self, program: str) -> int:
        """How many verdicts were dropped before the program, away for too long, saw them."""
        with translated():
            stream = self._client.xinfo_stream(self._keys.results)
            groups = self._client.xinfo_groups(self._keys.results)
        read = [group["entries-read"] for group in groups if group["name"] == program.encode()]
        if not read or read[0] is None:  # it has not read yet: it began where it asked to
            return 0
        return max(0, int(stream["entries-added"]) - int(stream["length"]) - int(read[0]))

    def read(self, program: str, count: int, block_ms: int, *, again: bool) -> list[Result]:
        """Give verdicts that the program has not seen, or `again` those it did not acknowledge.

        Raises:
            ConnectionLost: call again.
        """
        wait_ms = 0 if again else max(block_ms, 1)
        with translated():
            try:
                found = self._read(program, "0" if again else NEVER_DELIVERED, count, wait_ms)
            except redis.ResponseError as error:
                if "NOGROUP" not in str(error):
                    raise
                self.join(program, from_start=True)  # someone emptied the server
                return []
        # an unacknowledged verdict that the stream no longer holds comes without fields
        return [read_result(raw) for raw in found if raw[1]]

    def unacknowledged(self, program: str, after: str, count: int) -> list[Result]:
        """Give the next verdicts that were handed out but not acknowledged.

        `after` is a result id, `0` begins with the oldest. One that the stream no longer holds
        comes without answer and head.
        """
        with translated():
            try:
                found = self._read(program, after, count, 0)
            except redis.ResponseError as error:
                if "NOGROUP" not in str(error):
                    raise
                return []
        return [read_result((raw[0], raw[1] or {})) for raw in found]

    def _read(self, program: str, after: str, count: int, block_ms: int) -> list[Raw]:
        reader = (program, "program")
        return read_group(self._connection, reader, self._keys.results, after, count, block_ms)

    def acknowledge(self, program: str, result_ids: list[str]) -> None:
        """Say that the program has dealt with these verdicts."""
        with translated():
            self._client.xack(self._keys.results, program, *result_ids)


def read_result(raw: tuple[bytes, dict[bytes, bytes]]) -> Result:
    """Name the fields of an entry of the result stream."""
    result_id, fields = raw
    return Result(
        result_id=result_id.decode(),
        answer=fields.get(b"k", b"").decode("ascii", "replace"),
        entry_id=fields.get(b"e", b"").decode("ascii", "replace"),
        header=fields.get(b"m", b""),
        judgement=fields.get(b"j"),
    )
