"""The embedded server after a power cut that damaged its append-only file."""

import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.commands.redis import RedisSettings, run
from pipeline.errors import RedisUnfit
from pipeline.streams.append_only import FOLDER, MANIFEST, repair
from pipeline.streams.connect import Access, open_client
from pipeline.streams.embedded import embedded_url

ENTRIES = 40
Damage = Callable[[Path], None]


def increment(folder: Path) -> Path:
    (path,) = folder.glob("*.incr.aof")
    return path


def tear(folder: Path) -> None:
    path = increment(folder)
    os.truncate(path, path.stat().st_size - 37)


def fill_with_zeros(folder: Path) -> None:
    with increment(folder).open("ab") as file:
        file.write(bytes(200_000))


def tear_and_fill(folder: Path) -> None:
    tear(folder)
    fill_with_zeros(folder)


def spoil_the_middle(folder: Path) -> None:
    path = increment(folder)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"garbage" * 20)


def empty_the_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_bytes(b"")


def count(state: Path, server: Path) -> int:
    with embedded_url(state, server=server) as url:
        client = open_client(Access(url))
        entries = int(client.xlen("stream"))
        client.close()
    return entries


@pytest.fixture
def state(tmp_path: Path, binary: Path) -> Path:
    with embedded_url(tmp_path, server=binary) as url:
        client = open_client(Access(url))
        for _ in range(ENTRIES):
            client.xadd("stream", {"d": bytes(500)})
        client.close()
    return tmp_path


@pytest.mark.parametrize(
    ("damage", "kept"),
    [(tear, ENTRIES - 1), (fill_with_zeros, ENTRIES), (tear_and_fill, ENTRIES - 1)],
)
def test_what_a_power_cut_leaves_is_mended_by_itself(
    state: Path, binary: Path, damage: Damage, kept: int
) -> None:
    damage(state / FOLDER)
    assert count(state, binary) == kept


@pytest.mark.parametrize("damage", [spoil_the_middle, empty_the_manifest])
def test_damage_is_told_with_what_to_do_and_can_be_repaired(
    state: Path, binary: Path, damage: Damage
) -> None:
    damage(state / FOLDER)
    with pytest.raises(RedisUnfit) as refused:
        count(state, binary)
    assert f"pipeline-redis --repair --state-dir {state}" in str(refused.value)
    assert str(state / FOLDER) in str(refused.value)
    before = {path.name: path.read_bytes() for path in (state / FOLDER).iterdir()}
    repair(state, binary)
    assert 0 < count(state, binary) <= ENTRIES
    (copy,) = state.glob(f"{FOLDER}.*")
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


def test_server_that_dies_at_its_start_is_not_waited_for(state: Path, binary: Path) -> None:
    spoil_the_middle(state / FOLDER)
    with (
        pytest.raises(RedisUnfit, match="damaged"),
        embedded_url(state, server=binary, start_timeout_s=math.inf),
    ):
        pass


def test_running_server_is_not_repaired(state: Path, binary: Path) -> None:
    with (
        embedded_url(state, server=binary),
        pytest.raises(RedisUnfit, match="nothing was changed"),
    ):
        run(RedisSettings(state_dir=state, repair=True))
