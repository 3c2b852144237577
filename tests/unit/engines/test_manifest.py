from pathlib import Path

import pytest
from inputs.odd_files import make_odd

from engines.backends.fixed import FixedPlan, write_fixed_engine
from engines.errors import ManifestError
from engines.manifest import manifest_path, parse_manifest, read_manifest


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
