"""The completion scripts parse, and complete every command's flags."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from fakes.places import ROOT

from engines.commandline.completion import completion_script
from engines.commandline.declarations import declarations
from engines.commandline.flags import flag_name, is_positional
from engines.commandline.run import DECLARED
from pipeline.commands.doctor import DoctorSettings, run

SCRIPTS: dict[str, str] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
    "scripts"
]
COMPLETE = """
source {script}
COMP_WORDS=({words}); COMP_CWORD={last}; COMP_LINE="{words}"; COMP_POINT=${{#COMP_LINE}}
"$(complete -p {prog} | sed -E 's/.*-F ([^ ]+) .*/\\1/')"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("completion") / "bash.sh"
    file.write_text(completion_script("bash", SCRIPTS), "utf-8")
    return file


def offered(script: Path, prog: str, *words: str) -> list[str]:
    line = " ".join([prog, *(word or '""' for word in words)])
    program = COMPLETE.format(script=script, words=line, last=len(words), prog=prog)
    bash = shutil.which("bash")
    assert bash
    shown = subprocess.run([bash, "-c", program], capture_output=True, text=True, check=True)
    return shown.stdout.split()


def test_script_parses(script: Path) -> None:
    bash = shutil.which("bash")
    assert bash
    parsed = subprocess.run([bash, "-n", str(script)], capture_output=True, text=True, check=False)
    assert (parsed.returncode, parsed.stderr) == (0, "")


@pytest.mark.parametrize("prog", SCRIPTS)
def test_every_flag_of_a_command_is_completed(script: Path, prog: str) -> None:
    for declared in declarations({prog: SCRIPTS[prog]}):
        wanted = {
            flag_name(name)
            for name, field in declared.settings_type.model_fields.items()
            if not is_positional(field)
        }
        before = declared.prog.split()[1:]
        assert wanted | {"--config", "--version"} <= set(offered(script, prog, *before, "--"))


def test_choices_of_a_flag_are_completed(script: Path) -> None:
    assert offered(script, "pipeline-camera", "--codec", "r") == ["raw", "ring"]
    assert offered(script, "engine-registry", "ro") == ["rollback"]


def test_zsh_gets_a_script_that_completes_every_command() -> None:
    text = completion_script("zsh", SCRIPTS)
    assert [prog for prog in SCRIPTS if f" {prog}\n" not in text] == []


def test_doctor_prints_the_script_and_checks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(DoctorSettings(completion="bash", state_dir=Path("/nowhere"))) == 0
    assert "pipeline-worker" in capsys.readouterr().out
    assert DECLARED.get() is None


def test_command_without_its_dependencies_is_left_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "absent_library", None)
    found = declarations({"a": "absent_library:main", "engine-bench": SCRIPTS["engine-bench"]})
    assert [declared.prog for declared in found] == ["engine-bench"]
    assert capsys.readouterr().err == "a is left out, absent_library is not installed\n"
