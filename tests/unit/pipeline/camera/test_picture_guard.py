"""A picture at which the camera process dies again and again is passed over."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes.camera import write_flat

from engines.errors import PictureError
from engines.pictures.rules import PictureRules
from pipeline.camera.open import SourceOptions, open_source
from pipeline.camera.picture_guard import MOST_DEATHS, PictureGuard


class Lives:
    """One camera, as its processes follow each other; its notes outlive them."""

    def __init__(self) -> None:
        self.place, self.deaths = "", 0

    def start(self) -> PictureGuard:
        guard = PictureGuard()
        guard.begin(self.place, self.deaths, self.note)
        return guard

    def note(self, place: str, deaths: int) -> None:
        self.place, self.deaths = place, deaths


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    write_flat(tmp_path / "1.png", 1)
    return tmp_path / "1.png"


def test_picture_at_which_the_process_died_twice_is_refused_and_the_next_one_read(
    picture: Path,
) -> None:
    lives = Lives()
    lives.start().read(picture, "0/1.png")
    for _ in range(MOST_DEATHS):
        lives.start().read(picture, "0/2.png")
    guard = lives.start()
    with pytest.raises(PictureError, match="ended 2 times"):
        guard.read(picture, "0/2.png")
    assert guard.read(picture, "0/3.png").shape == (8, 8, 3)
    assert lives.deaths == 0


def test_picture_that_was_offered_before_the_process_died_counts_for_none(picture: Path) -> None:
    lives = Lives()
    for number in range(5):
        guard = lives.start()
        guard.read(picture, f"0/{number}.png")
    assert lives.deaths == 0


def test_without_notes_every_picture_is_read(picture: Path) -> None:
    for _ in range(5):
        assert PictureGuard().read(picture, "0/1.png").shape == (8, 8, 3)


def test_pictures_are_read_by_the_rules_of_the_camera(tmp_path: Path) -> None:
    values = np.full((8, 8), 4000, np.uint16)
    assert cv2.imwrite(str(tmp_path / "deep.png"), values)
    with pytest.raises(PictureError, match="--picture-bits 12"):
        PictureGuard().read(tmp_path / "deep.png", "0/deep.png")
    options = SourceOptions(guard=PictureGuard(PictureRules(bits=12)))
    source = open_source(f"folder:{tmp_path}", options, lambda _: False)
    (shot,) = source.shots("")
    assert shot.pixels is not None
    assert (shot.pixels == 4000 // 16).all()
