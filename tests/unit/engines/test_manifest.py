import json
from pathlib import Path

import pytest
from inputs.odd_files import make_odd

from engines.backends.fixed import FixedPlan, write_fixed_engine
from engines.errors import ManifestError
from engines.manifest import (
    Thresholds,
    manifest_path,
    parse_manifest,
    read_manifest,
    write_manifest,
)
from engines.zones.schema import Zone, ZoneSet


@pytest.mark.parametrize("content", [b"[" * 200_000, b'{"schema_version":' * 200_000, b"[]"])
def test_manifest_that_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(ManifestError):
        parse_manifest(content, "m.json")


@pytest.mark.parametrize("kind", ["fifo", "loop", "/dev/zero", "folder"])
def test_manifest_that_is_no_file_holds_nobody_up(tmp_path: Path, kind: str) -> None:
    engine = tmp_path / "e.fixed"
    write_fixed_engine(engine, FixedPlan(height=8, width=8))
    manifest_path(engine).unlink()
    make_odd(kind, manifest_path(engine))
    with pytest.raises(ManifestError):
        read_manifest(engine)


def test_endless_manifest_is_read_no_further_than_its_limit(tmp_path: Path) -> None:
    engine = tmp_path / "e.fixed"
    write_fixed_engine(engine, FixedPlan(height=8, width=8))
    with manifest_path(engine).open("r+b") as file:
        file.truncate(1 << 40)
    with pytest.raises(ManifestError, match="limit"):
        read_manifest(engine)


def test_engine_without_zones_has_a_manifest_that_earlier_programs_take(tmp_path: Path) -> None:
    engine = tmp_path / "e.fixed"
    made = write_fixed_engine(engine, FixedPlan(height=8, width=8))
    thresholds = Thresholds(image=0.5, pixel=0.4, method="m", normals=3, peak=0.7)
    manifest = made.model_copy(update={"thresholds": thresholds})
    fields = json.loads(write_manifest(engine, manifest).read_text())
    assert "zones" not in fields
    assert "peak" not in fields["thresholds"]
    assert fields["settings"]["peak_threshold"] == 0.7
    assert read_manifest(engine).peak_threshold == 0.7


def test_zones_of_a_training_are_read_back_from_its_manifest(tmp_path: Path) -> None:
    engine = tmp_path / "e.fixed"
    made = write_fixed_engine(engine, FixedPlan(height=8, width=8))
    zones = ZoneSet(zones=(Zone(name="screw", kind="ignore", points=((0, 0), (1, 0), (1, 1))),))
    write_manifest(engine, made.model_copy(update={"zones": zones}))
    assert read_manifest(engine).zones == zones
    path = manifest_path(engine)
    path.write_text(path.read_text().replace('"ignore"', '"skip"'))
    with pytest.raises(ManifestError, match="zones"):
        read_manifest(engine)
