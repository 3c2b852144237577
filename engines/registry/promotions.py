"""`promoted.json`: which version is in force, read and replaced in one step."""

from collections.abc import Callable
from datetime import UTC, datetime

from engines.errors import RegistryAway
from engines.registry.records import (
    HISTORY,
    MAX_RECORD_BYTES,
    PROMOTED,
    Pointer,
    PromotedRecord,
    parse_record,
    write_record,
)
from engines.registry.store import Store

_BY_CHARACTERS = 200


class Promotions:
    """The pointer of one registry."""

    def __init__(self, store: Store, where: str) -> None:
        self._store = store
        self._where = where
        self._seen = False  # from then on its absence means that the registry is away

    def read(self) -> PromotedRecord | None:
        """Read the pointer; None where nothing was promoted yet.

        Raises:
            RegistryAway: it cannot be read, is damaged, or was there earlier.
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
        """Put what `choose` names, given the promotions so far, into force.

        Where that is in force already, nothing is written. What `choose` raises changes nothing.
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
