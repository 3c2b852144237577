"""The registry: the engines that may serve, and the one in force.

A version appears completely or not at all. Only its admission and added reports ever change.
`promoted.json` names the version in force and is replaced in one step. A worker that cannot read
it, or cannot fetch that version, keeps serving its active engine.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from engines.errors import BrokenVersion, NotAdmitted, Overtaken, RegistryAway, UnknownVersion
from engines.files import file_locked, write_atomic
from engines.manifest import Manifest, read_manifest
from engines.registry.local_copy import take_admission, whole_copy
from engines.registry.promotions import Promotions, Refusals
from engines.registry.records import (
    Pointer,
    PromotedRecord,
    Version,
    VersionRecord,
    is_version_name,
    latest_promotions,
    version_name,
)
from engines.registry.registration import prepare
from engines.registry.store import Store, open_store
from engines.registry.versions import Versions

BESIDE = frozenset({"seen.json"})  # extra files that are copied too
_NO_EXTRA: Mapping[str, bytes] = MappingProxyType({})


class Registry:
    """Versions and the pointer, in a folder or at a URL; nothing is read until it is needed."""

    def __init__(self, url: str, store: Store | None = None) -> None:
        """Open the registry without reading it.

        Args:
            url: a folder, or an fsspec URL such as `s3://bucket/registry`.
            store: used in place of the store of `url`.

        Raises:
            RegistryError: the URL is invalid, holds a secret, or needs a package.
        """
        self.url = url
        self._store = store or open_store(url)
        self._versions = Versions(self._store, url)
        self._promotions = Promotions(self._store, url)
        self._refusals = Refusals(self._store)

    def versions(self) -> list[Version]:
        """Return the versions, oldest first, without those whose record is damaged."""
        return self.survey()[0]

    def survey(self) -> tuple[list[Version], list[str]]:
        """Return the versions, oldest first, and the names of those whose record is damaged."""
        records, damaged = self._versions.survey()
        if not records:
            self._promotions.read()  # distinguishes an empty registry from a missing one
        return [record.version() for record in records], damaged

    def version(self, name: str) -> Version:
        """Return a version.

        Raises:
            UnknownVersion: it does not exist, or is not complete yet.
            BrokenVersion: its record cannot be read.
        """
        return self._record(name).version()

    def manifest(self, name: str) -> Manifest:
        """Read a version's manifest.

        Raises:
            UnknownVersion: there is no version of that name.
            BrokenVersion: it is not what was registered.
        """
        with self._told_apart():
            return self._versions.manifest(self._record(name))

    def read(self, name: str, file: str) -> bytes:
        """Read an extra file of a version, such as `gate.json`.

        Raises:
            UnknownVersion: no such version, or it has no such file.
            BrokenVersion: it is not what was registered.
        """
        record = self._record(name)
        extra = record.extra
        if file not in extra:
            raise UnknownVersion(
                f"{name} has no file {file!r:.60}: it has {', '.join(extra) or 'no extra file'}"
            )
        with self._told_apart():
            return self._versions.read(record, file)

    def pointer(self) -> Pointer | None:
        """Return the pointer, or None if nothing was promoted yet.

        Raises:
            RegistryAway: it cannot be read, is damaged, or has disappeared.
        """
        promoted = self._promotions.read()
        return promoted.in_force if promoted else None

    def history(self) -> list[Pointer]:
        """Return the last promotions, newest first; the first is in force."""
        promoted = self._promotions.read()
        return [promoted.in_force, *promoted.earlier] if promoted else []

    def standing(self) -> Pointer | None:
        """Return the newest promotion that no line refused, which is what lines serve.

        If all were refused, return the one in force. Return None if nothing was promoted yet.
        """
        return self._standing(self.history())

    def is_refused(self, promotion: Pointer) -> bool:
        """Return whether a line refused this promotion on live frames."""
        return self._refusals.hit(promotion)

    def refuse(self, name: str, promoted_at: str, why: str, by: str) -> None:
        """Record that a line refused a promotion on live frames, so that no rollback selects it.

        Args:
            name: the version.
            promoted_at: the promotion's time, from the pointer.
            why: the reason.
            by: line and worker.

        Raises:
            UnknownVersion: there is no version of that name.
            RegistryAway: the registry cannot be written now.
        """
        self._refusals.put(self._record(name).name, promoted_at, why, by)

    def register(self, engine: Path, extra: Mapping[str, bytes] = _NO_EXTRA) -> Version:
        """Add an engine file, its manifest, a plan's kernels, and `extra` files by name.

        An engine that is registered already is verified, and uploaded again if it is damaged. Its
        extra files are added or replaced, and so is its admission, if `engine` has one.

        Raises:
            ManifestError: engine, kernels and manifest do not fit each other.
            RegistryError: a file has a wrong name or is too large.
            RegistryAway: nothing new is visible; try again.
        """
        name = version_name(read_manifest(engine))
        if self._promotions.read() is None:  # a registry that disappeared is not created anew
            self._store.begin()
        with self._store.locked("register"):
            known = self._versions.sound(name)
            kept = self._versions.manifest(known) if known else None
            created = datetime.now(UTC).isoformat(timespec="microseconds")
            offered = prepare(engine, extra, created, known, kept)
            self._versions.put(offered)
        return offered.record.version()

    def promote(self, name: str, by: str, expected: Collection[str | None] = ()) -> Pointer:
        """Put an admitted version in force after verifying all its bytes.

        If it is in force already, nothing changes.

        Args:
            name: the version.
            by: who promotes it, for the history.
            expected: the versions that lines may serve now besides `name`, as `standing` returns
                them; None in it means no version. Empty accepts any.

        Raises:
            UnknownVersion: there is no version of that name.
            BrokenVersion: it is not what was registered; nothing changed.
            NotAdmitted: no machine admitted it; nothing changed.
            Overtaken: lines serve none of `expected`; nothing changed.
            RegistryAway: nothing changed, or at a URL perhaps everything: read `pointer`.
        """
        with self._told_apart():
            self._check_admitted(name, self._versions.verify(self._record(name)))

        def choose(promoted: PromotedRecord | None) -> str:
            now = self._standing([promoted.in_force, *promoted.earlier] if promoted else [])
            in_force = now.promoted if now else None
            if expected and in_force not in {name, *expected}:
                wanted = " or ".join(each or "no version" for each in expected)
                raise Overtaken(
                    f"{in_force or 'no version'} is in force in the registry {self.url}, expected "
                    f"{wanted}: compare {name} with the version in force"
                )
            # looked up again under the lock: the folder may have been replaced
            return self._record(name).name

        return self._promotions.point(choose, by)

    def rollback(self, by: str) -> Pointer:
        """Put the previous version in force again; a second rollback undoes the first.

        It is the newest earlier version that a machine admitted and no line refused since its last
        promotion. Only the sizes of its files are checked, to be fast: workers hash what they
        fetch.

        Raises:
            UnknownVersion: there is no earlier version that is admitted and was not refused.
            BrokenVersion: files of it are missing or cut short; nothing changed.
            RegistryAway: as in `promote`.
        """
        with self._told_apart():
            return self._promotions.point(self._before, by)

    def fetch(self, name: str, folder: Path) -> Path:
        """Copy engine, kernels and manifest to `folder/name`, verified; return the engine's path.

        The record of the pictures that it was trained on (`BESIDE`) is copied too, if it is intact.

        An existing intact copy is used, with the admission that this machine may have written into
        it. The registry is asked for an admission only if the copy has none of this machine.
        Processes may share `folder`.

        Raises:
            UnknownVersion: there is no version of that name.
            BrokenVersion: the copy is not what was registered.
            RegistryAway: the registry cannot be read, or `folder` cannot be written.
        """
        if not is_version_name(name):
            raise self._unknown(name)
        home = folder / name
        if (engine := whole_copy(home)) is not None:
            take_admission(engine, lambda: self.manifest(name))
            return engine
        record = self._record(name)
        try:
            home.mkdir(parents=True, exist_ok=True)
            with file_locked(home / ".lock"), self._told_apart():
                return whole_copy(home) or self._download(record, home)
        except OSError as error:
            raise RegistryAway(
                f"{name} cannot be copied to {home}: {error}: see that it is writable and not "
                "full, then try again"
            ) from error

    def _download(self, record: VersionRecord, home: Path) -> Path:
        for file in BESIDE.intersection(record.extra):
            with suppress(BrokenVersion):  # a line does not need it
                write_atomic(home / file, self._versions.read(record, file))
        return self._versions.download(record, home)

    def _standing(self, history: list[Pointer]) -> Pointer | None:
        promotions = latest_promotions(history)
        sound = (pointer for pointer in promotions if not self._refusals.hit(pointer))
        return next(sound, promotions[0] if promotions else None)

    def _before(self, promoted: PromotedRecord | None) -> str:
        if promoted is None or not promoted.earlier:
            raise UnknownVersion(
                f"the registry {self.url} had no version in force before "
                f"{promoted.in_force.promoted if promoted else 'this'}: promote one by name"
            )
        for pointer in latest_promotions([promoted.in_force, *promoted.earlier])[1:]:
            if not self._refusals.hit(pointer):
                record = self._record(pointer.promoted)
                if self._versions.measure(record).is_admitted:
                    return record.name
        raise UnknownVersion(
            f"every version that was in force before {promoted.in_force.promoted} in the registry "
            f"{self.url} was refused on live frames or is not admitted on any machine: promote one "
            "by name"
        )

    def _check_admitted(self, name: str, manifest: Manifest) -> None:
        if manifest.format == "fixed":
            raise NotAdmitted(
                f"{name} is a fixed engine, which judges without looking at parts: a registry "
                "never promotes one; serve it by hand in tests, with pipeline-worker --engine"
            )
        if not manifest.is_admitted:
            raise NotAdmitted(
                f"{name} is not admitted on any machine: run engine-admit on its engine file, then "
                "engine-registry add to bring the admission here"
            )

    @contextmanager
    def _told_apart(self) -> Iterator[None]:
        """Distinguish a version with missing files from a registry that is gone."""
        try:
            yield
        except BrokenVersion:
            self._promotions.read()
            raise

    def _record(self, name: str) -> VersionRecord:
        record = self._versions.look(name)
        if record is None:
            self._promotions.read()  # distinguishes an unknown version from a missing registry
            raise self._unknown(name)
        return record

    def _unknown(self, name: str) -> UnknownVersion:
        return UnknownVersion(
            f"the registry {self.url} holds no version {name!r:.90}: engine-registry list shows "
            "what it holds"
        )
