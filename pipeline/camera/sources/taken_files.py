"""Which files of a watched folder were offered already, across restarts and whatever clocks do.

The memory is one record a file. A cursor names the records since a checkpoint, so it stays short
and is admitted together with its frame; every 256 files the records go into a new checkpoint. One
checkpoint back is kept: a camera killed in between goes on from there.

    cursor       taken:GENERATION:BASE64    the records since the checkpoint
    record       32 bytes: hash of the name, of date and size, of the content, and the length of
                 what was there of a file that was not finished, plus 1 (uint64 each)
"""

import base64
import binascii
import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, Self

from pipeline.errors import SettingsError

_RECORD = struct.Struct("<4Q")
_CHECKPOINT_RECORDS = 256
_ABSENT_KEPT = 10_000  # records of files that are gone: they may come back
_PREFIX = "taken"


class CheckpointStore(Protocol):
    """Keeps checkpoints where they outlive the process."""

    def load(self, generation: int) -> bytes | None:
        """Return a checkpoint, or None where there is none."""
        ...

    def save(self, generation: int, records: bytes) -> None:
        """Keep a checkpoint and the one before it."""
        ...


class ProcessStore:
    """Checkpoints that end with the process, for a source without a line."""

    def __init__(self) -> None:
        self._kept: dict[int, bytes] = {}

    def load(self, generation: int) -> bytes | None:
        """Return a checkpoint, or None where there is none."""
        return self._kept.get(generation)

    def save(self, generation: int, records: bytes) -> None:
        """Keep a checkpoint and the one before it."""
        self._kept = {generation: records} | {
            old: kept for old, kept in self._kept.items() if old == generation - 1
        }


@dataclass(frozen=True, slots=True)
class TakenFile:
    """A file as it was when its picture was offered."""

    stamp: int  # hash of date and size
    content: int  # hash of the bytes; 0: unknown
    unfinished: int = 0  # its length + 1 where it was offered as unreadable, zeros at its end off

    @classmethod
    def of(cls, stamp: int, content: bytes, *, finished: bool) -> Self:
        """Remember a file that was read."""
        if finished:
            return cls(stamp, _hash(content))
        begun = content.rstrip(b"\0")
        return cls(stamp, _hash(begun), len(begun) + 1)

    def is_begin_of(self, content: bytes) -> bool:
        """Return whether the bytes continue what was there of an unfinished file."""
        if not self.unfinished:
            return False
        return self.content == _hash(content[: self.unfinished - 1])

    def is_same(self, content: bytes) -> bool:
        """Return whether the bytes are those of a file that was whole."""
        return not self.unfinished and self.content == _hash(content)


class TakenFiles:
    """The memory of one camera."""

    def __init__(self, store: CheckpointStore) -> None:
        self._store = store
        self._files: dict[int, TakenFile] = {}
        self._generation = 0
        self._since = bytearray()  # packed records since the checkpoint
        self.cursor = ""  # the one returned last

    def restore(self, cursor: str) -> None:
        """Go on after `cursor`, which `add` returned; "": with what this process remembers.

        Raises:
            SettingsError: no such cursor, or its checkpoint is gone.
        """
        if cursor in {"", self.cursor}:
            return
        generation, since = _parse(cursor)
        checkpoint = self._store.load(generation) if generation else b""
        if checkpoint is None:
            raise SettingsError(
                f"the memory of the watched folder (checkpoint {generation}) is gone from Redis: "
                "move the pictures that were judged away and give the camera a new name"
            )
        self._files = dict(_unpack(checkpoint)) | dict(_unpack(since))
        self._generation, self._since, self.cursor = generation, bytearray(since), cursor

    def find(self, name: str) -> TakenFile | None:
        """Return the file as it was offered last; None where it never was."""
        return self._files.get(_hash(name.encode(errors="surrogateescape")))

    def note(self, name: str, file: TakenFile) -> None:
        """Remember a file; it counts from the next cursor on."""
        key = _hash(name.encode(errors="surrogateescape"))
        self._files[key] = file
        self._since += _RECORD.pack(key, file.stamp, file.content, file.unfinished)

    def add(self, name: str, file: TakenFile, present: Iterable[str]) -> str:
        """Remember a file that is offered now; return the cursor to offer it with.

        All that were added before must have been admitted by now.

        Args:
            name: of the file, relative to the folder.
            file: as it is now.
            present: the names of all files that are there.
        """
        if len(self._since) >= _CHECKPOINT_RECORDS * _RECORD.size:
            self._checkpoint(present)
        self.note(name, file)
        self.cursor = f"{_PREFIX}:{self._generation}:{base64.b64encode(self._since).decode()}"
        return self.cursor

    def _checkpoint(self, present: Iterable[str]) -> None:
        """Put all records into a new checkpoint, of absent files only the last ones."""
        there = {_hash(name.encode(errors="surrogateescape")) for name in present}
        absent = [key for key in self._files if key not in there]
        for key in absent[: max(0, len(absent) - _ABSENT_KEPT)]:
            del self._files[key]
        packed = b"".join(
            _RECORD.pack(key, file.stamp, file.content, file.unfinished)
            for key, file in self._files.items()
        )
        self._generation += 1
        self._store.save(self._generation, packed)
        self._since.clear()


def is_taken_cursor(cursor: str) -> bool:
    """Return whether `TakenFiles` made a cursor."""
    return cursor.startswith(f"{_PREFIX}:")


def file_stamp(written_ns: int, size: int) -> int:
    """Hash date and size of a file."""
    return _hash(b"%d/%d" % (written_ns, size))


def _hash(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")


def _parse(cursor: str) -> tuple[int, bytes]:
    prefix, _, rest = cursor.partition(":")
    generation, _, packed = rest.partition(":")
    try:
        since = base64.b64decode(packed, validate=True)
    except binascii.Error:
        prefix, since = "", b""
    if prefix != _PREFIX or not generation.isdecimal() or len(since) % _RECORD.size:
        raise SettingsError(
            f"cursor {cursor!r:.80} is not of a watched folder: give the camera a new name"
        )
    return int(generation), since


def _unpack(packed: bytes) -> Iterable[tuple[int, TakenFile]]:
    whole = len(packed) - len(packed) % _RECORD.size
    for key, *fields in _RECORD.iter_unpack(packed[:whole]):
        yield key, TakenFile(*fields)
