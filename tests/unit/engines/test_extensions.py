"""Code of other packages is opened by what is installed, never by what a file says."""

import re
import sys
import threading
from pathlib import Path

import pytest

from engines.backends.fixed import FixedPlan, write_fixed_engine
from engines.errors import BackendError
from engines.extensions import BACKENDS, SOURCES, extension_names, find_extension
from engines.manifest import write_manifest
from engines.open import open_engine
from pipeline.camera.open import SourceOptions, open_source
from pipeline.errors import SettingsError

ENTRIES = """
[prn_line.sources]
belt = extension_of_test:open_belt
gone = extension_that_is_absent:open_belt

[prn_line.backends]
toy = extension_of_test:open_toy
"""
MODULE = """
from engines.backends.fixed import FixedEngine

def open_belt(rest, options, wait, clock, clock_ns):
    return ("belt", rest, options.rate)

class Toy:
    max_batch = 3
    def __init__(self, manifest):
        self.input_size = (manifest.height, manifest.width)
    def close(self):
        pass

def open_toy(path, manifest, cuda_index, threads):
    return Toy(manifest)
"""


def install(folder: Path, name: str, entries: str) -> None:
    about = folder / f"{name}-1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (about / "entry_points.txt").write_text(entries)


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "extension", ENTRIES)
    (tmp_path / "extension_of_test.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "extension_of_test", raising=False)


def test_source_of_an_installed_package_is_opened_with_what_follows_the_colon() -> None:
    options = SourceOptions(rate=3.0)
    assert open_source("belt:left:2", options, threading.Event().wait) == ("belt", "left:2", 3.0)


def test_source_that_nobody_offers_is_refused() -> None:
    with pytest.raises(SettingsError, match="no source 'pneumatic:1'"):
        open_source("pneumatic:1", SourceOptions(), threading.Event().wait)


def test_backend_of_an_installed_package_opens_its_suffix(tmp_path: Path) -> None:
    engine = tmp_path / "a.toy"
    manifest = write_fixed_engine(engine, FixedPlan(height=8, width=9))
    write_manifest(engine, manifest.model_copy(update={"format": "extension"}))
    with open_engine(engine) as opened:
        assert opened.engine.input_size == (8, 9)
        assert opened.backend == "toy (extension)"


def test_suffix_that_nobody_opens_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=re.escape(".fixed, .toy files")):
        open_engine(tmp_path / "a.unknown")


def test_file_cannot_bring_a_format_that_is_not_of_its_suffix(tmp_path: Path) -> None:
    engine = tmp_path / "a.toy"
    write_fixed_engine(engine, FixedPlan(height=8, width=9))
    with pytest.raises(Exception, match="says format fixed, the suffix says extension"):
        open_engine(engine)


def test_extension_that_does_not_import_is_named() -> None:
    with pytest.raises(BackendError, match=r"gone .* does not import"):
        find_extension(SOURCES, "gone")


def test_name_that_two_packages_offer_is_refused(tmp_path: Path) -> None:
    install(tmp_path, "other", "[prn_line.backends]\ntoy = elsewhere:open\n")
    assert extension_names(BACKENDS).count("toy") == 2
    with pytest.raises(BackendError, match="offered by elsewhere:open and extension_of_test"):
        find_extension(BACKENDS, "toy")
