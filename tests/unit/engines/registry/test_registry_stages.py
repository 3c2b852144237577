"""A kill, a full disk and a vanished share at every step of what a registry does."""

import errno
import json
import resource
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fakes.places import PROGRAMS
from fakes.registry import GATE, FailingFiles, Killed, all_whole, make_engine

from engines.errors import RegistryAway, UnknownVersion
from engines.registry.registry import Registry

PROGRAM = PROGRAMS / "registry_stages.py"
# harm that struck nowhere would prove nothing: so many steps there are at least
LEAST_STEPS = {"register": 30, "promote": 10, "rollback": 10, "fetch": 10}
SAID = {"kill": "killed", "full": "RegistryAway", "away": "RegistryAway"}
URL = "failing://registry"


def harmed(action: str, folder: Path) -> list[dict[str, Any]]:
    ended = subprocess.run(
        [sys.executable, str(PROGRAM), action, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


@pytest.mark.parametrize("action", ["register", "promote", "rollback", "fetch"])
def test_nothing_is_broken_at_any_step_in_a_folder(action: str, tmp_path: Path) -> None:
    steps = harmed(action, tmp_path)
    for step in steps:
        if step["said"] != "done":
            assert step["said"] == SAID[step["harm"]], step
            assert step["versions"] in ((2, 3) if action == "register" else (2,)), step
            assert not step["moved"] or action in ("promote", "rollback"), step
        if step["said"] == "RegistryAway" and step["harm"] == "full":
            assert step["versions"] == 2, step  # what was refused did not happen
            assert not step["moved"], step
        assert step["promoted"] is not None, step
        assert step["history"] == (3 if step["moved"] else 2), step
        assert step["halves"] == [], step
    assert Counter(step["harm"] for step in steps)["kill"] > LEAST_STEPS[action]
    assert [step["harm"] for step in steps if step["said"] == "done"] == list(SAID)


@pytest.mark.parametrize("action", ["register", "promote", "rollback"])
def test_disk_that_fills_up_inside_a_write_breaks_nothing(action: str, tmp_path: Path) -> None:
    """Files of ten bytes at most: what is longer fails in the middle."""
    engines = [make_engine(tmp_path / f"run{number}", salt=number) for number in range(3)]
    registry = Registry(str(tmp_path / "registry"))
    first, second = (registry.register(engine).name for engine in engines[:2])
    registry.promote(first, "a")
    before = registry.promote(second, "a")
    act = actions(engines[2], tmp_path / "cache")[action]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(RegistryAway, match="not full"):
            act(registry, first)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert registry.pointer() == before
    assert all_whole(registry, tmp_path / "cache") == [first, second]
    act(registry, first)


@pytest.fixture
def files() -> Iterator[type[FailingFiles]]:
    fsspec.register_implementation("failing", FailingFiles, clobber=True)
    FailingFiles.empty()
    yield FailingFiles
    FailingFiles.empty()


class ForeignError(Exception):
    """What a client of some store raises."""


FAILURES: list[BaseException] = [
    OSError(errno.ENOSPC, "No space left on device"),
    ForeignError("could not reach the endpoint"),
    Killed(),
]


def actions(engine: Path, cache: Path) -> dict[str, Callable[[Registry, str], object]]:
    return {
        "register": lambda registry, _: registry.register(engine, {"gate.json": GATE}),
        "promote": lambda registry, name: registry.promote(name, "a"),
        "rollback": lambda registry, _: registry.rollback("a"),
        "fetch": lambda registry, name: registry.fetch(name, cache),
    }


@pytest.mark.parametrize("action", ["register", "promote", "rollback", "fetch"])
@pytest.mark.parametrize("failure", FAILURES, ids=["full", "foreign", "killed"])
def test_nothing_is_broken_at_any_step_at_a_url(
    files: type[FailingFiles], action: str, failure: BaseException, tmp_path: Path
) -> None:
    engines = [make_engine(tmp_path / f"run{number}", salt=number) for number in range(3)]
    for step in count(1):
        files.empty()
        first, second = (Registry(URL).register(engine).name for engine in engines[:2])
        Registry(URL).promote(first, "a")
        before = Registry(URL).promote(second, "a")
        act = actions(engines[2], tmp_path / f"cache{step}")[action]
        files.fail_from(step, failure)
        with suppress(type(failure) if isinstance(failure, Killed) else RegistryAway):
            act(Registry(URL), first)
            break
        files.fail_from(None, failure)
        assert Registry(URL).pointer() == before
        assert sorted(all_whole(Registry(URL), tmp_path / "look")) == sorted([first, second])
        act(Registry(URL), first)
        all_whole(Registry(URL), tmp_path / "look")
    assert step > 3


def test_version_is_whole_at_every_step_of_registering_it_again(
    files: type[FailingFiles], tmp_path: Path
) -> None:
    engine = make_engine(tmp_path / "run")
    for step in count(1):
        files.empty()
        name = Registry(URL).register(engine, {"gate.json": GATE}).name
        files.fail_from(step, Killed())
        with suppress(Killed):
            Registry(URL).register(engine, {"gate.json": b"{}"})
            break
        files.fail_from(None, Killed())
        assert Registry(URL).read(name, "gate.json") in (GATE, b"{}")
    files.fail_from(None, Killed())
    assert step > 3
    assert Registry(URL).read(name, "gate.json") == b"{}"


def test_half_an_upload_is_no_version(files: type[FailingFiles], tmp_path: Path) -> None:
    engine = make_engine(tmp_path / "run")
    registry = Registry(URL)
    files.fail_from(5, Killed())
    with pytest.raises(Killed):
        registry.register(engine)
    files.fail_from(None, Killed())
    assert any(path.endswith("line.onnx") for path in files.store)
    assert registry.versions() == []
    name = registry.register(engine).name
    assert all_whole(registry, tmp_path / "cache") == [name]


def test_store_that_cannot_be_reached_holds_no_unknown_version(
    files: type[FailingFiles], tmp_path: Path
) -> None:
    registry = Registry(URL)
    name = registry.register(make_engine(tmp_path / "run")).name
    files.fail_from(1, ForeignError("could not reach the endpoint"))
    with pytest.raises(RegistryAway, match="could not reach the endpoint"):
        registry.version(name)
    files.fail_from(None, Killed())
    with pytest.raises(UnknownVersion):
        registry.version("small-000000000000")
