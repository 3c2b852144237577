"""Damaged manifests and records of a registry: read whole, or refused in one sentence."""

import json
import sys
import tempfile
from pathlib import Path

from fakes.registry import GATE
from fakes.tiny_engine import write_tiny_engine, write_unadmitted_engine

from engines.admission.timing import CostCurve
from engines.errors import ManifestError
from engines.manifest import manifest_path, parse_manifest
from engines.registry.records import (
    PromotedRecord,
    RefusalRecord,
    VersionRecord,
    manifest_facts,
    parse_record,
    version_name,
    write_record,
)
from engines.registry.registry import Registry
from fuzz.mutation import run_target

RECORDS = (VersionRecord, PromotedRecord, RefusalRecord)
WORDS = [
    *(b"null", b"true", b"NaN", b"-Infinity", b"1e999", b"-0.0", b"1e-320", b"9" * 400),
    *(b'"\\ud800"', b'"\\u0000"', b'"\xff"', b"{}", b"[]", b'""', b"\xef\xbb\xbf", b"\x00"),
    *(b"[" * 1500, b'{"a":' * 1500, b'"format": "fixed"', b'"admitted": true', b'"cost": []'),
    *(b'"schema_version": 2', b'"sha256"', b"../", b'"../../version.json"', b"1" * 5000),
]


def corpus() -> list[bytes]:
    """Manifests with and without admission, and the records of a registry that was used."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        registry = Registry(str(folder / "registry"))
        names = []
        for salt in range(2):
            write_tiny_engine(folder / f"{salt}.onnx", salt=salt)
            added = registry.register(folder / f"{salt}.onnx", {"gate.json": GATE})
            names.append(added.name)
            registry.promote(added.name, "anna")
        registry.refuse(names[-1], registry.history()[0].at, "more parts are NG", "line-1, w")
        write_unadmitted_engine(folder / "plain.onnx")
        files = [
            manifest_path(folder / "0.onnx"),
            manifest_path(folder / "plain.onnx"),
            *(path for path in (folder / "registry").rglob("*.json") if "gate" not in path.name),
        ]
        return [_compact(path) for path in files]


def _compact(path: Path) -> bytes:
    return json.dumps(json.loads(path.read_bytes())).encode()


def check(content: bytes) -> None:
    """Read the content as everything that it may be taken for."""
    try:
        manifest = parse_manifest(content, "fuzzed.json")
    except ManifestError as error:
        _check_sentence(str(error))
    else:
        version_name(manifest)
        manifest_facts(manifest)
        again = parse_manifest(manifest.model_dump_json().encode(), "again.json")
        assert again == manifest
        assert not (manifest.format == "fixed" and manifest.is_admitted)
        if manifest.admission is not None:
            CostCurve.through(manifest.admission.cost)
    for kind in RECORDS:
        try:
            record = parse_record(kind, content)
        except ValueError as error:
            _check_sentence(str(error))
            continue
        assert parse_record(kind, write_record(record)) == record


def _check_sentence(sentence: str) -> None:
    """A refusal is shown to a person: short, and it can be printed."""
    assert len(sentence.encode()) < 2000, f"{len(sentence)} characters"


if __name__ == "__main__":
    sys.exit(run_target(check, corpus(), WORDS, __doc__))
