"""Engines to register, a file system that fails at a chosen step, and what must always hold."""

from pathlib import Path
from typing import Any, ClassVar

from fsspec.implementations.memory import MemoryFileSystem

from engines.backends.fixed import FixedPlan, write_fixed_engine
from engines.machine import machine_name
from engines.manifest import Admission, CostPoint, read_manifest, write_manifest
from engines.registry.registry import Registry
from fakes.tiny_engine import write_tiny_engine, write_unadmitted_engine

GATE = b'{"decision": "promote"}'


def make_engine(folder: Path, salt: int = 0, threshold: float = 0.5) -> Path:
    """Write an engine that this machine admitted; its file differs with the salt."""
    path = folder / "line.onnx"
    write_tiny_engine(path, salt=salt, image_threshold=threshold)
    return path


def make_unadmitted(folder: Path, salt: int = 0) -> Path:
    """Write the same engine without its admission."""
    path = folder / "line.onnx"
    write_unadmitted_engine(path, salt=salt)
    return path


def make_fixed(folder: Path) -> Path:
    """Write a fixed engine, with an admission that somebody forged."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "line.fixed"
    write_fixed_engine(path, FixedPlan(height=16, width=16))
    admitted(path, machine_name())
    return path


def admitted(engine: Path, machine: str) -> Admission:
    """Write into the engine's manifest that `machine` admitted it."""
    admission = Admission(
        admitted=True,
        machine=machine,
        backend="fixed",
        source="drawn",
        images=1,
        score_error=0,
        map_error=0,
        score_tolerance=0,
        map_tolerance=0,
        tolerance_reason="none",
        batch_invariant=True,
        repeatable=True,
        rank_flips=0,
        cost=[CostPoint(batch=1, median_ms=1, p99_ms=1)],
        peak_memory_mb=1,
        created="2026-11-26T00:00:00+00:00",
    )
    manifest = read_manifest(engine).model_copy(update={"admission": admission})
    write_manifest(engine, manifest)
    return admission


def all_whole(registry: Registry, folder: Path) -> list[str]:
    """Fetch every version that is visible, and what is in force; give the names."""
    names = [version.name for version in registry.versions()]
    pointer = registry.pointer()
    if pointer is not None:
        assert pointer.promoted in names
        assert pointer.previous is None or pointer.previous in names
    for name in names:
        read_manifest(registry.fetch(name, folder))
    return names


class Killed(BaseException):
    """Stands for SIGKILL: no `except Exception` sees it."""


class FailingFiles(MemoryFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A file system whose step number `fail_at` fails, and all after it."""

    protocol = "failing"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    steps = 0
    fail_at: int | None = None
    error: BaseException = OSError()

    @classmethod
    def empty(cls) -> None:
        """Begin anew, without failures."""
        cls.store.clear()
        cls.pseudo_dirs[:] = [""]
        cls.fail_from(None, OSError())

    @classmethod
    def fail_from(cls, step: int | None, error: BaseException) -> None:
        """Fail from the `step`-th call on; None: never."""
        cls.steps, cls.fail_at, cls.error = 0, step, error

    @classmethod
    def _step(cls) -> None:
        cls.steps += 1
        if cls.fail_at is not None and cls.steps >= cls.fail_at:
            raise cls.error

    def ls(self, path: str, detail: bool = True, **more: object) -> object:  # noqa: FBT001, FBT002  # fsspec's
        self._step()
        return super().ls(path, detail=detail, **more)

    def size(self, path: str) -> object:
        self._step()
        return super().size(path)

    def open(self, path: str, mode: str = "rb", **more: object) -> object:
        self._step()
        return super().open(path, mode, **more)

    def pipe_file(self, path: str, value: bytes, **more: object) -> None:
        self._step()  # an object appears whole or not at all
        super().pipe_file(path, value, **more)

    def put_file(self, lpath: str, rpath: str, **more: object) -> None:
        content = Path(lpath).read_bytes()
        super().pipe_file(rpath, content[: len(content) // 2])  # the worst of file systems
        self._step()
        super().put_file(lpath, rpath, **more)

    def get_file(self, rpath: str, lpath: str, **more: object) -> None:
        self._step()
        super().get_file(rpath, lpath, **more)
