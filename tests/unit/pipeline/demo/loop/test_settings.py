"""The show's folder: only what a show has made is ever removed."""

from pathlib import Path

import pytest

from pipeline.demo.loop.settings import make_room
from pipeline.errors import SettingsError


def test_a_folder_with_other_things_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    with pytest.raises(SettingsError, match="holds other things"):
        make_room(tmp_path)
    assert (tmp_path / "pictures").is_dir()


@pytest.mark.parametrize("name", [".", "new/deeper"])
def test_an_empty_or_new_folder_is_taken(tmp_path: Path, name: str) -> None:
    make_room(tmp_path / name)
    assert (tmp_path / name).is_dir()


def test_what_an_earlier_show_left_is_removed(tmp_path: Path) -> None:
    make_room(tmp_path)
    (tmp_path / "verdicts.jsonl").touch()
    make_room(tmp_path)
    assert not (tmp_path / "verdicts.jsonl").exists()
