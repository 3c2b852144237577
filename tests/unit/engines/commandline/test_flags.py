"""Every command's help reads as a person would write it, and its flags are what help says."""

import re
import tomllib
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated, Literal

import pytest
from fakes.places import ROOT
from pydantic import Field
from pydantic_settings import CliPositionalArg

from engines.commandline.flags import File, Metavar
from engines.commandline.run import CommandSettings, run_command
from pipeline.camera.process import CameraSettings
from pipeline.codecs import Codec

SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
REGISTRY_WORDS = ("list", "show", "add", "promote", "rollback", "fetch")
PYTHONS_WORDS = re.compile(
    r"(?<!-)\b(str|int|float|bool|None|False|Path|factory|Codec)\b|list\[|<|\[env"
)
COMMANDS = [*((prog,) for prog in SCRIPTS), *(("engine-registry", word) for word in REGISTRY_WORDS)]
FLAG = re.compile(r"^  (--[^\s,]+|-h, --help)(,? ?.*)$", re.MULTILINE)


def said_by(prog: str, flag: str, capsys: pytest.CaptureFixture[str]) -> str:
    module, _, function = SCRIPTS[prog].partition(":")
    with pytest.raises(SystemExit) as ended:
        getattr(import_module(module), function)()
    assert ended.value.code == 0, flag
    return capsys.readouterr().out


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_speaks_no_python_and_spells_each_flag_once(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", [*words, "--help"])
    monkeypatch.setenv("COLUMNS", "100")
    text = said_by(words[0], "--help", capsys)
    assert PYTHONS_WORDS.search(text) is None
    assert text.startswith(f"usage: {' '.join(words)} ")
    assert max(map(len, text.splitlines())) <= 100
    flags = FLAG.findall(text)
    assert not [rest for _, rest in flags if " --" in rest.partition("  ")[0]]
    assert "--version" in [flag for flag, _ in flags]
    assert len(flags) == len({flag for flag, _ in flags})


@pytest.mark.parametrize("prog", SCRIPTS)
def test_version_is_said_whatever_else_is_missing(
    prog: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", [prog, "--version"])
    assert re.fullmatch(rf"{prog} \d+\.\d+\.\d+\n", said_by(prog, "--version", capsys))


class Colour(StrEnum):
    DARK_RED = "dark-red"
    BLUE = "blue"


class Shared(CommandSettings):
    """What all of them need."""

    place: Annotated[str, Metavar("PLACE")] = Field(default="here", description="where")


class Settings(Shared):
    """Do something."""

    engine: File = Field(description="engine file\n  one that was admitted")
    colours: list[Colour] = Field(default=[Colour.BLUE], description="which")
    share: float | None = Field(default=None, description="0..100 % of all")
    at_most: int = Field(default=0, description="0: all")
    codec: Literal[Codec.RAW, Codec.RING] = Field(default=Codec.RAW, description="how")
    calm: bool = Field(default=False, description="wait")
    as_json: bool = Field(default=False, description="print JSON")


def run(*arguments: str) -> Settings:
    got: list[Settings] = []
    with pytest.raises(SystemExit) as ended:
        run_command("try", Settings, got.append, (), list(arguments))
    assert ended.value.code == 0
    return got[0]


def test_help_shows_types_choices_and_defaults_of_a_declaration(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        run_command("try", Settings, lambda _: None, (), ["--help"])
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "usage: try --engine FILE [options]"
    for wanted in (
        "--engine FILE         engine file (required)",
        "one that was admitted",
        "--colours {dark-red,blue},...",
        "which (default: blue)",
        "--share NUMBER        0..100 % of all",
        "--at-most INT         0: all (default: 0)",
        "--codec {raw,ring}    how (default: raw)",
        "--calm                wait",
        "--json                print JSON",
    ):
        assert wanted in lines
    assert lines[lines.index("what all of them need:") + 1].startswith("--place PLACE")


def test_value_without_a_flag_stands_first_in_the_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Placed(Settings):
        """Do something to a thing."""

        thing: CliPositionalArg[Literal["bolt", "nut"]] = Field(description="to which")

    for given, status in ((["--help"], 0), (["--engine", "e"], 2), (["washer"], 2)):
        with pytest.raises(SystemExit) as ended:
            run_command("try", Placed, lambda _: None, (), given)
        assert ended.value.code == status
    said = capsys.readouterr()
    assert said.out.startswith("usage: try {bolt,nut} --engine FILE [options]")
    assert "{bolt,nut}" in said.err
    got: list[Placed] = []
    with pytest.raises(SystemExit):
        run_command("try", Placed, got.append, (), ["nut", "--engine", "e"])
    assert (got[0].thing, got[0].engine) == ("nut", Path("e"))


def test_flags_are_read_as_help_shows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    read = run("--engine", "e", "--colours", "dark-red,blue", "--codec", "ring", "--json", "--calm")
    assert (read.engine, read.codec, read.as_json, read.calm) == (Path("e"), Codec.RING, True, True)
    assert read.colours == [Colour.DARK_RED, Colour.BLUE]
    monkeypatch.setenv("PRN_CODEC", "ring")
    monkeypatch.setenv("PRN_ENGINE", "from-environment")
    assert run().codec is Codec.RING
    assert run().engine == Path("from-environment")


def test_camera_takes_no_codec_without_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--source", "synthetic:1", "--codec", "none"]
    with pytest.raises(SystemExit) as ended:
        run_command("try", CameraSettings, lambda _: None, (), given)
    assert ended.value.code == 2
    assert "--codec (PRN_CODEC)" in capsys.readouterr().err


@pytest.mark.parametrize("wrong", ["--as-json", "--no-calm", "--eng"])
def test_other_spellings_are_no_flags(wrong: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_command("try", Settings, lambda _: None, (), ["--engine", "e", wrong])
    assert ended.value.code == 2
    assert wrong in capsys.readouterr().err
