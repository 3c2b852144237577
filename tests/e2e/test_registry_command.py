"""engine-registry as a person runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.tiny_engine import write_tiny_engine, write_unadmitted_engine

from engines.backends.fixed import FixedPlan, write_fixed_engine
from engines.manifest import read_manifest

GATE = {
    "decision": "promote",
    "reasons": ["fewer escapes: [bold]1 of 60[/bold]"],
    "figures": [
        {"name": "escapes", "unit": "%", "incumbent": 5.0, "candidate": 1.7, "standing": "better"}
    ],
}


def run(
    *arguments: str, folder: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    code = "from engines.commands.registry import registry; registry()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "COLUMNS": "100", **environment},
    )


def asked(folder: Path, word: str, *arguments: str) -> dict[str, object]:
    ended = run(word, *arguments, "--registry", str(folder / "registry"), "--json")
    assert ended.returncode == 0, ended.stderr
    fields = json.loads(ended.stdout)
    assert isinstance(fields, dict)
    return fields


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plant")
    for number in range(2):
        write_tiny_engine(folder / f"line{number}.onnx", salt=number)
    write_unadmitted_engine(folder / "unproved.onnx", salt=2)
    write_fixed_engine(folder / "stub.fixed", FixedPlan(height=16, width=16))
    (folder / "gate.json").write_text(json.dumps(GATE))
    return folder


@pytest.fixture(scope="module")
def names(folder: Path) -> list[str]:
    """Two versions, the second in force."""
    first = asked(folder, "add", str(folder / "line0.onnx"))
    gate = str(folder / "gate.json")
    second = asked(folder, "add", str(folder / "line1.onnx"), "--extra", gate)
    found = [str(first["name"]), str(second["name"])]
    for name in found:
        asked(folder, "promote", name, "--by", "anna")
    return found


def test_rollback_returns_and_the_list_says_who_did_it(folder: Path, names: list[str]) -> None:
    back = asked(folder, "rollback", "--by", "ben")
    assert (back["promoted"], back["previous"]) == (names[0], names[1])
    listed = asked(folder, "list")
    assert [one["name"] for one in listed["versions"]][:2] == names  # type: ignore[attr-defined]  # JSON
    assert listed["promotions"][0]["by"] == "ben"  # type: ignore[index]  # JSON
    asked(folder, "rollback", "--by", "ben")
    shown = run("list", PRN_REGISTRY=str(folder / "registry"))
    row = next(line for line in shown.stdout.splitlines() if names[1] in line)
    assert "in force" in row
    assert "gate.json" in row
    assert "anna" in shown.stdout


def test_show_tells_the_figures_and_the_gate_report(folder: Path, names: list[str]) -> None:
    shown = run("show", names[1], "--registry", str(folder / "registry"))
    assert shown.returncode == 0
    for words in ("16 x 16", "NG above", "gate: promote", "[bold]1 of 60[/bold]", "5", "1.7"):
        assert words in shown.stdout
    assert asked(folder, "show", names[1])["gate"] == GATE
    assert asked(folder, "show", names[0])["gate"] is None


def test_fetched_copy_is_the_engine(folder: Path, names: list[str]) -> None:
    engine = Path(str(asked(folder, "fetch", names[0], str(folder / "cache"))["engine"]))
    assert read_manifest(engine) == read_manifest(folder / "line0.onnx")


@pytest.mark.parametrize("file", ["unproved.onnx", "stub.fixed"])
def test_engine_that_no_machine_admitted_is_not_promoted(
    folder: Path, names: list[str], file: str
) -> None:
    added = run("add", file, folder=folder, PRN_REGISTRY="registry")
    assert "not admitted on any machine" in added.stdout
    name = added.stdout.split()[0]
    ended = run("promote", name, "--registry", str(folder / "registry"))
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert len(ended.stderr.splitlines()) == 1
    assert name in ended.stderr
    shown = asked(folder, "list")["promotions"][0]["promoted"]  # type: ignore[index]  # JSON
    assert shown in names


@pytest.mark.parametrize(
    ("arguments", "status", "why"),
    [
        (["promote", "nosuch"], 1, "holds no version 'nosuch'"),
        (["add", "nosuch.onnx"], 1, "no engine file"),
        (["add", "line0.onnx", "--extra", "gate.json,./gate.json"], 1, "rename one"),
        (["promote"], 2, "VERSION"),
        (["demote"], 2, "list, show, add, promote, rollback, fetch"),
    ],
)
def test_refusal_says_why(
    folder: Path, names: list[str], arguments: list[str], status: int, why: str
) -> None:
    del names  # there is a registry
    ended = run(*arguments, folder=folder, PRN_REGISTRY="registry")
    assert ended.returncode == status
    assert why in ended.stderr
    assert "Traceback" not in ended.stderr


def test_empty_registry_says_how_to_begin(tmp_path: Path) -> None:
    ended = run("list", "--registry", str(tmp_path / "none"))
    assert ended.returncode == 0
    assert "engine-registry add" in ended.stdout
    ended = run("show", "--registry", str(tmp_path / "none"))
    assert ended.returncode == 1
    assert "nothing is in force" in ended.stderr


def test_help_names_every_command() -> None:
    ended = run("--help")
    assert ended.returncode == 0
    for word in ("list", "show", "add", "promote", "rollback", "fetch"):
        assert f"  {word} " in ended.stdout
        assert run(word, "--help").returncode == 0
