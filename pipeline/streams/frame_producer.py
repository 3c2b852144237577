"""The camera's side of a line: offering frames, and what each is charged to the byte budget."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import redis

from pipeline.errors import RefusedFrame, SettingsError
from pipeline.streams.clock import ServerClock
from pipeline.streams.connect import Client, translated
from pipeline.streams.group import make_group
from pipeline.streams.keys import GROUP, WHY_DAMAGED, Keys, LineLimits
from pipeline.streams.result_reader import whole
from pipeline.streams.scripts import Script, with_sound_key
from pipeline.streams.thread_connection import ThreadConnection

RUNS_KEPT = 10_000
ROOM_SHARE = 16  # a camera that waits goes on when so small a part of the budget is free
_ANY_NAME = "surrogateescape"  # a cursor may hold a file's name, and those may be no text
MAX_SEQ = (1 << 62) - 1  # what the wire holds
_TAKEN, _DAMAGED = b"taken", b"damaged"
_NS_PER_MS = 1e6
_log = logging.getLogger(__name__)
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
    rolled_back: int = 0  # frames admitted before that the server knows no longer


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
            self._keys.rolled(camera),
            self._keys.holder(camera),
        ]
        self._last_seq: int | None = None  # that we know to have been admitted
        self.on_admission: Callable[[str, int], object] | None = None  # camera, seq
        self._token = ""
        self._clock = ServerClock()
        self._connection = ThreadConnection(client)
        self._offer = Script(self._connection, "offer")
        self._acquire_lease = Script(client.execute_command, "acquire_lease")
        self._release_lease = Script(client.execute_command, "release_lease")

    def join(self) -> None:
        """Make the stream and its group, where no worker did."""
        make_group(self._client, self._keys)
        mend = Script(self._client.execute_command, "mend_camera")
        for key in mend(self._written_keys[5:], []):
            _log.error(
                "books.damaged", extra={"key": f"{key.decode()}:damaged", "why": WHY_DAMAGED}
            )

    def offer(
        self,
        seq: int,
        header: bytes,
        payload: bytes,
        charged: int,
        left_ns: int,
        cursor: str,
        *,
        shed: bool,
    ) -> OfferResult:
        """Offer one frame; safe to repeat with the same `seq` when the answer was lost.

        Args:
            seq: the trigger's number, above every one offered before. Those passed over since the
                last one are triggers without a picture.
            header: packed by `wire.encode_frame_header`.
            payload: encoded pixels; empty for a frame in a ring.
            charged: bytes against the budget: payload, or the frame's bytes in the ring.
            left_ns: time from now to the deadline, nanoseconds. Redis's clock decides when that is.
            cursor: where the source goes on after this frame, kept with the admission.
            shed: answer the oldest waiting frames SHED to make room, instead of FULL.

        Raises:
            SettingsError: the frame is larger than the whole budget, and would wait for ever; or
                no seq can be that large; or the books of this camera are damaged.
            RefusedFrame: another process has taken the camera's name.
        """
        self._check(seq, charged)
        sent_s = self._clock.monotonic_s()
        sent_ms = self._clock.now_ms()
        status, text, server_ms, last, *answered = self._offer(
            self._written_keys,
            [
                self.camera,
                seq,
                header,
                payload,
                charged,
                f"{left_ns / _NS_PER_MS:.3f}",
                cursor.encode(errors=_ANY_NAME),
                self._limits.budget_bytes,
                "shed" if shed else "block",
                self._limits.results_kept,
                GROUP,
                RUNS_KEPT,
                "" if self._last_seq is None else self._last_seq,
                "" if sent_ms is None else f"{sent_ms:.3f}",
                self._token,
                seq - 1,
            ],
        )
        self._clock.note(float(server_ms), sent_s)
        self._refuse(status, text)
        answer = Status(status.decode())
        shed_ids = tuple(name.decode() for name in answered)
        lost = 0 if answer is Status.FULL else self._note_admission(seq, last)
        if answer is not Status.FULL and self.on_admission is not None:
            self.on_admission(self.camera, seq)
        return OfferResult(answer, text.decode(), shed_ids, lost)

    def _check(self, seq: int, charged: int) -> None:
        if charged > self._limits.budget_bytes:
            raise SettingsError(
                f"a frame of {charged} bytes, but all frames of the line may have "
                f"{self._limits.budget_bytes}: raise --budget-mb"
            )
        if not 0 <= seq <= MAX_SEQ:
            raise SettingsError(
                f"seq {seq} of camera {self.camera!r} is outside 0..{MAX_SEQ}: "
                "give the camera a new --camera name, whose numbers begin at 0"
            )

    def _refuse(self, status: bytes, text: bytes) -> None:
        if status == _TAKEN:
            raise RefusedFrame(
                f"another process has taken the name of camera {self.camera!r}, as this one was "
                "silent for longer than its lease: give each process its own --camera"
            )
        if status == _DAMAGED:
            raise self._damaged(text)

    def _damaged(self, last: bytes) -> SettingsError:
        return SettingsError(
            f"the books of camera {self.camera!r} are damaged: {last!r:.80} is no last seq. Set "
            f"field 'last' of {self._keys.camera(self.camera)} right, or use another --camera name"
        )

    def _note_admission(self, seq: int, last: bytes) -> int:
        """Remember a seq that the server knows; return how many it had forgotten before it."""
        before, self._last_seq = self._last_seq, seq
        known = int(last) if last else -1
        if before is None or known >= before:
            return 0
        why = "Redis went back to an earlier state: frames that it had admitted have no verdict"
        fields = {"camera": self.camera, "from_seq": known + 1, "to_seq": before, "why": why}
        _log.error("books.rolled_back", extra={**fields, "frames": before - known})
        return before - known

    def has_room(self, charged: int) -> bool:
        """Return whether a frame of `charged` bytes, or several small ones, would be admitted."""
        with translated():
            try:
                used = int(self._connection("GET", self._keys.bytes) or 0)
            except (ValueError, redis.ResponseError):
                return True  # the sum is damaged: an offer mends it, and says whether there is room
        budget = self._limits.budget_bytes
        return used + max(charged, budget // ROOM_SHARE) <= budget

    def acquire_lease(self, token: str, lasts_ms: int) -> bool:
        """Hold the camera's name for the next `lasts_ms`; False where another process has it."""
        held = bool(self._acquire_lease([self._keys.holder(self.camera)], [token, lasts_ms]))
        if held:
            self._token = token
        return held

    def release_lease(self, token: str) -> None:
        """Leave the camera's name to whoever comes next."""
        self._release_lease([self._keys.holder(self.camera)], [token])

    def position(self, *, past_lost: bool = False) -> tuple[int, str]:
        """Where this camera stands: its last seq (-1 at first) and its source's cursor.

        Args:
            past_lost: go on after the seqs that Redis lost, if somebody marked them and nothing was
                offered since. They belong to other parts than those that come now.

        Raises:
            SettingsError: the books of this camera are damaged.
        """
        with translated():
            last, cursor = self._client.hmget(self._keys.camera(self.camera), "last", "cursor")
            mark = self._client.lindex(self._keys.rolled(self.camera), -1) if past_lost else None
        if last is not None and not last.isdigit():
            raise self._damaged(last)
        seq = -1 if last is None else int(last)
        after, _, lost = (mark or b"").partition(b":")
        if lost.isdigit() and after == str(seq).encode():
            seq = max(seq, int(lost))
        if seq >= 0:
            self._last_seq = seq
        return seq, cursor.decode(errors=_ANY_NAME) if cursor else ""

    def reading(self) -> tuple[str, int]:
        """Which picture the process before was reading when it died, and how often it had before.

        The place in the source is empty if that process ended in order.
        """
        with translated():
            place, deaths = self._client.hmget(self._keys.camera(self.camera), "reading", "deaths")
        return place.decode(errors=_ANY_NAME) if place else "", whole(deaths) or 0

    def note_reading(self, place: str, deaths: int) -> None:
        """Note the picture that is about to be read, and how many processes died at it."""
        noted = {"reading": place.encode(errors=_ANY_NAME), "deaths": deaths}
        self._on_books(lambda key: self._client.hset(key, mapping=noted))

    def forget_reading(self) -> None:
        """Clear the note of the picture that was being read."""
        self._on_books(lambda key: self._client.hdel(key, "reading", "deaths"))

    def forget_cursor(self) -> None:
        """Remove the cursor, as the source ended by itself: it begins anew next time."""
        self._on_books(lambda key: self._client.hdel(key, "cursor"))

    def record_event(self, event: str) -> None:
        """Keep the camera's last event, `lost` or `back`, for whoever watches the line."""
        noted = {"event": event, "event_ms": time.time_ns() // 1_000_000}
        self._on_books(lambda key: self._client.hset(key, mapping=noted))

    def _on_books(self, write: Callable[[str], object]) -> None:
        """Write to this camera's books, which are put aside if they are of another kind."""
        key = self._keys.camera(self.camera)
        with translated():
            with_sound_key(self._connection, key, "hash", lambda: write(key))

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


def charge(header: bytes, held: int) -> int:
    """Return the bytes that a frame takes until it is answered.

    A frame without a picture costs Redis as much beside its pixels as any other: uncharged, a
    flood of them would fill the server. The server's allocator may round large entries up by as
    much as a quarter.

    Args:
        header: as packed.
        held: bytes of its pixels, in Redis or in a ring.
    """
    return ENTRY_BYTES + len(header) + held
