"""A program that harms a registry in a folder at each step of one action, and says what is left.

`python registry_stages.py ACTION FOLDER`: ACTION is register, promote, rollback or fetch. The harms
are kill (SIGKILL), full (no space from there on) and away (the folder is gone from there on). Each
step of the action that touches the registry or the copy - each event that Python's audit hooks see
there, and for a kill each write and flush too - gets a process of its own, which does the action on
a fresh registry and is harmed at that step. A JSON line for each: what the action said, and what a
process that comes later finds.
"""

import errno
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from types import FrameType

sys.path.append(str(Path(__file__).parents[1]))  # the fakes lie there

from fakes.registry import GATE, all_whole, make_engine

from engines.errors import EngineError
from engines.registry.registry import Registry

_MOST_STEPS = 200
_WRITES = ("os.mkdir", "os.rename")
_INSIDE_A_WRITE = ("write", "flush", "fsync", "sendfile")


class Scene:
    """A registry with two versions, the second in force, and a third engine beside it."""

    def __init__(self, folder: Path, engines: list[Path], template: Path) -> None:
        self.root = folder / "registry"
        self.cache = folder / "cache"
        self.engine = engines[2]
        shutil.copytree(template, self.root)
        self.first, self.second = (version.name for version in Registry(str(self.root)).versions())

    def act(self, action: str, registry: Registry) -> None:
        """Do what is to be harmed."""
        match action:
            case "register":
                registry.register(self.engine, {"gate.json": GATE})
            case "promote":
                registry.promote(self.first, "harmed")
            case "rollback":
                registry.rollback("harmed")
            case "fetch":
                registry.fetch(self.first, self.cache)


class Harm:
    """Strikes at the `step`-th event in the scene, and at all after it."""

    def __init__(self, kind: str, scene: Scene, step: int) -> None:
        self.kind = kind
        self.root = scene.root
        self.places = (str(scene.root), str(scene.cache))
        self.steps_left = step
        self.striking = False

    def begin(self) -> None:
        """See every event from here on."""
        sys.addaudithook(self.on_event)
        if self.kind == "kill":
            sys.setprofile(self.on_call)

    def on_event(self, event: str, given: tuple[object, ...]) -> None:
        """An audit hook: files opened, made, renamed, listed, removed."""
        if self.striking or not given or not isinstance(given[0], str | Path):
            return
        if str(given[0]).startswith(self.places):
            opened = event == "open" and bool(set(str(given[1])) & set("wxa+"))
            self.count(event, writes=opened or event in _WRITES)

    def on_call(self, _: FrameType, event: str, called: object) -> None:
        """A profile function: what happens between the opening of a file and its renaming."""
        if event == "c_call" and getattr(called, "__name__", "") in _INSIDE_A_WRITE:
            self.count(event, writes=True)

    def count(self, event: str, *, writes: bool) -> None:
        """Strike when it is time."""
        self.steps_left -= 1
        if self.steps_left > 0:
            return
        if self.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.kind == "full" and writes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), event)
        if self.kind == "away":
            self.striking = True
            if self.root.exists():
                self.root.rename(self.root.with_name("away"))
            self.striking = False


def harmed(scene: Scene, action: str, kind: str, step: int) -> str:
    """Do the action in a process of its own; tells how it ended."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        registry = Registry(str(scene.root))
        registry.pointer()
        Harm(kind, scene, step).begin()
        try:
            scene.act(action, registry)
            os.write(write, b"done")
        except EngineError as error:
            os.write(write, type(error).__name__.encode())
        os._exit(0)
    os.close(write)
    _, status = os.waitpid(child, 0)
    said = os.read(read, 100).decode()
    os.close(read)
    return "killed" if os.WIFSIGNALED(status) else said


def found(scene: Scene, action: str) -> dict[str, object]:
    """What there is after the harm, and after the action was done again."""
    if (away := scene.root.with_name("away")).exists():
        assert not scene.root.exists(), "something was written where the registry had been"
        away.rename(scene.root)
    registry = Registry(str(scene.root))
    pointer = registry.pointer()
    left = {
        "versions": len(all_whole(registry, scene.root.with_name("looked at"))),
        "promoted": pointer.promoted if pointer else None,
        "history": len(registry.history()),
    }
    if not (action == "rollback" and pointer and pointer.promoted == scene.first):
        scene.act(action, registry)  # a second rollback would return
    all_whole(registry, scene.root.with_name("looked at"))
    halves = [path.name for path in scene.root.rglob(".*") if not path.name.endswith(".lock")]
    return left | {"halves": halves}


def prepare(folder: Path) -> tuple[list[Path], Path]:
    """Make the engines, and the registry that each step begins with."""
    engines = [make_engine(folder / f"run{number}", salt=number) for number in range(3)]
    template = folder / "template"
    registry = Registry(str(template))
    for engine in engines[:2]:
        registry.promote(registry.register(engine, {"gate.json": GATE}).name, "before")
    return engines, template


def main(action: str, folder: Path) -> None:
    """Harm each step in turn, until the action has no more."""
    engines, template = prepare(folder)
    for kind in ("kill", "full", "away"):
        for step in range(1, _MOST_STEPS):
            place = folder / kind / str(step)
            scene = Scene(place, engines, template)
            said = harmed(scene, action, kind, step)
            fields = found(scene, action) | {"harm": kind, "step": step, "said": said}
            fields |= {"moved": fields["promoted"] == scene.first}
            sys.stdout.write(json.dumps(fields) + "\n")
            shutil.rmtree(place)
            if said == "done":
                break
        else:
            sys.exit("it never ended")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
