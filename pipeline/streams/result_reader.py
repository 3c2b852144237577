"""The consuming side of a line: verdicts, from where a program left off."""

import math
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import redis

from pipeline.errors import SettingsError
from pipeline.streams.connect import Client, translated
from pipeline.streams.group import Raw, is_stream_gone, read_group
from pipeline.streams.keys import NEVER_DELIVERED, Keys, check_name
from pipeline.streams.scripts import Script
from pipeline.streams.thread_connection import ThreadConnection

_KNOWN_FIELDS = frozenset({b"k", b"e", b"m", b"j", b"r", b"n", b"t", b"u", b"w"})
_MOST_DIGITS = 19
LEASE_MS = 3000  # so long after a kill is a program's name free
NAME_WAIT_S = 6.0
_RENEW_EVERY_S = 0.5
_TAKE_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Result:
    """A verdict as it lies in the stream: nothing of it is trusted yet."""

    result_id: str
    answer: str
    entry_id: str
    header: bytes
    judgement: bytes | None
    reason: str = ""  # where `answer` has no word for it
    number: int | None = None  # rising by one on a line; None: published by an earlier release
    published_ms: int | None = None  # Redis's clock; None: published by an earlier release
    due_ms: int | None = None  # its deadline, Redis's clock; None: published by an earlier release
    views: bytes | None = None  # of a station's verdict
    extra: Mapping[str, bytes] = field(default_factory=dict)  # fields of a later release
    gone: bool = False  # no longer kept: only its id is known


@dataclass(frozen=True, slots=True)
class ReadPosition:
    """The last verdict that was delivered to a program."""

    result_id: str
    number: int | None  # None: nobody knows


class MissedVerdicts:
    """Counts the verdicts of a line that one program never got.

    Verdicts are numbered without gaps when they are published, so a jump between two that follow
    each other is what was dropped between them. Servers count what a group has read in different
    ways, and some not at all after a trim; the numbers are the same everywhere.
    """

    def __init__(self, position: ReadPosition) -> None:
        self.position = position
        self.count = 0
        self.rolled_back = False  # whether the numbers went back, until somebody looked
        self._unnumbered = 0  # delivered since the position

    def note(self, result: Result) -> int:
        """Take the next verdict delivered; return how many were dropped before it."""
        delivered_before = id_order(result.result_id) <= id_order(self.position.result_id)
        if result.gone:
            missed = int(delivered_before)  # else the next number tells
        elif delivered_before:
            missed = 0
        elif result.number is None:
            self._unnumbered += 1
            self.position = ReadPosition(result.result_id, self.position.number)
            return 0
        else:
            missed = self._advance(result.result_id, result.number)
        self.count += missed
        return missed

    def _advance(self, result_id: str, number: int) -> int:
        before, unnumbered = self.position.number, self._unnumbered
        self.position, self._unnumbered = ReadPosition(result_id, number), 0
        if before is None:
            return 0
        if number <= before:
            self.rolled_back = True
            return 0
        return max(0, number - before - 1 - unnumbered)


class ProgramName:
    """A program's name on a line, held by one process at a time."""

    def __init__(self, client: Client, line: str, program: str) -> None:
        """Hold nothing yet."""
        self._key = Keys(line).reader(program)
        self._line = line
        self._program = program
        self._token = secrets.token_hex(8)
        self._held_s = -math.inf
        self._acquire_lease = Script(client.execute_command, "acquire_lease")
        self._release_lease = Script(client.execute_command, "release_lease")

    def take(self, wait: Callable[[float], object] = time.sleep) -> None:
        """Hold the name; wait for a process that was killed with it.

        Raises:
            SettingsError: another process holds it.
        """
        until_s = time.monotonic() + NAME_WAIT_S
        while not self._acquired():
            if time.monotonic() > until_s:
                raise self._taken()
            wait(_TAKE_POLL_S)

    def keep(self) -> None:
        """Hold the name for longer; call it more often than every `LEASE_MS`.

        Raises:
            SettingsError: another process has taken it, as this one was silent for too long.
        """
        if time.monotonic() - self._held_s > _RENEW_EVERY_S and not self._acquired():
            raise self._taken()

    def release(self) -> None:
        """Leave the name to whoever comes next."""
        self._release_lease([self._key], [self._token])

    def _acquired(self) -> bool:
        now_s = time.monotonic()
        held = bool(self._acquire_lease([self._key], [self._token, LEASE_MS]))
        self._held_s = now_s if held else self._held_s
        return held

    def _taken(self) -> SettingsError:
        return SettingsError(
            f"another process reads the verdicts of {self._line} as {self._program!r}: each would "
            "get a part of them. Give this one a program name of its own (--program)"
        )


