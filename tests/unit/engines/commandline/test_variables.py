"""An environment variable is called as its flag; earlier names are still read."""

import pytest
from pydantic import Field

from engines.commandline.flags import flag_name, older_variable_name, variable_name
from engines.commandline.run import CommandSettings, run_command


class Settings(CommandSettings):
    """Do something."""

    as_json: bool = Field(default=False, description="print JSON")
    as_kind: str = Field(default="", description="what it is")
    from_file: str = Field(default="", description="file to read")
    list_frames: bool = Field(default=False, description="show what waits")
    batch_wait_ms: float = Field(default=0.0, description="how long to wait")


@pytest.mark.parametrize("field", Settings.model_fields)
def test_variable_is_called_as_its_flag(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name = variable_name(field)
    assert name == "PRN_" + flag_name(field)[2:].replace("-", "_").upper()
    monkeypatch.setenv(name, "1")
    assert getattr(Settings(), field) in (True, "1", 1.0)


@pytest.mark.parametrize("field", Settings.model_fields)
def test_name_of_an_earlier_release_is_still_read(
    field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(older_variable_name(field), "1")
    assert getattr(Settings(), field) in (True, "1", 1.0)


def test_new_name_stands_above_the_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRN_FROM_FILE", "old")
    monkeypatch.setenv("PRN_FROM", "new")
    assert Settings().from_file == "new"
    monkeypatch.setenv("PRN_FROM", "")
    assert Settings().from_file == "old"


def test_sentence_about_a_value_names_the_variable_as_its_flag(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        run_command("try", Settings, lambda _: None, (), ["--json=perhaps"])
    with pytest.raises(SystemExit):
        run_command("try", Settings, lambda _: None, (), ["--batch-wait-ms", "soon"])
    assert "--batch-wait-ms (PRN_BATCH_WAIT_MS)" in capsys.readouterr().err
