"""The version in force, and the promotions that lines refused.

`promoted.json` is read and replaced in one step. A worker writes `refusals/VERSION.json` if its
line refused the promotion on live frames.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from engines.errors import RegistryAway
from engines.registry.records import (
    HISTORY,
    MAX_RECORD_BYTES,
    PROMOTED,
    REFUSALS,
    Pointer,
    PromotedRecord,
    RefusalRecord,
    is_version_name,
    parse_record,
    write_record,
)
from engines.registry.store import Store

_BY_CHARACTERS = 200
_WORDS_CHARACTERS = 400


class Promotions:
    """The pointer of a registry."""

    def __init__(self, store: Store, where: str) -> None:
        self._store = store
        self._where = where
        self._seen = False  # once seen, its absence means that the registry is away

    def read(self) -> PromotedRecord | None:
        """Return the pointer, or None if nothing was promoted yet.

        Raises:
            RegistryAway: it cannot be read, is damaged, or has disappeared.
        """
        content = self._store.read(PROMOTED, MAX_RECORD_BYTES)
        if content is None:
            if self._seen:
                raise RegistryAway(
                    f"the registry {self._where} was here and is gone: see that it is mounted, "
                    "then try again"
                )
            return None
        try:
            promoted = parse_record(PromotedRecord, content)
        except ValueError as error:
            raise RegistryAway(
                f"{PROMOTED} of the registry {self._where} is damaged ({error}): put a good copy "
                "there, or remove it and promote again"
            ) from error
        self._seen = True
        return promoted

    def point(self, choose: Callable[[PromotedRecord | None], str], by: str) -> Pointer:
        """Put the version in force that `choose` returns for the promotions so far.

        If that version is in force already, nothing is written. If `choose` raises, nothing
        changes.
        """
        with self._store.locked("promote"):
            promoted = self.read()
            now = promoted.in_force if promoted else None
            name = choose(promoted)
            if now is not None and now.promoted == name:
                return now
            who = " ".join(by.split())[:_BY_CHARACTERS]
            at = datetime.now(UTC).isoformat(timespec="microseconds")
            pointer = Pointer(name, now.promoted if now else None, who, at)
            earlier = [promoted.in_force, *promoted.earlier][:HISTORY] if promoted else []
            record = PromotedRecord(in_force=pointer, earlier=earlier)
            self._store.write(PROMOTED, write_record(record))
        self._seen = True
        return pointer


class Refusals:
    """The files under `refusals/`: the latest refusal of each version."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, name: str, promoted_at: str, why: str, by: str) -> None:
        """Record that one promotion of a version was refused."""
        record = RefusalRecord(
            version=name,
            promoted_at=promoted_at,
            why=why[:_WORDS_CHARACTERS].encode(errors="replace").decode(),
            by=by[:_WORDS_CHARACTERS],
            at=datetime.now(UTC).isoformat(timespec="microseconds"),
        )
        with self._store.locked("refuse"):
            self._store.write(_path(name), write_record(record))

    def hit(self, pointer: Pointer) -> bool:
        """Return whether this promotion was refused; an unreadable record counts as no."""
        if not is_version_name(pointer.promoted):
            return False
        content = self._store.read(_path(pointer.promoted), MAX_RECORD_BYTES)
        if content is None:
            return False
        try:
            return parse_record(RefusalRecord, content).promoted_at == pointer.at
        except ValueError:
            return False


def _path(name: str) -> str:
    return f"{REFUSALS}/{name}.json"
