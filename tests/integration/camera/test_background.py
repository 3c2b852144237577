import pytest
from rigs.line import Plant

from pipeline.camera.background import name_lease
from pipeline.errors import SettingsError
from pipeline.streams.connect import Client


@pytest.fixture
def plant(client: Client, line: str) -> Plant:
    return Plant(client, line)


def test_second_process_under_one_name_is_refused_and_the_first_goes_on(plant: Plant) -> None:
    with name_lease(plant.camera(), "cam", lambda: False) as keep:
        with (
            pytest.raises(SettingsError, match="give this one its own --camera"),
            name_lease(plant.camera(), "cam", lambda: True),
        ):
            pass
        assert keep()


def test_name_is_free_once_its_process_has_ended(plant: Plant) -> None:
    for _ in range(2):
        with name_lease(plant.camera(), "cam", lambda: True) as keep:
            assert keep()


def test_name_of_a_killed_process_is_free_soon_after(plant: Plant) -> None:
    assert plant.camera().acquire_lease("killed", 300)
    with name_lease(plant.camera(), "cam", lambda: False) as keep:
        assert keep()
        assert not plant.camera().acquire_lease("killed", 300)
