"""`refusals/VERSION.json`: a promotion that a line refused on live frames, told by its worker."""

from datetime import UTC, datetime

from engines.registry.records import (
    MAX_RECORD_BYTES,
    REFUSALS,
    Pointer,
    RefusalRecord,
    is_version_name,
    parse_record,
    write_record,
)
from engines.registry.store import Store

_WORDS_CHARACTERS = 400


class Refusals:
    """What stands under `refusals/`: the latest refusal of each version."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def put(self, name: str, promoted_at: str, why: str, by: str) -> None:
        """Note that one promotion of a version was refused."""
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
        """Whether this very promotion was refused; what cannot be read says nothing."""
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
