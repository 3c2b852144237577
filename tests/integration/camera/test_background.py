import pytest
from rigs.line import Plant

from pipeline.camera.background import LEASE_MS, name_lease
from pipeline.errors import RefusedFrame, SettingsError
from pipeline.streams.connect import Client


@pytest.fixture
def plant(client: Client, line: str) -> Plant:
    return Plant(client, line)


def never() -> None:
    pytest.fail("the name was lost")


def test_second_process_under_one_name_is_refused_and_the_first_goes_on(plant: Plant) -> None:
    with name_lease(plant.camera(), "cam", lambda: False, never) as keep:
        with (
            pytest.raises(SettingsError, match="give this one its own --camera"),
            name_lease(plant.camera(), "cam", lambda: True, never),
        ):
            pass
        keep()


def test_name_is_free_once_its_process_has_ended(plant: Plant) -> None:
    for _ in range(2):
        with name_lease(plant.camera(), "cam", lambda: True, never) as keep:
            keep()


def test_name_of_a_killed_process_is_free_soon_after(plant: Plant) -> None:
    assert plant.camera().acquire_lease("killed", 300)
    with name_lease(plant.camera(), "cam", lambda: False, never) as keep:
        keep()
        assert not plant.camera().acquire_lease("killed", 300)


def test_process_that_stood_still_while_another_took_its_name_stops_aloud(
    plant: Plant, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    stops: list[str] = []
    lease = name_lease(plant.camera(), "cam", lambda: False, lambda: stops.append("stop"))
    keep = lease.__enter__()
    keep()
    client.delete(plant.camera()._keys.holder("cam"))  # the lease ran out
    assert plant.camera().acquire_lease("another", LEASE_MS)
    keep()
    keep()
    with pytest.raises(RefusedFrame, match="one process under each --camera"):
        lease.__exit__(None, None, None)
    assert stops == ["stop"]
    assert [record.message for record in caplog.records] == ["camera.name_lost"]
    assert plant.camera().acquire_lease("another", LEASE_MS)


def test_lease_that_ran_out_and_nobody_took_is_taken_again(plant: Plant, client: Client) -> None:
    with name_lease(plant.camera(), "cam", lambda: False, never) as keep:
        client.delete(plant.camera()._keys.holder("cam"))
        keep()
        assert not plant.camera().acquire_lease("another", LEASE_MS)
