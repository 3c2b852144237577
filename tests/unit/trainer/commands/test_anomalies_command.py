"""`trainer-anomalies`: the groups that it respects, and its account of files."""

import json
from pathlib import Path

import numpy as np
import pytest
from inputs.data_folders import mvtec, save
from PIL import Image

from trainer.commands.anomalies import draw_sheet
from trainer.errors import DatasetError
from trainer.settings import AnomaliesSettings


def settings(folder: Path, out: Path, **flags: object) -> AnomaliesSettings:
    few = {"size": 64, "rows": 1, "seen": 2}
    return AnomaliesSettings(data=folder, out=out, **(few | flags))


def test_every_file_is_named_as_json_and_all_else_is_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = mvtec(tmp_path / "part"), tmp_path / "sheet.png"
    (folder / "train" / "good" / "900.webp").write_bytes(b"RIFF")
    draw_sheet(settings(folder, out, as_json=True))
    printed = capsys.readouterr()
    found = json.loads(printed.out)
    left = {".webp is not read: convert to PNG": ["train/good/900.webp"]}
    assert found["files"] == {"pictures": 19, "masks": 4, "left_out": left}
    assert len(found["seen"]) == 2
    assert found["picture"] == str(out)
    assert out.is_file()
    assert "1 file left out" in printed.err


def test_without_json_one_line_says_what_became_of_the_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_sheet(settings(mvtec(tmp_path / "part"), tmp_path / "sheet.png"))
    assert "part: 19 pictures and 4 masks taken, no file left out" in capsys.readouterr().out


def test_groups_that_name_nothing_are_refused(tmp_path: Path) -> None:
    folder = mvtec(tmp_path / "part")
    with pytest.raises(DatasetError, match="names none of the 19 pictures"):
        draw_sheet(settings(folder, tmp_path / "sheet.png", group_pattern="tile"))


def test_picture_that_is_too_large_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = mvtec(tmp_path / "part")
    Image.fromarray(np.zeros((9000, 9000), np.uint8)).save(folder / "train" / "good" / "900.png")
    draw_sheet(settings(folder, tmp_path / "sheet.png"))
    printed = capsys.readouterr().out
    assert "1 pictures could not be read and were left out" in printed
    assert "900.png: picture of 9000x9000, limit 67108864 pixels: crop it" in printed


def test_deep_and_turned_pictures_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = mvtec(tmp_path / "part")
    save(folder / "train" / "good" / "900.png", np.full((40, 60), 4000, np.uint16))
    draw_sheet(settings(folder, tmp_path / "sheet.png", picture_bits=12))
    printed = capsys.readouterr().out
    assert "1 pictures have 12 bits of a 16-bit file, as --picture-bits states" in printed
