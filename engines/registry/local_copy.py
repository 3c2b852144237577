"""A version's copy on the machine that serves it, usable without the registry.

The copy's manifest may have a newer admission: `engine-admit` writes one for this machine into it,
or it comes from the registry later. Everything else must be what was registered.
"""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from engines.errors import EngineError, ManifestError
from engines.files import file_sha256, read_file
from engines.machine import machine_name
from engines.manifest import (
    Manifest,
    manifest_path,
    read_manifest,
    read_manifest_file,
    write_manifest,
)
from engines.registry.records import (
    MAX_RECORD_BYTES,
    VERSION,
    VersionRecord,
    manifest_facts,
    parse_record,
)


def whole_copy(home: Path) -> Path | None:
    """Return the engine file of the copy in `home`, named like its version, or None if broken.

    Every byte is hashed.
    """
    try:
        record = parse_record(VersionRecord, read_file(home / VERSION, MAX_RECORD_BYTES))
        if record.name != home.name or not _holds(home, record):
            return None
    except (OSError, ValueError, ManifestError):
        return None  # fetched again
    return home / record.engine


def take_admission(engine: Path, registered: Callable[[], Manifest]) -> None:
    """Add the registered admission to a copy that lacks one, if it is of this machine.

    If the registry is away, or the copy cannot be written, nothing changes.
    """
    with suppress(EngineError, OSError):
        path = manifest_path(engine)
        here, copied = machine_name(), read_manifest_file(path)
        if copied.admission is not None and copied.admission.machine == here:
            return
        admission = registered().admission
        if admission is not None and admission.machine == here:
            write_manifest(engine, copied.model_copy(update={"admission": admission}))


def _holds(home: Path, record: VersionRecord) -> bool:
    engine = home / record.engine
    if not manifest_path(engine).is_file():
        return False
    manifest = read_manifest(engine)
    return manifest_facts(manifest) == record.facts and all(
        file_sha256(home / name) == record.files[name].sha256 for name in record.needed
    )
