"""The index of a sample store: what each picture is, and every label that was ever given."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainer.errors import StoreError
from trainer.fingerprints import Fingerprint
from trainer.samples.records import LabelRecord, LabelSource, Picture, SampleStatus

INDEX_NAME = "index.sqlite"
_VERSION = 2
_BUSY_S = 30.0
_SCHEMA = """
CREATE TABLE pictures (
    sha TEXT PRIMARY KEY, kind TEXT NOT NULL, golden INTEGER NOT NULL, place TEXT NOT NULL,
    mask TEXT NOT NULL, mask_kind TEXT NOT NULL, reasons TEXT NOT NULL, fingerprint BLOB NOT NULL
);
CREATE TABLE statements (
    sha TEXT NOT NULL, kind TEXT NOT NULL, mask TEXT NOT NULL, note TEXT NOT NULL,
    origin TEXT NOT NULL, line TEXT NOT NULL, label_id TEXT NOT NULL, by TEXT NOT NULL,
    at_ns INTEGER NOT NULL, captured_ns INTEGER NOT NULL,
    UNIQUE (sha, kind, mask, note, origin, line, label_id, by, at_ns)
);
CREATE TABLE lines (line TEXT PRIMARY KEY, read_to TEXT NOT NULL);
"""
_GROUPS = "CREATE TABLE IF NOT EXISTS groups (sha TEXT PRIMARY KEY, name TEXT NOT NULL);"
_FROM_1 = "ALTER TABLE statements DROP COLUMN lot;"  # which nothing ever filled
_PICTURE = "sha, kind, golden, place, mask, mask_kind, reasons"
_STATEMENT = "sha, kind, mask, note, origin, line, label_id, by, at_ns, captured_ns"


@dataclass(frozen=True, slots=True)
class IndexChange:
    """What is written together, or not at all."""

    picture: Picture | None = None
    fingerprint: Fingerprint | None = None  # of a picture that is new
    label_record: LabelRecord | None = None
    group: tuple[str, str] | None = None  # (sha, name): what a picture belongs to
    read_to: tuple[str, str] | None = None  # (line, label id): labels that need no second reading


class Index:
    """The SQLite file of one store."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def write(self, change: IndexChange) -> bool:
        """Write a change in one transaction; returns whether its statement was a new one.

        Raises:
            StoreError: the disk is full, or not ours to write.
        """
        with _translated(), self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            said = change.label_record is not None and self._insert_label(change.label_record)
            if change.picture:
                self._put(change.picture, change.fingerprint)
            if change.group:
                self._connection.execute(
                    "INSERT OR REPLACE INTO groups VALUES (?, ?)", change.group
                )
            if change.read_to:
                self._connection.execute(
                    "INSERT OR REPLACE INTO lines VALUES (?, ?)", change.read_to
                )
        return said

    def picture(self, sha: str) -> Picture | None:
        """Return the row of a picture."""
        return next(self._select("WHERE sha = ?", sha), None)

    def pictures(self, place: SampleStatus | None = None) -> list[Picture]:
        """Return all rows, or those of a place, by hash."""
        if place is None:
            return list(self._select("ORDER BY sha"))
        return list(self._select("WHERE place = ? ORDER BY sha", place.value))

    def named(self, start: str) -> list[Picture]:
        """Return the rows whose hash begins with `start`."""
        return list(self._select("WHERE substr(sha, 1, ?) = ?", len(start), start))

    def fingerprints(self) -> Iterator[tuple[str, Fingerprint]]:
        """Yield every picture's fingerprint, in the order in which they came."""
        rows = self._rows("SELECT sha, fingerprint FROM pictures ORDER BY rowid")
        for sha, packed in rows:
            yield sha, np.frombuffer(packed, np.float16)

    def fingerprint(self, sha: str) -> Fingerprint | None:
        """Return a picture's fingerprint; None for one that is not known."""
        rows = self._rows("SELECT fingerprint FROM pictures WHERE sha = ?", sha)
        return np.frombuffer(rows[0][0], np.float16) if rows else None

    def groups(self) -> dict[str, str]:
        """Return the named group of each picture that has one."""
        if not self._rows("SELECT 1 FROM sqlite_master WHERE name = 'groups'"):
            return {}  # an older program made the index, and none wrote to it since
        return dict(self._rows("SELECT sha, name FROM groups"))

    def group(self, sha: str) -> str:
        """Return the named group of a picture, in an index opened to write; "" for none."""
        rows = self._rows("SELECT name FROM groups WHERE sha = ?", sha)
        return str(rows[0][0]) if rows else ""

    def group_members(self, name: str) -> set[str]:
        """Return the pictures of a named group, in an index opened to write; none for ""."""
        if not name:
            return set()
        return {str(row[0]) for row in self._rows("SELECT sha FROM groups WHERE name = ?", name)}

    def label_records(self, sha: str | None = None) -> list[LabelRecord]:
        """Return every label in the order in which they came, or those of a picture."""
        where = "" if sha is None else "WHERE sha = ?"
        rows = self._rows(
            f"SELECT {_STATEMENT} FROM statements {where} ORDER BY rowid",  # noqa: S608  # ours
            *(() if sha is None else (sha,)),
        )
        return [
            LabelRecord(sha, kind, mask, LabelSource(*source), note)
            for sha, kind, mask, note, *source in rows
        ]

    def has_label(self, label_record: LabelRecord) -> bool:
        """Return whether this very label is known already."""
        source = label_record.source
        where = "sha = ? AND kind = ? AND mask = ? AND note = ? AND origin = ? AND line = ? "
        rows = self._rows(
            f"SELECT 1 FROM statements WHERE {where} AND label_id = ? AND by = ? AND at_ns = ?",  # noqa: S608
            *(
                label_record.sha,
                label_record.kind,
                label_record.mask,
                label_record.note,
                source.origin,
            ),
            *(source.line, source.label_id, source.by, source.at_ns),
        )
        return bool(rows)

    def has_taken(self, line: str, label_id: str) -> bool:
        """Return whether a line's label was taken already."""
        query = "SELECT 1 FROM statements WHERE line = ? AND label_id = ?"
        return bool(self._rows(query, line, label_id))

    def picture_of_frame(self, line: str, entry_id: str) -> str:
        """Return the hash of the picture that a line's frame is; "" where it was never taken."""
        query = "SELECT sha FROM statements WHERE line = ? AND origin = ? AND sha != '' LIMIT 1"
        rows = self._rows(query, line, entry_id)
        return str(rows[0][0]) if rows else ""

    def read_to(self, line: str) -> str:
        """Return the id of the last label of a line that was taken; "" for none."""
        rows = self._rows("SELECT read_to FROM lines WHERE line = ?", line)
        return str(rows[0][0]) if rows else ""

    def _insert_label(self, label_record: LabelRecord) -> bool:
        source = label_record.source
        done = self._connection.execute(
            f"INSERT OR IGNORE INTO statements ({_STATEMENT}) VALUES (?,?,?,?,?,?,?,?,?,?)",  # noqa: S608
            (
                *(label_record.sha, label_record.kind, label_record.mask, label_record.note),
                *(source.origin, source.line, source.label_id, source.by, source.at_ns),
                source.captured_ns,
            ),
        )
        return done.rowcount > 0

    def _put(self, picture: Picture, fingerprint: Fingerprint | None) -> None:
        values = (
            *(picture.kind, picture.golden, picture.place.value, picture.mask, picture.mask_kind),
            json.dumps(picture.reasons),
        )
        if fingerprint is None:
            self._connection.execute(
                "UPDATE pictures SET kind = ?, golden = ?, place = ?, mask = ?, mask_kind = ?, "
                "reasons = ? WHERE sha = ?",
                (*values, picture.sha),
            )
            return
        self._connection.execute(
            "INSERT INTO pictures VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (picture.sha, *values, fingerprint.tobytes()),
        )

    def _select(self, where: str, *values: object) -> Iterator[Picture]:
        for row in self._rows(f"SELECT {_PICTURE} FROM pictures {where}", *values):  # noqa: S608
            sha, kind, golden, place, mask, mask_kind, reasons = row
            yield Picture(
                *(
                    sha,
                    kind,
                    bool(golden),
                    SampleStatus(place),
                    mask,
                    mask_kind,
                    tuple(json.loads(reasons)),
                )
            )

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with _translated():
            return self._connection.execute(query, values).fetchall()


