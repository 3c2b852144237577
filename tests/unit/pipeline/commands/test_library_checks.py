import sys
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement

from pipeline.commands.library_checks import (
    base_requirements,
    check_base,
    check_extras,
    check_names,
)
from pipeline.commands.machine_checks import CheckStatus

LINES = [
    "numpy>=2.0",
    "redis[hiredis]>=6.2",
    "pywin32; sys_platform == 'win32'",
    "pytest; extra == 'camera'",
    "prn-line[camera]; extra == 'worker'",
    "no-such-runtime>=1; extra == 'worker'",
    "no-such-reader; sys_platform == 'win32' and extra == 'camera'",
]


def test_base_is_what_holds_on_this_system_without_an_extra() -> None:
    assert [one.name for one in base_requirements(LINES)] == ["numpy", "redis"]


def test_extras_name_what_they_lack_and_how_to_get_it() -> None:
    check = check_extras(LINES, ["camera", "worker"])
    assert check.state is CheckStatus.OK
    assert check.found == (
        "installed: camera; not installed: worker (without no-such-runtime): "
        "pip install 'prn-line[EXTRA]'"
    )


def test_extra_within_an_extra_is_looked_at() -> None:
    lines = ["prn-line[camera]; extra == 'worker'", "no-such-lens; extra == 'camera'"]
    assert "worker (without no-such-lens)" in check_extras(lines, ["worker"]).found


def test_libraries_that_are_well_make_one_line() -> None:
    (check,) = check_base([Requirement("numpy>=2.0"), Requirement("msgpack")], {})
    assert check.state is CheckStatus.OK
    assert check.found.startswith("numpy 2.")
    assert ", msgpack 1." in check.found


def test_library_is_imported_by_the_names_of_its_modules() -> None:
    owners = {"yaml": ["PyYAML"], "_yaml": ["PyYAML"], "not.a.module": ["PyYAML"]}
    (check,) = check_base([Requirement("pyyaml>=1")], owners)
    assert check.state is CheckStatus.OK
    assert check.found.startswith("pyyaml ")


def test_library_that_does_not_import_is_a_failure_with_a_remedy() -> None:
    wrong, _ = check_base([Requirement("no-such-library[fast]>=2")], {})
    assert (wrong.what, wrong.state) == ("library no-such-library", CheckStatus.FAILURE)
    assert wrong.found.endswith("pip install 'no-such-library[fast]>=2'")


def test_library_that_is_too_old_is_a_failure() -> None:
    wrong, _ = check_base([Requirement("numpy>=99")], {})
    assert wrong.state is CheckStatus.FAILURE
    assert wrong.found.endswith(" is installed: pip install 'numpy>=99'")


def test_distribution_with_a_package_of_our_name_is_a_stranger() -> None:
    owners = {"trainer": ["prn_line", "trainer"], "engines": ["prn-line"], "numpy": ["numpy"]}
    (check,) = check_names(owners)
    assert (check.what, check.state) == ("package trainer", CheckStatus.FAILURE)
    assert check.found.startswith("trainer has a package of this name too: ")


def test_names_without_a_stranger_say_nothing() -> None:
    assert check_names({"trainer": ["prn-line"], "pipeline": ["PRN_line", "prn-line"]}) == []


def test_stranger_is_seen_in_the_metadata_of_a_folder(tmp_path: Path) -> None:
    described = tmp_path / "coqui_trainer-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: coqui-trainer\nVersion: 1\n")
    (described / "top_level.txt").write_text("trainer\n")
    sys.path.append(str(tmp_path))
    try:
        checks = check_names(packages_distributions())
    finally:
        sys.path.remove(str(tmp_path))
    assert [check.what for check in checks] == ["package trainer"]
    assert "coqui-trainer" in checks[0].found
