import pytest

from pipeline.camera.sources.taken_files import TakenFile, TakenFiles
from pipeline.streams.checkpoints import Checkpoints
from pipeline.streams.connect import Client


def test_last_two_checkpoints_are_kept(client: Client, line: str) -> None:
    checkpoints = Checkpoints(client, line, "cam")
    for generation in range(1, 13):
        checkpoints.save(generation, b"%d" % generation)
        checkpoints.save(generation, b"%d" % generation)
    kept = {generation: checkpoints.load(generation) for generation in range(14)}
    assert {generation: held for generation, held in kept.items() if held is not None} == {
        11: b"11",
        12: b"12",
    }


@pytest.mark.parametrize("files", [10, 256, 257, 1000])
def test_memory_of_a_watched_folder_outlives_its_process(
    client: Client, line: str, files: int
) -> None:
    names = [f"{number}.png" for number in range(files)]
    memory, cursor = TakenFiles(Checkpoints(client, line, "cam")), ""
    for name in names:
        cursor = memory.add(name, TakenFile(1, 2), names)
    after = TakenFiles(Checkpoints(client, line, "cam"))
    after.restore(cursor)
    assert all(after.find(name) == TakenFile(1, 2) for name in names)
    assert after.find("new.png") is None
