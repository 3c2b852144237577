"""Offering one camera's frames: each is offered until the line says what became of it."""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Self

import numpy as np
from numpy.typing import NDArray

from engines.pictures.jpeg import JpegSetting
from pipeline.camera.prepare import Preparation
from pipeline.camera.source import Shot
from pipeline.codecs import Codec, encode_pixels
from pipeline.errors import ConnectionLost, RedisFull, RefusedFrame, UnreadableFrame
from pipeline.frames import FrameMeta
from pipeline.ring.files import remove_left_rings
from pipeline.ring.ring import RingWriter, ring_name
from pipeline.streams.connection import RedisConnection
from pipeline.streams.frame_producer import FrameProducer, OfferResult, Status, charge
from pipeline.streams.ledger import Ledger
from pipeline.wire import FrameHeader, RingPlace, decode_identity, encode_frame_header

FULL_WAIT_S = 0.002  # first wait of a patient camera when the line is full, then doubled
FULL_LONGEST_WAIT_S = 0.05
FULL_TRY_AFTER_S = 0.5  # offer again even if there is hardly room
SAY_FULL_EVERY_S = 10.0
RING_SPARE_SLOTS = 4
RECLAIM_EVERY_S = 0.1
LEAVE_WAIT_S = 5.0
_log = logging.getLogger(__name__)


class RingSender:
    """A camera's ring, and the frames in it that Redis still waits for."""

    def __init__(self, writer: RingWriter, camera: str, ledger: Ledger) -> None:
        self._writer = writer
        self._camera = camera
        self._ledger = ledger
        self._reclaimed_s = 0.0
        self._places: dict[str, RingPlace] = {}

    @classmethod
    def create(
        cls, line: str, camera: str, frame_bytes: int, budget_mb: float, ledger: Ledger
    ) -> Self:
        """Make a ring that holds a byte budget of frames, and a few more."""
        slots = int(budget_mb * (1 << 20)) // frame_bytes + RING_SPARE_SLOTS
        return cls(RingWriter.create(ring_name(line, camera), slots, frame_bytes), camera, ledger)

    def free_left(self, line: str) -> None:
        """Remove the rings of the line's other cameras that are gone and whose frames have answers.

        A camera that was killed or renamed leaves its ring behind, and no successor takes it over.
        """
        waiting = {self._camera} | self._waiting_cameras()
        cameras = {camera.camera for camera in self._ledger.snapshot().cameras} - waiting
        for ring in remove_left_rings(names={ring_name(line, camera) for camera in cameras}):
            fields = {"ring": ring.name, "megabytes": ring.size_bytes >> 20}
            _log.info("ring.removed", extra=fields)

    def _waiting_cameras(self) -> set[str]:
        """Return the cameras of which frames wait for their verdict."""
        waiting = set()
        for packed in self._ledger.open_headers().values():
            with suppress(UnreadableFrame):
                waiting.add(decode_identity(packed).camera)
        return waiting

    def write(self, pixels: NDArray[np.uint8], seq: int) -> RingPlace | None:
        """Copy a picture into a slot; None where every slot waits for a worker."""
        place = self._writer.write(pixels, seq)
        if place is None and time.monotonic() - self._reclaimed_s > RECLAIM_EVERY_S:
            self.reclaim()
            place = self._writer.write(pixels, seq)
        return place

    def offered(self, place: RingPlace, result: OfferResult) -> None:
        """Note what became of a frame, and free the slots of those that were shed."""
        if result.status is Status.ADMITTED:
            self._places[result.entry_id] = place
        else:
            self._writer.release(place)
        for entry_id in result.shed:
            if shed := self._places.pop(entry_id, None):
                self._writer.release(shed)
        if len(self._places) > 2 * len(self._writer.holds()) + RING_SPARE_SLOTS:
            held = self._writer.holds()
            self._places = {key: kept for key, kept in self._places.items() if kept in held}

    def reclaim(self) -> None:
        """Free the slots of frames that are answered: a worker died before it could."""
        held = self._writer.holds()
        waiting = set()
        for packed in self._ledger.open_headers().values():
            try:
                identity = decode_identity(packed)
            except UnreadableFrame:
                continue
            if identity.camera == self._camera:
                waiting.add(identity.seq)
        for place, seq in held.items():
            if seq not in waiting:
                self._writer.release(place)
        self._reclaimed_s = time.monotonic()

    def leave(self) -> None:
        """Unlink the ring when its frames are answered, else leave it to the next camera."""
        deadline_s = time.monotonic() + LEAVE_WAIT_S
        while self._writer.holds() and time.monotonic() < deadline_s:
            time.sleep(RECLAIM_EVERY_S)
            try:
                self.reclaim()
            except (ConnectionLost, RedisFull):
                break
        if self._writer.holds():
            self._writer.leave()
        else:
            self._writer.close()


