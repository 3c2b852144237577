"""Which of flag, environment and file decides, and what a file may hold."""

from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field
from pydantic_settings import CliPositionalArg

from engines.commandline.config_file import SHARED_KEYS
from engines.commandline.flags import Metavar, flag_name
from engines.commandline.run import CommandSettings, run_command
from pipeline.settings import WaitingSettings
from trainer.retrain_settings import RetrainSettings


class Settings(CommandSettings):
    """Do something."""

    place: CliPositionalArg[Annotated[str, Metavar("PLACE")]] = Field(default="", description="w")
    rate: float = Field(default=1.0, gt=0, description="parts a second")
    line: str = Field(default="line-1", description="the line's name")
    tags: list[str] = Field(default=[], description="words")
    as_json: bool = Field(default=False, description="print JSON")
    redis_url: str = Field(default="", description="where Redis is")
    redis_password_file: Path | None = Field(default=None, description="where its password is")


def run(*arguments: str, prog: str = "pipeline-camera") -> Settings:
    got: list[Settings] = []
    with pytest.raises(SystemExit) as ended:
        run_command(prog, Settings, got.append, (), list(arguments))
    assert ended.value.code == 0
    return got[0]


def refusal(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        run_command(
            "pipeline-camera", Settings, lambda _: None, (), ["--config", write(tmp_path, text)]
        )
    assert ended.value.code == 2
    return capsys.readouterr().err


def write(folder: Path, text: str) -> str:
    file = folder / "line.toml"
    file.write_text(text, "utf-8")
    return str(file)


def test_flag_stands_above_variable_above_own_table_above_shared_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path, '[line]\nline = "shared"\n')
    assert run("--config", file).line == "shared"
    file = write(tmp_path, '[line]\nline = "shared"\n[pipeline-camera]\nline = "own"\nrate = 3\n')
    assert run(f"--config={file}").line == "own"
    monkeypatch.setenv("PRN_LINE", "variable")
    assert run("--config", file).line == "variable"
    assert run("--config", file, "--line", "flag").line == "flag"
    assert run("--config", file).rate == 3.0


def test_list_of_a_flag_replaces_that_of_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, '[pipeline-camera]\ntags = ["a", "b"]\n')
    assert run("--config", file).tags == ["a", "b"]
    assert run("--config", file, "--tags", "c").tags == ["c"]


def test_file_may_be_named_by_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRN_CONFIG", write(tmp_path, "[pipeline-camera]\njson = true\n"))
    assert run().as_json


def test_tables_of_other_commands_are_left_alone(tmp_path: Path) -> None:
    file = write(tmp_path, '[pipeline-worker]\nengine = "e.onnx"\n[line]\nstore = "samples"\n')
    assert run("--config", file) == Settings()


def test_command_of_a_command_has_a_table_within_its_table(tmp_path: Path) -> None:
    file = write(tmp_path, "[engine-registry.list]\nrate = 4\n")
    assert run("--config", file, prog="engine-registry list").rate == 4
    assert run("--config", file, prog="engine-registry show").rate == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[pipeline-camera]\nrata = 3\n", "[pipeline-camera] has no rata: did you mean rate?"),
        ("[pipeline-camera]\nzzz = 3\n", "[pipeline-camera] has no zzz\n"),
        ("[line]\nredis_url = 'x'\n", "[line] has no redis_url: did you mean redis-url?"),
        ("[pipeline-camra]\n", "no command is called pipeline-camra: did you mean pipeline-camera"),
        ("rate = 3\n", "rate stands above the first table"),
        ("pipeline-camera = 3\n", "pipeline-camera stands above the first table"),
        ("[pipeline-camera]\nrate = -3\n", "rate of pipeline-camera: Input should be greater"),
        ("[pipeline-camera]\nplace = 'x'\n", "[pipeline-camera] has no place"),
        ("[pipeline-camera\n", "is not a TOML file"),
    ],
)
def test_what_no_command_takes_is_refused_in_one_sentence(
    text: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refusal(text, tmp_path, capsys)
    assert sentence in said
    assert "line.toml" in said


@pytest.mark.parametrize(
    "text",
    [
        "[line]\nredis-url = 'redis://:hunter2@host'\n",
        "[pipeline-worker]\nredis-url = 'redis://host?password=hunter2'\n",
        "[pipeline-camera]\ntags = ['rtsp://user:hunter2@camera/1']\n",
        "[line]\nredis-password = 'hunter2'\n",
    ],
)
def test_secret_is_refused_and_not_repeated(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refusal(text, tmp_path, capsys)
    assert "redis-password-file" in said
    assert "hunter2" not in said


def test_path_of_a_password_file_is_no_secret(tmp_path: Path) -> None:
    file = write(tmp_path, "[line]\nredis-password-file = '/run/secrets/redis'\n")
    assert run("--config", file).redis_password_file == Path("/run/secrets/redis")


@pytest.mark.parametrize("make", [Path.mkdir, lambda _: None])
def test_file_that_does_not_read_is_refused(
    make: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "line.toml"
    assert callable(make)
    make(file)
    with pytest.raises(SystemExit) as ended:
        run_command("pipeline-camera", Settings, lambda _: None, (), ["--config", str(file)])
    assert ended.value.code == 2
    assert "cannot read the configuration file" in capsys.readouterr().err


def test_help_names_the_file_and_needs_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_command(
            "pipeline-camera", Settings, lambda _: None, (), ["--config", "absent", "--help"]
        )
    assert ended.value.code == 0
    assert "--config FILE" in capsys.readouterr().out


def test_shared_table_holds_every_flag_that_commands_of_a_line_share() -> None:
    shared = {flag_name(field)[2:] for field in WaitingSettings.model_fields}
    assert shared <= set(SHARED_KEYS)
    rest = set(SHARED_KEYS) - shared
    assert rest <= {flag_name(field)[2:] for field in RetrainSettings.model_fields}
