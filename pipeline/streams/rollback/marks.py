"""How far a line's books had come, and what is lost when they are behind that."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pipeline.errors import SettingsError
from pipeline.streams.keys import check_name, is_name

MOST_BYTES = 1 << 16  # of packed marks; 64 cameras take 2 KB
_MOST = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Marks:
    """The position of a line as one program noted it."""

    looks: int = 0  # how often this program has noted it
    published: int = 0  # number of the last verdict
    cameras: Mapping[str, int] = field(default_factory=dict)  # -> last seq

    def pack(self) -> bytes:
        """Return them as JSON."""
        fields = {"looks": self.looks, "published": self.published, "cameras": dict(self.cameras)}
        return json.dumps(fields, separators=(",", ":"), sort_keys=True).encode()

    @classmethod
    def unpack(cls, raw: bytes) -> "Marks | None":
        """Read packed marks; None if they are damaged."""
        try:
            return cls.from_fields(json.loads(raw) if len(raw) <= MOST_BYTES else None)
        except (ValueError, RecursionError):
            return None

    @classmethod
    def from_fields(cls, fields: Any) -> "Marks":  # noqa: ANN401  # foreign JSON
        """Check what was read.

        Raises:
            ValueError: no marks.
        """
        if not isinstance(fields, dict) or not isinstance(fields.get("cameras"), dict):
            raise ValueError("no position of a line")  # noqa: TRY004  # foreign content, no bug
        if not all(map(is_name, fields["cameras"])):
            raise ValueError("a name that no camera can have")
        cameras = {name: _whole(last) for name, last in fields["cameras"].items()}
        return cls(_whole(fields.get("looks")), _whole(fields.get("published")), cameras)

    def last(self, camera: str) -> int:
        """Return a camera's last seq, -1 where it has none."""
        return self.cameras.get(camera, -1)

    def joined(self, other: "Marks") -> "Marks":
        """Return the farther of both, place by place."""
        names = self.cameras.keys() | other.cameras.keys()
        return Marks(
            max(self.looks, other.looks),
            max(self.published, other.published),
            {name: max(self.last(name), other.last(name)) for name in names},
        )


@dataclass(frozen=True, slots=True)
class LostWrites:
    """What may be lost because Redis went back; empty if nobody remembers any of it."""

    verdicts: tuple[int, int] | None = None  # first and last number
    frames: tuple[tuple[str, int, int], ...] = ()  # camera, seq before the first, last seq


def find_lost_writes(
    known: Marks, stored: Marks | None, now: Marks, *, pruned: bool = False, own: str = ""
) -> LostWrites | None:
    """Compare the books with what a program remembers; None if Redis did not go back.

    Args:
        known: what the program remembers.
        stored: what it last noted, as Redis has it; None if Redis has nothing of it.
        now: the books.
        pruned: whether Redis may have nothing because old notes were dropped.
        own: the camera in whose name nobody but this program offers.
    """
    forgotten = not pruned if stored is None else stored.looks < known.looks
    forgotten = forgotten and known.looks > 0

    def lost_after(last: int, current: int, noted: int | None, first: int) -> int:
        """Return the number before the first one that may be lost; `last` if none is."""
        if current >= last and not forgotten:
            return last
        if noted is not None:
            return min(noted, current, last)
        return current if current < last else first - 1  # caught up: nobody knows since when

    after = lost_after(known.published, now.published, stored.published if stored else None, 1)
    verdicts = (after + 1, known.published) if after < known.published else None
    frames = []
    for camera, last in sorted(known.cameras.items()):
        current = now.last(camera)
        if camera == own:  # nobody else can have caught up
            after = min(current, last)
        else:
            noted = stored.last(camera) if stored else None
            after = lost_after(last, current, noted, 0)
        if after < last:
            frames.append((camera, after, last))
    if not (forgotten or verdicts or frames):
        return None
    return LostWrites(verdicts, tuple(frames))


@dataclass(frozen=True, slots=True)
class RollbackRecord:
    """That a program noticed a rollback, as it stands in the books."""

    at_ms: int  # Redis's clock
    by: str
    lost: LostWrites


def pack_record(by: str, rollback: LostWrites) -> bytes:
    """Return what is kept of a rollback, as JSON; the script puts its time before it."""
    return json.dumps({"by": by, **asdict(rollback)}, separators=(",", ":")).encode()


def unpack_record(raw: bytes) -> RollbackRecord:
    """Read a record.

    Raises:
        ValueError: no record of a rollback.
    """
    at_ms, _, packed = raw.partition(b" ")
    if not at_ms.isdigit() or len(packed) > MOST_BYTES:
        raise ValueError("no record of a rollback")
    try:
        fields = json.loads(packed)
        verdicts = None
        if fields["verdicts"] is not None:
            first, last = map(_whole, fields["verdicts"])
            verdicts = first, last
        frames = tuple(
            (check_name(camera), _whole(after), _whole(last))
            for camera, after, last in fields["frames"]
        )
        return RollbackRecord(int(at_ms), str(fields["by"]), LostWrites(verdicts, frames))
    except (KeyError, TypeError, RecursionError, SettingsError) as error:
        raise ValueError(f"no record of a rollback: {error!r:.80}") from error


def _whole(number: Any) -> int:  # noqa: ANN401  # foreign JSON
    if not isinstance(number, int) or isinstance(number, bool) or not -1 <= number <= _MOST:
        raise ValueError(f"{number!r:.40} is no position of a line")
    return number
