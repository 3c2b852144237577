"""The records of a registry and their paths: what a version is, what is in force.

```
REGISTRY/promoted.json             the version in force, the previous one, who, when; earlier ones
REGISTRY/versions/NAME/version.json   written last: without it there is no version
REGISTRY/versions/NAME/protoad.onnx   and protoad.onnx.json, a plan's kernels
REGISTRY/versions/NAME/0123456789ab-gate.json   an extra file, under its hash
REGISTRY/refusals/NAME.json        a promotion of it that a line refused on live frames
```
A version's name identifies its decisions: the engine's bytes and its thresholds are hashed into it.
So a new calibration alone is another version, and the same engine registered twice is one version.
"""

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from engines.manifest import Manifest, Thresholds, first_fault

PROMOTED = "promoted.json"
VERSIONS = "versions"
REFUSALS = "refusals"
VERSION = "version.json"
MAX_RECORD_BYTES = 1 << 20
MAX_EXTRA_BYTES = 16 << 20
HISTORY = 100  # earlier promotions kept

_MODEL_CHARACTERS = 40
_DIGEST_CHARACTERS = 12
# one level, not hidden: these names come from files that other programs can write
VersionName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,79}$")]
FileName = Annotated[str, Field(pattern=r"^[^./\\\x00-\x1f][^/\\\x00-\x1f]{0,199}$")]
_VERSION_NAME: TypeAdapter[str] = TypeAdapter(VersionName)
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Time = Annotated[str, Field(max_length=40)]


@dataclass(frozen=True, slots=True)
class Version:
    """A registered engine with its files."""

    name: VersionName
    model: str
    sha256: Sha256  # of the engine file
    created: Time  # when it was first registered: UTC, ISO 8601
    files: tuple[FileName, ...]  # sorted


@dataclass(frozen=True, slots=True)
class Pointer:
    """The version in force, since when, and the previous one."""

    promoted: VersionName
    previous: VersionName | None
    by: str
    at: Time  # UTC, ISO 8601


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1


class StoredFile(BaseModel):
    """The expected size and hash of a version's file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: Sha256
    size: int = Field(ge=0, description="bytes")


class VersionRecord(_Record):
    """`version.json`."""

    name: VersionName
    model: str
    created: Time
    engine: FileName
    facts: Sha256 = Field(description="hash of the manifest without its admission")
    files: dict[FileName, StoredFile] = Field(description="all files but the manifest")

    @model_validator(mode="after")
    def _has_engine(self) -> Self:
        if self.engine not in self.files:
            raise ValueError("the engine is not among the files")
        return self

    @property
    def manifest(self) -> str:
        """The manifest's name; `facts` covers its content, because an admission may be renewed."""
        return f"{self.engine}.json"

    @property
    def needed(self) -> list[str]:
        """The files needed to open the engine, beside the manifest: itself, and its kernels."""
        return [name for name in (self.engine, f"{self.engine}.so") if name in self.files]

    @property
    def extra(self) -> list[str]:
        """The extra files."""
        return sorted(set(self.files) - set(self.needed))

    def stored_as(self, name: str) -> str:
        """Return a file's name in the store; different extra files never share one."""
        if name in self.needed:
            return name
        return f"{self.files[name].sha256[:_DIGEST_CHARACTERS]}-{name}"

    def version(self) -> Version:
        """Return the public form of the record."""
        return Version(
            self.name,
            self.model,
            self.files[self.engine].sha256,
            self.created,
            tuple(sorted([*self.files, self.manifest])),
        )


class PromotedRecord(_Record):
    """`promoted.json`."""

    in_force: Pointer
    earlier: list[Pointer] = Field(default=[], description="newest first")


class RefusalRecord(_Record):
    """A file of `refusals/`."""

    version: VersionName
    promoted_at: Time = Field(description="a later promotion of the version may try again")
    why: str
    by: str = Field(description="line and worker")
    at: Time


class _Promoted(Protocol):
    @property
    def promoted(self) -> str:
        """The version."""
        ...


Promoted = TypeVar("Promoted", bound=_Promoted)
Record = TypeVar("Record", VersionRecord, PromotedRecord, RefusalRecord)


def parse_record(kind: type[Record], content: bytes) -> Record:
    """Read a file of the registry.

    Raises:
        ValueError: it is not such a file; the message gives the reason in one line.
    """
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise ValueError(first_fault(error)) from error


def write_record(record: _Record) -> bytes:
    """Return the bytes of a file of the registry."""
    return (record.model_dump_json(indent=2) + "\n").encode()


def latest_promotions(history: Iterable[Promoted]) -> list[Promoted]:
    """Return each version's latest promotion; promotions are sorted newest first."""
    latest: dict[str, Promoted] = {}
    for promotion in history:
        latest.setdefault(promotion.promoted, promotion)
    return list(latest.values())


def is_version_name(name: str) -> bool:
    """Return whether a version can have this name; no other name becomes part of a path."""
    try:
        _VERSION_NAME.validate_python(name)
    except ValidationError:
        return False
    return True


def version_name(manifest: Manifest) -> str:
    """Return an engine's version name: its model, and a digest of all that affects decisions."""
    model = re.sub(r"[^a-z0-9]+", "-", manifest.model.lower()).strip("-")[:_MODEL_CHARACTERS]
    decides = [manifest.sha256, manifest.kernel_sha256, *_limits(manifest.thresholds)]
    digest = hashlib.sha256(json.dumps(decides).encode()).hexdigest()
    return f"{model.strip('-') or 'engine'}-{digest[:_DIGEST_CHARACTERS]}"


def _limits(thresholds: Thresholds) -> tuple[float, float]:
    return thresholds.image, thresholds.pixel


def manifest_facts(manifest: Manifest) -> str:
    """Hash a manifest without its admission, which each machine writes anew.

    Fields with default values are left out, so that a new field changes no hash.
    """
    return hashlib.sha256(
        manifest.model_dump_json(exclude={"admission"}, exclude_defaults=True).encode()
    ).hexdigest()
