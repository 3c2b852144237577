"""What a worker asks of a registry of engines, and what it keeps for the day that it is away."""

import logging
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from engines.errors import EngineError
from engines.files import read_file, write_atomic
from engines.registry.records import latest_promotions
from pipeline.errors import SettingsError

COPIES_KEPT = 4  # that a line served last
_NOTE = ".serves"  # one version a line, the latest last
_MAX_NOTE_BYTES = 4096
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}")  # a folder's name, and no other path
_log = logging.getLogger(__name__)


class PromotedVersion(Protocol):
    """Which version is in force."""

    @property
    def promoted(self) -> str:
        """The version in force."""
        ...

    @property
    def at(self) -> str:
        """Since when; tells one promotion of a version from the next."""
        ...


class EngineRegistry(Protocol):
    """Where engines come from; `engines.registry.registry.Registry` is one."""

    def pointer(self) -> PromotedVersion | None:
        """Return the promoted version, or None if none was ever promoted."""
        ...

    def history(self) -> Sequence[PromotedVersion]:
        """Return the last promotions, newest first; the first is in force."""
        ...

    def fetch(self, name: str, folder: Path) -> Path:
        """Copy a version into a folder, verified; gives the engine file."""
        ...

    def refuse(self, name: str, promoted_at: str, why: str, by: str) -> None:
        """Note that a line refused a promotion: no rollback lands on it."""
        ...


@dataclass(frozen=True, slots=True)
class PromotionRef:
    """One step of the registry's pointer."""

    version: str
    at: str = ""


class EngineSource:
    """A registry as one line's workers see it, with the copies that they fetched."""

    def __init__(self, registry: EngineRegistry, cache: Path, line: str) -> None:
        self._registry = registry
        self._cache = cache
        self._line = line
        self._note = cache / f"{line}{_NOTE}"

    def promoted(self) -> PromotionRef | None:
        """What is in force.

        Raises:
            EngineError: the registry is away, or its pointer is broken.
        """
        pointer = self._registry.pointer()
        return None if pointer is None else PromotionRef(pointer.promoted, pointer.at)

    def fetch(self, version: str) -> Path:
        """Copy a version to this machine, verified.

        Raises:
            EngineError: it is away, unknown or broken.
        """
        self._cache.mkdir(parents=True, exist_ok=True)
        return self._registry.fetch(version, self._cache)

    def remember(self, version: str) -> None:
        """Note what this line serves, for a start while the registry is away.

        What no line has served lately is removed from this machine; the registry has it.
        """
        served = [*(known for known in self._served() if known != version), version]
        try:
            self._cache.mkdir(parents=True, exist_ok=True)
            write_atomic(self._note, "\n".join(served[-COPIES_KEPT:]).encode())
        except OSError as error:
            _log.warning("engine.not_noted", extra={"version": version, "why": str(error)})
            return
        kept = {known for note in self._cache.glob(f"*{_NOTE}") for known in _read_note(note)}
        for known in served[:-COPIES_KEPT]:
            if known not in kept:
                shutil.rmtree(self._cache / known, ignore_errors=True)

    def refuse(self, promotion: PromotionRef, why: str, worker: str) -> None:
        """Note in the registry that this line refused a promotion, where it may be written."""
        try:
            by = f"{self._line}, {worker}"
            self._registry.refuse(promotion.version, promotion.at, why, by)
        except EngineError as error:
            do = "do not roll back to it; let the worker write refusals/ in the registry"
            extra = {"version": promotion.version, "why": str(error), "do": do}
            _log.warning("registry.refusal_not_noted", extra=extra)

    def start_candidates(self) -> list[PromotionRef]:
        """What a worker may start with, each version's latest promotion, newest first.

        Raises:
            SettingsError: the registry has never promoted anything.
            EngineError: it is away, and nothing of it was ever served here.
        """
        try:
            history = self._registry.history()
        except EngineError as error:
            served = self._served()
            if not served:
                raise
            _log.warning("registry.away", extra={"why": str(error), "taken": "what served last"})
            return [PromotionRef(version) for version in reversed(served)]
        if not history:
            raise SettingsError("the registry has no promoted version: engine-registry promote one")
        latest = latest_promotions(history)
        return [PromotionRef(pointer.promoted, pointer.at) for pointer in latest]

    def _served(self) -> list[str]:
        return _read_note(self._note)


def _read_note(note: Path) -> list[str]:
    try:
        lines = read_file(note, _MAX_NOTE_BYTES).decode().splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    return [line for line in lines if _VERSION.fullmatch(line)]
