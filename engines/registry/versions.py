"""Look up, verify, add and copy the versions of a registry."""

import hashlib
import secrets
from pathlib import Path

from engines.errors import BrokenVersion, ManifestError, RegistryAway
from engines.files import file_sha256, write_atomic
from engines.manifest import MAX_MANIFEST_BYTES, Manifest, parse_manifest
from engines.registry.records import (
    MAX_EXTRA_BYTES,
    MAX_RECORD_BYTES,
    VERSION,
    VERSIONS,
    VersionRecord,
    is_version_name,
    manifest_facts,
    parse_record,
    write_record,
)
from engines.registry.registration import Registration
from engines.registry.store import Store, clear_halves


class Versions:
    """The versions under `versions/`."""

    def __init__(self, store: Store, where: str) -> None:
        self._store = store
        self._where = where

    def survey(self) -> tuple[list[VersionRecord], list[str]]:
        """Return the complete versions, oldest first, and the names with a damaged record."""
        records: list[VersionRecord] = []
        damaged: list[str] = []
        for name in self._store.names(VERSIONS):
            try:
                record = self.look(name)
            except BrokenVersion:
                damaged.append(name)
                continue
            if record is not None:
                records.append(record)
        return sorted(records, key=lambda record: (record.created, record.name)), damaged

    def look(self, name: str) -> VersionRecord | None:
        """Return a version's record, or None if it does not exist or is not complete yet.

        Raises:
            BrokenVersion: the record cannot be read.
        """
        if not is_version_name(name):
            return None
        content = self._store.read(_path(name, VERSION), MAX_RECORD_BYTES)
        if content is None:
            return None
        try:
            record = parse_record(VersionRecord, content)
        except ValueError as error:
            raise self._broken(name, VERSION, str(error)) from error
        if record.name != name:
            raise self._broken(name, VERSION, f"it is of {record.name}")
        return record

    def sound(self, name: str) -> VersionRecord | None:
        """Return a version's record if it and the manifest are intact, otherwise None."""
        try:
            record = self.look(name)
            if record is not None:
                self.manifest(record)
        except BrokenVersion:
            return None
        return record

    def manifest(self, record: VersionRecord) -> Manifest:
        """Read a version's manifest.

        Raises:
            BrokenVersion: it is not what was registered.
        """
        return self._parse(record, self._manifest_bytes(record))

    def read(self, record: VersionRecord, file: str) -> bytes:
        """Read an extra file.

        Raises:
            BrokenVersion: it is not what was registered.
        """
        content = self._store.read(_path(record.name, record.stored_as(file)), MAX_EXTRA_BYTES)
        if content is None:
            raise self._broken(record.name, file, "it is missing")
        self._compare(record, file, hashlib.sha256(content).hexdigest())
        return content

    def verify(self, record: VersionRecord) -> Manifest:
        """Verify the hashes of all files that the engine needs; return its manifest.

        Raises:
            BrokenVersion: it is not what was registered.
        """
        for file in record.needed:
            self._compare(record, file, self._store.digest(_path(record.name, file)))
        return self.manifest(record)

    def measure(self, record: VersionRecord) -> Manifest:
        """Check only the sizes of the files that the engine needs; return its manifest.

        Raises:
            BrokenVersion: files are missing or cut short.
        """
        for file in record.needed:
            self._compare_size(record, file)
        return self.manifest(record)

    def put(self, offered: Registration) -> None:
        """Write the missing files, and last the record, which makes the version appear.

        Raises:
            RegistryAway: the upload failed; nothing new is visible.
        """
        record = offered.record
        for file in record.needed:
            self._put_file(record, file, offered.source(file))
        if offered.manifest is not None:
            self._store.write(_path(record.name, record.manifest), offered.manifest)
        for file, content in offered.extra.items():
            self._store.write(_path(record.name, record.stored_as(file)), content)
        self._store.write(_path(record.name, VERSION), write_record(record))

    def download(self, record: VersionRecord, home: Path) -> Path:
        """Copy a version to `home`, which no other process writes now; return the engine's path.

        Raises:
            BrokenVersion: the copy is not what was registered.
        """
        for file in record.needed:
            self._download_file(record, file, home / file)
        content = self._manifest_bytes(record)
        self._parse(record, content)
        write_atomic(home / record.manifest, content)
        write_atomic(home / VERSION, write_record(record))
        return home / record.engine

    def _put_file(self, record: VersionRecord, file: str, source: Path) -> None:
        path, wanted = _path(record.name, file), record.files[file].sha256
        if self._store.digest(path) == wanted:
            return
        self._store.upload(source, path)
        if self._store.digest(path) != wanted:
            raise RegistryAway(
                f"{source} arrived changed in the registry {self._where}: see that "
                "no program writes it, then register it again"
            )

    def _download_file(self, record: VersionRecord, file: str, target: Path) -> None:
        self._compare_size(record, file)
        clear_halves(target)
        half = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
        try:
            self._store.download(_path(record.name, file), half)
            self._compare(record, file, file_sha256(half))
            half.replace(target)
        finally:
            half.unlink(missing_ok=True)

    def _manifest_bytes(self, record: VersionRecord) -> bytes:
        content = self._store.read(_path(record.name, record.manifest), MAX_MANIFEST_BYTES)
        if content is None:
            raise self._broken(record.name, record.manifest, "it is missing")
        return content

    def _parse(self, record: VersionRecord, content: bytes) -> Manifest:
        try:
            manifest = parse_manifest(content, record.manifest)
        except ManifestError as error:
            raise self._broken(record.name, record.manifest, str(error)) from error
        if manifest_facts(manifest) != record.facts:
            raise self._broken(record.name, record.manifest, "its content differs")
        return manifest

    def _compare_size(self, record: VersionRecord, file: str) -> None:
        size, wanted = self._store.size(_path(record.name, file)), record.files[file].size
        if size is None:
            raise self._broken(record.name, file, "it is missing")
        if size != wanted:
            raise self._broken(record.name, file, f"{size} bytes, expected {wanted}")

    def _compare(self, record: VersionRecord, file: str, found: str | None) -> None:
        wanted = record.files[file].sha256
        if found is None:
            raise self._broken(record.name, file, "it is missing")
        if found != wanted:
            raise self._broken(
                record.name, file, f"sha256 {found[:12]}..., expected {wanted[:12]}..."
            )

    def _broken(self, name: str, file: str, how: str) -> BrokenVersion:
        return BrokenVersion(
            f"{file} of {name} in the registry {self._where} is not what was registered ({how}): "
            "register the engine again, with engine-registry add"
        )


def _path(name: str, file: str) -> str:
    return f"{VERSIONS}/{name}/{file}"
