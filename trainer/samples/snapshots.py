"""Snapshots: which pictures, with which labels, a training may see; named by their own hash."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engines.files import parse_json, read_file
from trainer.dataset import GOOD
from trainer.errors import StoreError
from trainer.samples.files import write_file
from trainer.samples.records import Picture

SNAPSHOTS = "snapshots"
MAX_SNAPSHOT_BYTES = 256 << 20
_Sha = Field(pattern="^[0-9a-f]{64}$")


class SnapshotPicture(BaseModel):
    """One picture as a training sees it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha: str = _Sha
    kind: str
    mask: str = Field(default="", pattern="^([0-9a-f]{64})?$", description="SHA-256; empty: none")
    mask_kind: str = Field(default="", description="the folder of the mask")


class SnapshotRecord(BaseModel):
    """A frozen list of pictures."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="over hashes, kinds, masks' hashes")
    normals: int
    defects: int
    pictures: tuple[SnapshotPicture, ...] = Field(description="by hash")


def record_of(pictures: Iterable[Picture]) -> SnapshotRecord:
    """List pictures, whatever their order."""
    seen = [
        SnapshotPicture(sha=each.sha, kind=each.kind, mask=each.mask, mask_kind=each.mask_kind)
        for each in sorted(pictures, key=lambda each: each.sha)
    ]
    normals = sum(each.kind == GOOD for each in seen)
    return SnapshotRecord(
        sha256=_hash(seen), normals=normals, defects=len(seen) - normals, pictures=tuple(seen)
    )


def freeze(folder: Path, record: SnapshotRecord) -> None:
    """Write a record beside the others; one that is there stays as it is.

    Raises:
        StoreError: the disk is full, or not ours to write.
    """
    path = folder / SNAPSHOTS / f"{record.sha256}.json"
    if not path.exists():
        write_file(path, (record.model_dump_json() + "\n").encode())


def read_snapshot(folder: Path, sha256: str) -> SnapshotRecord:
    """Read a record of a store and prove that it is what it is named.

    Raises:
        StoreError: there is none, or it is not what its name says.
    """
    path = folder / SNAPSHOTS / f"{sha256}.json"
    if not path.is_file():
        raise StoreError(f"no snapshot {sha256:.80} in {folder}: take one")
    try:
        record = SnapshotRecord.model_validate(parse_json(read_file(path, MAX_SNAPSHOT_BYTES)))
    except (OSError, ValueError, ValidationError) as error:
        raise StoreError(f"{path} is no snapshot that can be read: {error}") from error
    if record.sha256 != sha256 or _hash(record.pictures) != sha256:
        raise StoreError(f"{path} was changed after it was written: copy a backup over it")
    return record


def _hash(pictures: Iterable[SnapshotPicture]) -> str:
    digest = hashlib.sha256()
    for each in pictures:
        digest.update(f"{each.sha}\0{each.kind}\0{each.mask}\n".encode())
    return digest.hexdigest()
