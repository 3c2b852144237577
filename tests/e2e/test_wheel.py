"""The wheel in an empty environment, as `pip install prn-line` gives it: size, types, commands."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from rigs.base_install import ROOT
from rigs.missing import missing

MOST_MB = 120.0  # of 2**20 bytes on disk, as `du -m` counts them
PACKAGES = ("engines", "pipeline", "trainer")
PROGRAM = ROOT / "tests" / "programs" / "plc_program.py"
WRONG = """
from pipeline.consumer import Consumer

with Consumer(line=1, program="plc") as verdicts:
    for verdict in verdicts:
        verdict.decision.bit_length()
"""


def pip(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=clean())


@pytest.fixture(scope="session")
def network() -> None:
    """An index of packages that answers."""
    asked = pip("install", "--dry-run", "--ignore-installed", "--no-deps", "--quiet", "packaging")
    if asked.returncode != 0:
        last = asked.stderr.strip().rpartition("\n")[2]
        missing(f"no package index to install the wheel from: {last}")


@pytest.fixture(scope="session")
def wheel(network: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this working tree."""
    del network
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    done = pip("wheel", "--no-deps", "--quiet", f"--wheel-dir={built}", str(source))
    assert done.returncode == 0, done.stderr
    (path,) = built.iterdir()
    return path


@pytest.fixture(scope="session")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and what it needs, and without pip."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    done = pip("--python", str(folder / "bin" / "python"), "install", "--quiet", str(wheel))
    assert done.returncode == 0, done.stderr
    return folder


def site_packages(environment: Path) -> Path:
    (found,) = (environment / "lib").glob("python3.*/site-packages")
    return found


def clean() -> dict[str, str]:
    """This process's environment without what would bring the working tree in."""
    return {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}


def run(environment: Path, command: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [environment / "bin" / command, *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=environment,
        env=clean(),
    )


def test_install_is_small(environment: Path) -> None:
    sizes = {
        path: sum(file.stat().st_blocks * 512 for file in path.rglob("*") if file.is_file())
        for path in site_packages(environment).iterdir()
    }
    total_mb = sum(sizes.values()) / 2**20
    largest = sorted(sizes, key=lambda path: -sizes[path])[:8]
    assert total_mb < MOST_MB, [f"{path.name} {sizes[path] / 2**20:.1f}" for path in largest]


def test_wheel_holds_what_is_no_python(environment: Path) -> None:
    inside = site_packages(environment)
    for package in PACKAGES:
        assert (inside / package / "py.typed").is_file()
        others = {
            path.relative_to(ROOT)
            for path in (ROOT / package).rglob("*")
            if path.is_file() and path.suffix not in {".py", ".pyc"}
        }
        assert [path for path in others if not (inside / path).is_file()] == []


@pytest.mark.parametrize("command", ["engine-registry", "pipeline-consume", "trainer-train"])
def test_command_says_its_release(environment: Path, command: str) -> None:
    shown = run(environment, command, "--version")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith(f"{command} 0.")


def test_doctor_finds_the_base_complete(environment: Path, tmp_path: Path) -> None:
    if shutil.which("redis-server") is None:
        missing("no redis-server for the doctor to look at: install it")
    shown = run(environment, "pipeline-doctor", "--json", "--state-dir", str(tmp_path))
    checks = {check["what"]: check for check in json.loads(shown.stdout)["checks"]}
    assert shown.returncode == 0, shown.stdout
    assert "numpy" in checks["libraries"]["found"]
    assert checks["extras"]["found"].startswith("installed: none; not installed: all (without ")


def test_worker_names_the_extra_that_it_needs(environment: Path) -> None:
    ended = run(environment, "pipeline-worker", "--engine", "x.onnx")
    assert ended.returncode == 2
    assert ended.stderr == (
        "pipeline-worker: cv2 is not installed: pip install 'prn-line[worker]'\n"
    )


def test_program_of_others_is_typed(environment: Path, tmp_path: Path) -> None:
    program = tmp_path / "plc_program.py"
    shutil.copy(PROGRAM, program)
    status, said = check_types(environment, program)
    assert (status, said) == (0, ""), said


def test_mistakes_of_a_program_are_found(environment: Path, tmp_path: Path) -> None:
    program = tmp_path / "wrong.py"
    program.write_text(WRONG)
    status, said = check_types(environment, program)
    assert status == 1
    assert 'Argument "line" to "Consumer" has incompatible type "int"' in said
    assert '"Decision" has no attribute "bit_length"' in said


def check_types(environment: Path, program: Path) -> tuple[int, str]:
    python = environment / "bin" / "python"
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--no-error-summary"]
    command += [f"--python-executable={python}", f"--cache-dir={program.parent / 'cache'}"]
    done = subprocess.run(
        [*command, program.name],
        capture_output=True,
        text=True,
        check=False,
        cwd=program.parent,
        env={name: text for name, text in clean().items() if name != "MYPYPATH"},
    )
    assert done.stderr == ""
    return done.returncode, done.stdout
