"""The camera's side of a line: offering frames, and what each is charged to the byte budget."""

import time
from dataclasses import dataclass
from enum import StrEnum

from pipeline.errors import SettingsError
from pipeline.streams.connect import Client, translated
from pipeline.streams.group import make_group
from pipeline.streams.keys import GROUP, Keys, LineLimits
from pipeline.streams.scripts import Script
from pipeline.streams.thread_connection import ThreadConnection

RUNS_KEPT = 10_000
ROOM_SHARE = 16  # a camera that waits goes on when so small a part of the budget is free
_ANY_NAME = "surrogateescape"  # a cursor may hold a file's name, and those may be no text
ENTRY_BYTES = 512  # the entry, its place in the register, its pending entry; most measured: 459


class Status(StrEnum):
    """What became of an offer."""

    ADMITTED = "admitted"
    SEEN = "seen"  # this seq or a later one was offered before
    FULL = "full"  # the byte budget is used up: offer again later
    SHED = "shed"  # the line was full of frames in workers' hands: answered SHED at once


@dataclass(frozen=True, slots=True)
class OfferResult:
    """The line's answer to an offer."""

    status: Status
    entry_id: str  # for SEEN the last seq admitted, for FULL the bytes in use
    shed: tuple[str, ...]  # entry ids of older frames that made room


class FrameProducer:
    """Offers the frames of one camera to one line."""

    def __init__(self, client: Client, line: str, camera: str, limits: LineLimits) -> None:
        self._client = client
        self._keys = Keys(line)
        self.camera = camera
        self._limits = limits
        self._written_keys = [
            self._keys.frames,
            self._keys.open,
            self._keys.bytes,
            self._keys.results,
            self._keys.counts,
            self._keys.cameras,
            self._keys.camera(camera),
            self._keys.runs(camera),
        ]
        self._connection = ThreadConnection(client)
        self._offer = Script(self._connection, "offer")

    def join(self) -> None:
        """Make the stream and its group, where no worker did."""
        make_group(self._client, self._keys.frames, GROUP, "0")

    def offer(
        self,
        seq: int,
        header: bytes,
        payload: bytes,
        charged: int,
        deadline_ns: int,
        cursor: str,
        *,
        shed: bool,
    ) -> OfferResult:
        """Offer one frame; safe to repeat with the same `seq` when the answer was lost.

        Args:
            seq: the trigger's number, above every one offered before.
            header: packed by `wire.encode_frame_header`.
            payload: encoded pixels; empty for a frame in a ring.
            charged: bytes against the budget: payload, or the frame's bytes in the ring.
            deadline_ns: UTC, nanoseconds.
            cursor: where the source goes on after this frame, kept with the admission.
            shed: answer the oldest waiting frames SHED to make room, instead of FULL.

        Raises:
            SettingsError: the frame is larger than the whole budget: it would wait for ever.
        """
        if charged > self._limits.budget_bytes:
            raise SettingsError(
                f"a frame of {charged} bytes, but all frames of the line may have "
                f"{self._limits.budget_bytes}: raise --budget-mb"
            )
        status, entry_id, *answered = self._offer(
            self._written_keys,
            [
                self.camera,
                seq,
                header,
                payload,
                charged,
                deadline_ns // 1_000_000,
                cursor.encode(errors=_ANY_NAME),
                self._limits.budget_bytes,
                "shed" if shed else "block",
                self._limits.results_kept,
                GROUP,
                RUNS_KEPT,
            ],
        )
        return OfferResult(
            Status(status.decode()), entry_id.decode(), tuple(name.decode() for name in answered)
        )

    def has_room(self, charged: int) -> bool:
        """Whether a frame of `charged` bytes would be admitted, and where frames are small more."""
        with translated():
            used = int(self._connection("GET", self._keys.bytes) or 0)
        budget = self._limits.budget_bytes
        return used + max(charged, budget // ROOM_SHARE) <= budget

    def acquire_lease(self, token: str, lasts_ms: int) -> bool:
        """Hold the camera's name for the next `lasts_ms`; False where another process has it."""
        key = self._keys.holder(self.camera)
        with translated():
            if self._client.set(key, token, nx=True, px=lasts_ms):
                return True
            if self._client.get(key) != token.encode():
                return False
            return bool(self._client.pexpire(key, lasts_ms))

    def release_lease(self, token: str) -> None:
        """Leave the camera's name to whoever comes next."""
        key = self._keys.holder(self.camera)
        with translated():
            if self._client.get(key) == token.encode():
                self._client.delete(key)

    def position(self) -> tuple[int, str]:
        """Where this camera stands: its last seq (-1 at first) and its source's cursor."""
        with translated():
            last, cursor = self._client.hmget(self._keys.camera(self.camera), "last", "cursor")
        return int(last) if last is not None else -1, cursor.decode(
            errors=_ANY_NAME
        ) if cursor else ""

    def reading(self) -> tuple[str, int]:
        """Which picture the process before was reading when it died, and how often it had before.

        The place in the source is empty if that process ended in order.
        """
        with translated():
            place, deaths = self._client.hmget(self._keys.camera(self.camera), "reading", "deaths")
        return place.decode(errors=_ANY_NAME) if place else "", int(deaths or 0)

    def note_reading(self, place: str, deaths: int) -> None:
        """Note the picture that is about to be read, and how many processes died at it."""
        noted = {"reading": place.encode(errors=_ANY_NAME), "deaths": deaths}
        with translated():
            self._client.hset(self._keys.camera(self.camera), mapping=noted)

    def forget_reading(self) -> None:
        """Say that no process died at a picture."""
        with translated():
            self._client.hdel(self._keys.camera(self.camera), "reading", "deaths")

    def forget_cursor(self) -> None:
        """Let the source begin anew next time: it ended by itself."""
        with translated():
            self._client.hdel(self._keys.camera(self.camera), "cursor")

    def unanswered(self, entry_ids: list[str]) -> set[str]:
        """Which of these frames are not yet answered."""
        if not entry_ids:
            return set()
        with translated():
            deadlines = self._client.zmscore(self._keys.open, entry_ids)
        return {
            entry_id
            for entry_id, deadline in zip(entry_ids, deadlines, strict=True)
            if deadline is not None
        }

    def record_event(self, event: str) -> None:
        """Keep the camera's last event, `lost` or `back`, for whoever watches the line."""
        with translated():
            self._client.hset(
                self._keys.camera(self.camera),
                mapping={"event": event, "event_ms": time.time_ns() // 1_000_000},
            )


def charge(header: bytes, held: int) -> int:
    """Give the bytes that a frame takes until it is answered.

    A frame without a picture costs Redis as much beside its pixels as any other: uncharged, a
    flood of them would fill the server. The server's allocator may round large entries up by as
    much as a quarter.

    Args:
        header: as packed.
        held: bytes of its pixels, in Redis or in a ring.
    """
    return ENTRY_BYTES + len(header) + held