@contextmanager
def index_opened(folder: Path, *, to_write: bool) -> Iterator[Index]:
    """Open the index of a store's folder, and make one where there is none and it is to write.

    Raises:
        StoreError: no index, or one that this program cannot read.
    """
    path = folder / INDEX_NAME
    if not to_write and not path.is_file():
        raise StoreError(f"{folder} is no sample store: make one with trainer-samples import")
    mode = "rwc" if to_write else "rw"  # even a reader must take back what a killed writer began
    with _translated():
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=_BUSY_S,
            isolation_level=None,
        )
    try:
        with _translated():
            _prepare(connection, path)
            if to_write:
                connection.execute(_GROUPS)
        yield Index(connection)
    finally:
        with suppress(sqlite3.Error):
            connection.close()


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    connection.execute("PRAGMA synchronous = FULL")  # what was answered outlives a power cut
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if change := {0: _SCHEMA, 1: _FROM_1}.get(version):
        with connection:
            connection.executescript(f"BEGIN;{change}PRAGMA user_version = {_VERSION};COMMIT;")
    elif version != _VERSION:
        raise StoreError(
            f"{path} has version {version}, this program reads {_VERSION}: install the matching "
            "prn-line"
        )


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StoreError(
            f"{INDEX_NAME}: {error}; what was stored before is whole: make room or rights, then "
            "repeat"
        ) from error
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"{INDEX_NAME} is damaged ({error}): copy a backup over it, or move it away and the "
            "files tell what they are"
        ) from error
