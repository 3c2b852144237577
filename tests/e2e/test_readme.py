import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
COMMANDS = Path(sys.executable).parent
STEPS = "8"  # of the demo's PRN, whose training is minutes long: what is tested here is the way
SCRIPTS = sorted(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"])
PAGES = [
    README,
    *((ROOT / "docs" / name).read_text("utf-8") for name in ("learning.md", "operations.md")),
]
MOST_LINES = 120
BLOCK = re.compile(r"```(sh|python)\n(.*?)```", re.DOTALL)


def blocks() -> list[tuple[str, str]]:
    """The commands of the pages in order, without the two that make this very run."""
    found = [(kind, text) for page in PAGES for kind, text in BLOCK.findall(page)]
    assert [text for _, text in found[:2]] == ["make demo\n", "make test\n"]
    return found[2:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readme")


def environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PATH": f"{COMMANDS}{os.pathsep}{os.environ['PATH']}",
        "PRN_STATE_DIR": str(folder / "state"),
        "PRN_LOG_FORMAT": "json",
    }


def run_with_all_it_starts(
    command: list[str], cwd: Path, env: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run a command; whatever it started in the background ends with it, or with this test."""
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            said, complained = process.communicate()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(command, process.returncode, said, complained)


@pytest.mark.timeout(1200)  # three minutes where nothing else runs
def test_every_command_of_the_readme_works_in_order(folder: Path) -> None:
    make = shutil.which("make")
    assert make, "the README's commands need make"
    demo = [make, "demo", f"OUT={folder / 'demo-out'}", f"VENV={COMMANDS.parent}"]
    shortened = {**environment(folder), "PRN_STEPS": STEPS}
    first = run_with_all_it_starts(demo, ROOT, shortened)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "the 10 defects that it learned from are left out" in first.stdout
    assert re.search(r"every one of \d+ parts got exactly one verdict", first.stdout)
    assert re.search(r"(held: PRN-S judges now|refused, ProtoAD stays: .+)", first.stdout)
    page = (folder / "demo-out" / "report.html").read_text("utf-8")
    assert "<h1>Inspection of 90 parts</h1>" in page
    assert "<td>ProtoAD</td>" in page
    assert "<td>PRN-S</td>" in page
    lines = ["set -e", "trap 'kill $(jobs -p)' EXIT"]
    for number, (kind, text) in enumerate(blocks()):
        if kind == "python":
            (folder / f"block{number}.py").write_text(text)
            lines.append(f"python block{number}.py >heard.txt")
        else:
            lines.append(text)
    rest = run_with_all_it_starts(
        ["/bin/bash", "-c", "\n".join(lines)], folder, environment(folder)
    )
    assert rest.returncode == 0, rest.stdout[-3000:] + rest.stderr[-3000:]
    heard = (folder / "heard.txt").read_text().splitlines()
    assert len(heard) == 100
    assert list((folder / "overlays").glob("*_NG_*.jpg"))


def test_every_command_that_is_installed_stands_in_the_readme() -> None:
    assert [name for name in SCRIPTS if f"`{name}`" not in README] == []


def test_readme_is_read_in_a_few_minutes() -> None:
    assert len(README.splitlines()) <= MOST_LINES


@pytest.mark.parametrize("command", SCRIPTS)
def test_command_explains_its_flags_and_names_its_version(command: str) -> None:
    program = str(COMMANDS / command)
    shown = subprocess.run([program, "--help"], capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    assert "\n  --" in shown.stdout
    version = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    assert version.stdout.startswith(f"{command} ")
