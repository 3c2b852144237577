"""Check the files of an engine to register, before a byte is sent."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from engines.backends.tensorrt.api import kernel_path
from engines.errors import ManifestError, RegistryError
from engines.files import file_sha256
from engines.manifest import Manifest, read_manifest
from engines.registry.records import (
    MAX_EXTRA_BYTES,
    VERSION,
    FileName,
    StoredFile,
    VersionRecord,
    manifest_facts,
    version_name,
)

_FILE_NAME: TypeAdapter[str] = TypeAdapter(FileName)


@dataclass(frozen=True, slots=True)
class Registration:
    """An engine to register as a version, or already registered."""

    record: VersionRecord  # the new record
    manifest: bytes | None  # to write; None to keep the existing one
    engine: Path
    extra: Mapping[str, bytes]

    def source(self, name: str) -> Path:
        """Return the local source of the version's file `name`."""
        return self.engine if name == self.record.engine else kernel_path(self.engine)


def prepare(
    engine: Path,
    extra: Mapping[str, bytes],
    created: str,
    known: VersionRecord | None,
    kept: Manifest | None,
) -> Registration:
    """Read all that is to be registered, and check it.

    Args:
        engine: the file, with its manifest beside it.
        extra: further files by name.
        created: the current time, UTC, ISO 8601.
        known: the record of the same version, if it is registered; its names and date stay.
        kept: the manifest of `known`, which receives only the admission from `engine`.

    Raises:
        ManifestError: engine, kernels and manifest do not fit each other.
        RegistryError: a file of `extra` has a wrong name or is too large.
    """
    manifest = read_manifest(engine)
    called = known.engine if known else _file_name(engine.name)
    files = {called: StoredFile(sha256=manifest.sha256, size=engine.stat().st_size)}
    if manifest.kernel_sha256:
        files[f"{called}.so"] = _kernel(engine, manifest)
    _check_extra(extra, {*files, f"{called}.json", f"{called}.so", VERSION})
    files |= {name: _stored(content) for name, content in extra.items()}
    record = VersionRecord(
        name=version_name(manifest),
        model=manifest.model,
        created=known.created if known else created,
        engine=called,
        facts=known.facts if known else manifest_facts(manifest),
        files=(known.files if known else {}) | files,
    )
    return Registration(record, _manifest_bytes(manifest, kept), engine, extra)


def _manifest_bytes(manifest: Manifest, kept: Manifest | None) -> bytes | None:
    if kept is not None:
        if manifest.admission in (None, kept.admission):
            return None
        manifest = kept.model_copy(update={"admission": manifest.admission})
    return (manifest.model_dump_json(indent=2) + "\n").encode()


def _kernel(engine: Path, manifest: Manifest) -> StoredFile:
    library = kernel_path(engine)
    if not library.is_file():
        raise ManifestError(f"{engine.name} needs its kernels, {library}: copy the file beside it")
    if file_sha256(library) != manifest.kernel_sha256:
        raise ManifestError(
            f"{library} is not the file that the manifest of {engine.name} describes: copy both "
            "again"
        )
    return StoredFile(sha256=manifest.kernel_sha256, size=library.stat().st_size)


def _stored(content: bytes) -> StoredFile:
    return StoredFile(sha256=hashlib.sha256(content).hexdigest(), size=len(content))


def _file_name(name: str) -> str:
    try:
        return _FILE_NAME.validate_python(name)
    except ValidationError as error:
        raise RegistryError(
            f"{name!r:.60} cannot be a file's name in the registry: use one without slashes and "
            "control characters that does not begin with a dot"
        ) from error


def _check_extra(extra: Mapping[str, bytes], taken: set[str]) -> None:
    for name, content in extra.items():
        if _file_name(name) in taken:
            raise RegistryError(f"{name} belongs to the engine: give the extra file another name")
        if len(content) > MAX_EXTRA_BYTES:
            raise RegistryError(
                f"{name} has {len(content)} bytes, the limit is {MAX_EXTRA_BYTES}: keep such files "
                "in the run's folder and name it here"
            )
