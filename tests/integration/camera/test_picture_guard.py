"""What a camera process notes before it reads a picture outlives it, unless it ends in order."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fakes.camera import write_flat

from engines.errors import PictureError
from pipeline.camera.picture_guard import MOST_DEATHS, PictureGuard, guarded
from pipeline.streams.connect import Access
from pipeline.streams.connection import RedisConnection, open_connection
from pipeline.streams.frame_producer import FrameProducer
from pipeline.streams.keys import LineLimits


@pytest.fixture
def connection(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisConnection]:
    with open_connection(Access(url), tmp_path_factory.getbasetemp()) as opened:
        yield opened


def test_third_process_passes_over_the_picture_at_which_two_died(
    connection: RedisConnection, line: str, tmp_path: Path
) -> None:
    write_flat(tmp_path / "1.png", 1)
    producer = FrameProducer(connection.client, line, "cam", LineLimits())
    with ExitStack() as killed:
        for _ in range(MOST_DEATHS):
            guard = PictureGuard()
            killed.enter_context(guarded(guard, producer, connection, lambda: False))
            guard.read(tmp_path / "1.png", "0/1.png")
        guard = PictureGuard()
        killed.enter_context(guarded(guard, producer, connection, lambda: False))
        with pytest.raises(PictureError, match="ended 2 times"):
            guard.read(tmp_path / "1.png", "0/1.png")
    guard = PictureGuard()
    with guarded(guard, producer, connection, lambda: False):
        assert guard.read(tmp_path / "1.png", "0/1.png").shape == (8, 8, 3)
    assert producer.reading() == ("", 0)