class FrameOffer:
    """Makes frames of shots and offers them."""

    def __init__(
        self,
        producer: FrameProducer,
        connection: RedisConnection,
        preparation: Preparation,
        codec: Codec,
        jpeg: JpegSetting,
        deadline_ns: int,
        stop: threading.Event,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._producer = producer
        self._connection = connection
        self._camera = producer.camera
        self._preparation = preparation
        self._codec = codec
        self._jpeg = jpeg
        self._deadline_ns = deadline_ns
        self._stop = stop
        self._clock_s = clock_s
        self._said_full_s = -SAY_FULL_EVERY_S
        self.ring: RingSender | None = None
        self.counts: Counter[Status] = Counter()

    def offer(self, shot: Shot, seq: int, *, live: bool) -> bool:
        """Offer one shot as frame `seq`; False where a signal came before it was admitted.

        Args:
            shot: full size.
            seq: above every seq offered before.
            live: shed the oldest waiting frame where the line is full, instead of waiting.

        Raises:
            RefusedFrame: another process offers frames in this camera's name.
        """
        header, payload, held = self._pack(shot, seq)
        packed = encode_frame_header(header)
        charged = charge(packed, held)
        due_s = shot.captured_s + self._deadline_ns / 1e9  # whatever the wall clock does meanwhile
        unanswered = repeated = False  # whether an offer may have been taken without our knowing

        def once() -> OfferResult:
            nonlocal unanswered, repeated
            repeated, unanswered = repeated or unanswered, True
            left_ns = int((due_s - self._clock_s()) * 1e9)
            result = self._producer.offer(
                seq, packed, payload, charged, left_ns, shot.cursor, shed=live
            )
            unanswered = False
            return result

        try:
            while (result := self._connection.retry(once, self._stop.is_set)).status is Status.FULL:
                self._say_full(result.entry_id)
                if not self._wait_for_room(charged):
                    return False
        except (ConnectionLost, RedisFull):
            return False
        if result.status is Status.SEEN and not repeated:
            raise RefusedFrame(
                f"camera {self._camera!r} already offered seq {result.entry_id}, this is {seq}: "
                "is another pipeline-camera running under the same name?"
            )
        self._note(result, header)
        return True

    def _wait_for_room(self, charged: int) -> bool:
        """Wait until a few frames have room, so that not every offer is made twice; False: stop."""
        wait_s = FULL_WAIT_S
        until_s = time.monotonic() + FULL_TRY_AFTER_S
        while not self._stop.wait(wait_s):
            if time.monotonic() > until_s:
                return True  # a live camera beside this one may never leave so much room
            if self._connection.retry(lambda: self._producer.has_room(charged), self._stop.is_set):
                return True
            wait_s = min(2 * wait_s, FULL_LONGEST_WAIT_S)
        return False

    def _say_full(self, used_bytes: str) -> None:
        """Log now and then that this camera waits for the line."""
        if time.monotonic() - self._said_full_s > SAY_FULL_EVERY_S:
            self._said_full_s = time.monotonic()
            why = "the workers are slower than this camera, or away: it waits for them"
            _log.info("line.full", extra={"bytes": used_bytes, "why": why})

    def _note(self, result: OfferResult, header: FrameHeader) -> None:
        self.counts[result.status] += 1
        if self.ring and header.ring:
            self.ring.offered(header.ring, result)
        if result.shed or result.status is Status.SHED:
            shed = len(result.shed) + (result.status is Status.SHED)
            self.counts[Status.SHED] += len(result.shed)
            _log.warning("frames.shed", extra={"camera": self._camera, "frames": shed})

    def _pack(self, shot: Shot, seq: int) -> tuple[FrameHeader, bytes, int]:
        """Make head and payload; also the bytes of the pixels, wherever they lie."""
        size = self._preparation.size
        meta = self._meta(shot, seq)
        if shot.unreadable:
            return self._unreadable(meta, shot.unreadable)
        try:
            pixels = self._preparation.prepare(shot.pixels)
        except UnreadableFrame as error:
            return self._unreadable(meta, str(error))
        if self._codec is Codec.RING:
            place = self._place(pixels, seq)
            if place is not None:
                return FrameHeader(meta, Codec.RING, size, place), b"", pixels.nbytes
        codec = Codec.RAW if self._codec is Codec.RING else self._codec
        payload = encode_pixels(pixels, codec, self._jpeg)
        return FrameHeader(meta, codec, size), payload, len(payload)

    def _place(self, pixels: NDArray[np.uint8], seq: int) -> RingPlace | None:
        place = self.ring.write(pixels, seq) if self.ring else None
        if place is None:
            why = "every slot waits for a worker: this frame travels raw"
            _log.warning("ring.full", extra={"camera": self._camera, "why": why})
        return place

    def _unreadable(self, meta: FrameMeta, why: str) -> tuple[FrameHeader, bytes, int]:
        _log.error("picture.unreadable", extra={"part": meta.part_id, "why": why})
        payload = why.encode(errors="replace")[:1000]
        return FrameHeader(meta, Codec.NONE, self._preparation.size), payload, len(payload)

    def _meta(self, shot: Shot, seq: int) -> FrameMeta:
        height, width = shot.pixels.shape[:2]
        return FrameMeta(
            camera=self._camera,
            seq=seq,
            part_id=shot.part_id or f"{self._camera}-{seq}",
            captured_ns=shot.captured_ns,
            deadline_ns=shot.captured_ns + self._deadline_ns,
            mm_per_pixel=self._preparation.scale((height, width)),
        )