class ResultReader:
    """Reads the verdicts of one line."""

    def __init__(self, client: Client, line: str) -> None:
        self._client = client
        self._keys = Keys(line)
        self._connection = ThreadConnection(client)
        self._join = Script(client.execute_command, "join")
        self._acknowledge = Script(client.execute_command, "acknowledge")

    def join(self, program: str, *, from_start: bool) -> ReadPosition:
        """Return up to where the program has read.

        Its group is made where it has none: at the oldest verdict kept, or at now.
        """
        keys = [self._keys.results, self._keys.programs, self._keys.counts]
        start = "0" if from_start else "$"
        result_id, number = self._join(keys, [check_name(program), start])
        return ReadPosition(result_id.decode(), whole(number))

    def read(self, program: str, count: int, block_ms: int, *, again: bool) -> list[Result]:
        """Return verdicts that the program has not seen, or `again` those it did not acknowledge.

        Raises:
            ConnectionLost: call again.
        """
        wait_ms = 0 if again else max(block_ms, 1)
        with translated():
            try:
                found = self._read(program, "0" if again else NEVER_DELIVERED, count, wait_ms)
            except redis.ResponseError as error:
                if not is_stream_gone(error):
                    raise
                self.join(program, from_start=True)  # someone emptied the server, or overwrote it
                return []
        # an unacknowledged verdict that the stream no longer holds comes without fields
        return [read_result(raw) for raw in found if raw[1]]

    def unacknowledged(self, program: str, after: str, count: int) -> list[Result]:
        """Return the next verdicts that were handed out but not acknowledged.

        `after` is a result id, `0` begins with the oldest. One that the stream no longer holds is
        `gone`.
        """
        with translated():
            try:
                found = self._read(program, after, count, 0)
            except redis.ResponseError as error:
                if not is_stream_gone(error):
                    raise
                return []
        return [read_result(raw) for raw in found]

    def _read(self, program: str, after: str, count: int, block_ms: int) -> list[Raw]:
        reader = (program, "program")
        return read_group(self._connection, reader, self._keys.results, after, count, block_ms)

    def kept(self, before: str, count: int) -> list[Result]:
        """Return up to `count` verdicts before a result id, newest first; `+` from the newest.

        It belongs to no program, and may be called from any thread.

        Raises:
            ConnectionLost: call again.
        """
        end = before if before == "+" else f"({before}"
        with translated():
            raws = self._client.xrevrange(self._keys.results, end, "-", count=count)
        return [read_result(raw) for raw in raws]

    def acknowledge(
        self, program: str, result_ids: list[str], position: ReadPosition | None = None
    ) -> None:
        """Acknowledge these verdicts of a program, and store up to where it has read."""
        known = position is not None and position.number is not None
        kept = f"{position.result_id} {position.number}" if position and known else ""
        self._acknowledge([self._keys.results, self._keys.programs], [program, kept, *result_ids])


def read_result(raw: tuple[bytes, dict[bytes, bytes] | None]) -> Result:
    """Name the fields of an entry of the result stream."""
    result_id, fields = raw
    if not fields:
        return Result(result_id.decode(), "", "", b"", None, gone=True)
    return Result(
        result_id=result_id.decode(),
        answer=fields.get(b"k", b"").decode("ascii", "replace"),
        entry_id=fields.get(b"e", b"").decode("ascii", "replace"),
        header=fields.get(b"m", b""),
        judgement=fields.get(b"j"),
        reason=fields.get(b"r", b"").decode("ascii", "replace"),
        number=whole(fields.get(b"n")),
        published_ms=whole(fields.get(b"t")),
        due_ms=whole(fields.get(b"u")),
        views=fields.get(b"w"),
        extra={
            name.decode("ascii", "replace"): value
            for name, value in fields.items()
            if name not in _KNOWN_FIELDS
        },
    )


def id_order(entry_id: str) -> tuple[int, int]:
    """Return what stream ids are ordered by; what is no id comes before all."""
    milliseconds, _, number = entry_id.partition("-")
    return whole(milliseconds.encode()) or 0, whole(number.encode()) or 0


def whole(raw: bytes | None) -> int | None:
    """Read a whole number that is not negative; None for anything else."""
    return int(raw) if raw and raw.isdigit() and len(raw) <= _MOST_DIGITS else None
