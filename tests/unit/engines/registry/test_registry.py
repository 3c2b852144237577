"""The registry in a folder and at a URL: versions, the pointer, copies."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import pytest
from fakes.registry import (
    GATE,
    admitted,
    all_whole,
    make_engine,
    make_fixed,
    make_unadmitted,
)
from fsspec.implementations.memory import MemoryFileSystem
from inputs.odd_files import make_odd

from engines.errors import (
    BrokenVersion,
    ManifestError,
    NotAdmitted,
    Overtaken,
    RegistryAway,
    RegistryError,
    UnknownVersion,
)
from engines.machine import machine_name
from engines.manifest import manifest_path, read_manifest, write_manifest
from engines.registry.registry import Registry
from engines.registry.store import FolderStore


@pytest.fixture(params=["folder", "memory://registry"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    MemoryFileSystem.store.clear()
    yield str(tmp_path / "registry") if request.param == "folder" else request.param
    MemoryFileSystem.store.clear()


@pytest.fixture
def registry(url: str) -> Registry:
    return Registry(url)


@pytest.fixture
def engines(tmp_path: Path) -> list[Path]:
    return [make_engine(tmp_path / f"run{number}", salt=number) for number in range(3)]


def overwrite(registry: Registry, path: str, content: bytes) -> None:
    registry._store.write(path, content)


def test_new_registry_is_empty(registry: Registry) -> None:
    assert registry.versions() == []
    assert registry.pointer() is None
    assert registry.history() == []


def test_versions_are_listed_oldest_first_with_their_files(
    registry: Registry, engines: list[Path]
) -> None:
    made = [registry.register(engine, {"gate.json": GATE}) for engine in engines]
    assert Registry(registry.url).versions() == made
    assert made[0].files == ("gate.json", "line.onnx", "line.onnx.json")
    assert made[0].model == "small"
    assert made[0].sha256 == read_manifest(engines[0]).sha256
    assert registry.version(made[1].name) == made[1]
    assert registry.read(made[0].name, "gate.json") == GATE


def test_the_same_engine_is_one_version(registry: Registry, engines: list[Path]) -> None:
    assert registry.register(engines[0]) == registry.register(engines[0])
    assert len(registry.versions()) == 1


def test_another_threshold_is_another_version(registry: Registry, tmp_path: Path) -> None:
    first = registry.register(make_engine(tmp_path / "one", threshold=0.5))
    second = registry.register(make_engine(tmp_path / "two", threshold=0.6))
    assert first.sha256 == second.sha256
    assert first.name != second.name


def test_reports_and_an_admission_can_be_added_and_nothing_else_changes(
    registry: Registry, engines: list[Path], tmp_path: Path
) -> None:
    first = registry.register(engines[0])
    admission = admitted(engines[0], "cell 4")
    second = registry.register(engines[0], {"gate.json": GATE})
    assert second.created == first.created
    assert registry.manifest(first.name).admission == admission
    unadmitted = make_unadmitted(tmp_path / "again")
    third = registry.register(unadmitted, {"run.json": b"{}"})
    assert set(third.files) == {"line.onnx", "line.onnx.json", "gate.json", "run.json"}
    assert registry.manifest(first.name).admission == admission


def test_promotion_and_rollback_move_the_pointer(registry: Registry, engines: list[Path]) -> None:
    names = [registry.register(engine).name for engine in engines]
    for name in names:
        pointer = registry.promote(name, "night run")
    assert (pointer.promoted, pointer.previous, pointer.by) == (names[2], names[1], "night run")
    assert pointer.at.endswith("+00:00")
    back = registry.rollback("anna")
    assert (back.promoted, back.previous) == (names[1], names[2])
    again = registry.rollback("anna")
    assert (again.promoted, again.previous) == (names[2], names[1])
    assert Registry(registry.url).pointer() == again
    assert [one.promoted for one in registry.history()] == [names[at] for at in (2, 1, 2, 1, 0)]


def test_promoting_what_is_in_force_changes_nothing(
    registry: Registry, engines: list[Path]
) -> None:
    names = [registry.register(engine).name for engine in engines]
    registry.promote(names[0], "a")
    first = registry.promote(names[1], "a")
    assert registry.promote(names[1], "b") == first
    assert registry.rollback("c").promoted == names[0]


def test_promotion_over_what_was_not_expected_changes_nothing(
    registry: Registry, engines: list[Path]
) -> None:
    one, two, three = (registry.register(engine).name for engine in engines)
    with pytest.raises(Overtaken, match="no version is in force"):
        registry.promote(one, "a", expected=[two])
    registry.promote(one, "a", expected=[None])
    with pytest.raises(Overtaken, match=f"{one} is in force"):
        registry.promote(three, "b", expected=[None, two])
    assert [each.promoted for each in registry.history()] == [one]
    registry.promote(two, "b", expected=[one])
    assert registry.promote(two, "b", expected=[one]).promoted == two


def test_what_is_expected_is_looked_at_under_the_lock(
    registry: Registry, engines: list[Path]
) -> None:
    names = [registry.register(engine).name for engine in engines[:2]]
    wins = threading.Barrier(2)
    overtaken: list[str] = []

    def promote(name: str) -> None:
        mine = Registry(registry.url)
        wins.wait()
        try:
            mine.promote(name, "a", expected=[None])
        except Overtaken:
            overtaken.append(name)

    both = [threading.Thread(target=promote, args=(name,)) for name in names]
    for each in both:
        each.start()
    for each in both:
        each.join()
    assert len(overtaken) == len(registry.history()) == 1


def test_history_is_bounded(
    registry: Registry, engines: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engines.registry.promotions.HISTORY", 3)
    for engine in engines[:2]:
        registry.promote(registry.register(engine).name, "a")
    for _ in range(8):
        registry.rollback("b")
    assert len(registry.history()) == 4


def test_rollback_passes_over_what_a_line_refused(registry: Registry, engines: list[Path]) -> None:
    names = [registry.register(engine).name for engine in engines]
    for name in names:
        pointer = registry.promote(name, "night")
        if name != names[0]:
            registry.refuse(name, pointer.at, "more parts are NG", "line-1, a")
    standing = registry.standing()
    assert standing is not None
    assert standing.promoted == names[0]
    assert registry.rollback("anna").promoted == names[0]
    with pytest.raises(UnknownVersion, match="refused on live frames"):
        registry.rollback("anna")
    again = registry.promote(names[2], "anna")
    assert not registry.is_refused(again)
    assert registry.standing() == again
    assert registry.rollback("anna").promoted == names[0]


def test_foreign_refusal_hinders_no_rollback(registry: Registry, engines: list[Path]) -> None:
    names = [registry.register(engine).name for engine in engines]
    for name in names:
        registry.promote(name, "night")
    overwrite(registry, f"refusals/{names[1]}.json", b"{")
    assert registry.rollback("anna").promoted == names[1]
    with pytest.raises(UnknownVersion):
        registry.refuse("../../etc", "today", "why", "line-1, a")


def test_there_is_nothing_to_go_back_to(registry: Registry, engines: list[Path]) -> None:
    name = registry.register(engines[0]).name
    with pytest.raises(UnknownVersion, match="no version in force before"):
        registry.rollback("a")
    registry.promote(name, "a")
    with pytest.raises(UnknownVersion, match="no version in force before"):
        registry.rollback("a")


def refused_by_its_machine(folder: Path) -> Path:
    """An engine whose admission says no."""
    engine = make_engine(folder)
    manifest = read_manifest(engine)
    assert manifest.admission is not None
    no = manifest.admission.model_copy(update={"admitted": False, "reasons": ["it drifts"]})
    write_manifest(engine, manifest.model_copy(update={"admission": no}))
    return engine


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (make_unadmitted, "not admitted on any machine: run engine-admit"),
        (refused_by_its_machine, "not admitted on any machine: run engine-admit"),
        (make_fixed, "is a fixed engine"),
    ],
)
def test_version_that_no_machine_admitted_is_not_promoted(
    registry: Registry,
    engines: list[Path],
    tmp_path: Path,
    make: Callable[[Path], Path],
    why: str,
) -> None:
    before = registry.promote(registry.register(engines[1]).name, "a")
    name = registry.register(make(tmp_path / "made")).name
    with pytest.raises(NotAdmitted, match=f"{name} is .*{why.removeprefix('is ')}"):
        registry.promote(name, "a")
    assert registry.pointer() == before


def test_version_is_promoted_once_its_admission_is_registered(
    registry: Registry, tmp_path: Path
) -> None:
    name = registry.register(make_unadmitted(tmp_path / "made")).name
    registry.register(make_engine(tmp_path / "made"))
    assert registry.promote(name, "a").promoted == name


def test_rollback_passes_over_what_no_machine_admitted(
    registry: Registry, engines: list[Path]
) -> None:
    names = [registry.register(engine).name for engine in engines]
    for name in names:
        registry.promote(name, "night")
    withdraw_admission(registry, names[1])
    assert registry.rollback("anna").promoted == names[0]
    withdraw_admission(registry, names[2])
    with pytest.raises(UnknownVersion, match="not admitted on any machine"):
        registry.rollback("anna")


def withdraw_admission(registry: Registry, name: str) -> None:
    """Leave a version as a release before admissions were asked for promoted it."""
    manifest = registry.manifest(name).model_copy(update={"admission": None})
    content = manifest.model_dump_json().encode()
    overwrite(registry, f"versions/{name}/line.onnx.json", content)


@pytest.mark.parametrize("name", ["small-000000000000", "../../etc", "", "a/b", ".", "A", "x" * 99])
def test_unknown_version_is_refused_by_every_method(
    registry: Registry, engines: list[Path], tmp_path: Path, name: str
) -> None:
    registry.register(engines[0])
    for ask in (
        registry.version,
        registry.manifest,
        lambda name: registry.promote(name, "a"),
        lambda name: registry.fetch(name, tmp_path / "cache"),
        lambda name: registry.read(name, "gate.json"),
    ):
        with pytest.raises(UnknownVersion, match="engine-registry list"):
            ask(name)
    assert registry.pointer() is None


def test_version_without_its_record_is_not_there(registry: Registry, engines: list[Path]) -> None:
    name = registry.register(engines[0]).name
    overwrite(registry, "versions/small-000000000000/line.onnx", b"half")
    assert [version.name for version in registry.versions()] == [name]


@pytest.mark.parametrize("file", ["line.onnx", "line.onnx.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"x" * 200])
def test_broken_version_is_neither_promoted_nor_fetched(
    registry: Registry, engines: list[Path], tmp_path: Path, file: str, content: bytes
) -> None:
    good, bad = (registry.register(engine).name for engine in engines[:2])
    registry.promote(good, "a")
    overwrite(registry, f"versions/{bad}/{file}", content)
    with pytest.raises(BrokenVersion, match=file):
        registry.promote(bad, "a")
    with pytest.raises(BrokenVersion, match=file):
        registry.fetch(bad, tmp_path / "cache")
    pointer = registry.pointer()
    assert pointer is not None
    assert pointer.promoted == good


def test_changed_bytes_of_the_right_size_are_not_fetched(
    registry: Registry, engines: list[Path], tmp_path: Path
) -> None:
    name = registry.register(engines[0]).name
    size = engines[0].stat().st_size
    overwrite(registry, f"versions/{name}/line.onnx", b"x" * size)
    with pytest.raises(BrokenVersion, match="sha256"):
        registry.fetch(name, tmp_path / "cache")
    assert not (tmp_path / "cache" / name / "line.onnx").exists()


def test_changed_threshold_in_a_registered_manifest_is_noticed(
    registry: Registry, engines: list[Path], tmp_path: Path
) -> None:
    name = registry.register(engines[0]).name
    text = manifest_path(engines[0]).read_text("utf-8")
    changed = text.replace('"image": 0.5', '"image": 0.9')
    assert changed != text
    overwrite(registry, f"versions/{name}/line.onnx.json", changed.encode())
    with pytest.raises(BrokenVersion, match=r"line\.onnx\.json"):
        registry.fetch(name, tmp_path / "cache")


def test_rollback_to_a_version_that_lost_files_is_refused(
    registry: Registry, engines: list[Path]
) -> None:
    first, second = (registry.register(engine).name for engine in engines[:2])
    registry.promote(first, "a")
    pointer = registry.promote(second, "a")
    overwrite(registry, f"versions/{first}/line.onnx", b"")
    with pytest.raises(BrokenVersion):
        registry.rollback("a")
    assert registry.pointer() == pointer


def test_registering_again_mends_a_broken_version(
    registry: Registry, engines: list[Path], tmp_path: Path
) -> None:
    name = registry.register(engines[0], {"gate.json": GATE}).name
    for file in ("line.onnx", "line.onnx.json", "version.json"):
        overwrite(registry, f"versions/{name}/{file}", b"rubbish")
        registry.register(engines[0], {"gate.json": GATE})
        registry.promote(name, "a")
        registry.fetch(name, tmp_path / file)
    assert registry.read(name, "gate.json") == GATE


def test_damaged_record_hides_no_other_version(registry: Registry, engines: list[Path]) -> None:
    names = [registry.register(engine).name for engine in engines]
    overwrite(registry, f"versions/{names[1]}/version.json", b"{")
    versions, damaged = registry.survey()
    assert [version.name for version in versions] == [names[0], names[2]]
    assert damaged == [names[1]]
    with pytest.raises(BrokenVersion, match="engine-registry add"):
        registry.version(names[1])


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", "small-aaaaaaaaaaaa"), ("engine", "../../line.onnx"), ("files", {}), ("created", 5)],
)
def test_record_that_says_the_impossible_is_damaged(
    registry: Registry, engines: list[Path], field: str, value: object
) -> None:
    name = registry.register(engines[0]).name
    record = json.loads(registry._store.read(f"versions/{name}/version.json", 1 << 20) or b"")
    overwrite(
        registry, f"versions/{name}/version.json", json.dumps(record | {field: value}).encode()
    )
    assert registry.survey() == ([], [name])


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema_version": 2}'])
def test_damaged_pointer_is_not_followed(
    registry: Registry, engines: list[Path], content: bytes
) -> None:
    name = registry.register(engines[0]).name
    overwrite(registry, "promoted.json", content)
    with pytest.raises(RegistryAway, match=r"promoted\.json"):
        registry.pointer()
    with pytest.raises(RegistryAway, match="promote again"):
        registry.promote(name, "a")


@pytest.mark.parametrize("kind", ["fifo", "loop", "/dev/zero", "folder"])
def test_pointer_that_is_no_file_holds_nobody_up(
    tmp_path: Path, engines: list[Path], kind: str
) -> None:
    registry = Registry(str(tmp_path / "registry"))
    name = registry.register(engines[0]).name
    make_odd(kind, tmp_path / "registry" / "promoted.json")
    with pytest.raises(RegistryAway):
        registry.pointer()
    with pytest.raises(RegistryAway):
        registry.promote(name, "a")


@pytest.mark.parametrize("kind", ["fifo", "loop", "/dev/zero", "folder"])
def test_engine_that_is_no_file_is_neither_promoted_nor_fetched(
    tmp_path: Path, engines: list[Path], kind: str
) -> None:
    registry = Registry(str(tmp_path / "registry"))
    version = registry.register(engines[0])
    (stored,) = (tmp_path / "registry" / "versions" / version.name).glob("*.onnx")
    stored.unlink()
    make_odd(kind, stored)
    with pytest.raises(RegistryError):
        registry.promote(version.name, "a")
    with pytest.raises(RegistryError):
        registry.fetch(version.name, tmp_path / "copy")


def test_pointer_cannot_lead_out_of_the_registry(registry: Registry, engines: list[Path]) -> None:
    pointer = registry.promote(registry.register(engines[0]).name, "a")
    evil = {"schema_version": 1, "in_force": asdict(pointer) | {"promoted": "../../etc"}}
    overwrite(registry, "promoted.json", json.dumps(evil).encode())
    with pytest.raises(RegistryAway, match="damaged"):
        registry.pointer()


def test_extra_file_that_is_missing_or_changed_is_not_read(
    registry: Registry, engines: list[Path]
) -> None:
    name = registry.register(engines[0], {"gate.json": GATE}).name
    for file in ("run.json", "../version.json", "line.onnx"):
        with pytest.raises(UnknownVersion, match=r"gate\.json"):
            registry.read(name, file)
    stored = f"{hashlib.sha256(GATE).hexdigest()[:12]}-gate.json"
    overwrite(registry, f"versions/{name}/{stored}", b"{}")
    with pytest.raises(BrokenVersion, match=r"gate\.json"):
        registry.read(name, "gate.json")


@pytest.mark.parametrize(
    "name", ["../gate.json", "", ".hidden", "a/b", "version.json", "line.onnx", "line.onnx.json"]
)
def test_extra_file_with_a_wrong_name_is_refused(
    registry: Registry, engines: list[Path], name: str
) -> None:
    with pytest.raises(RegistryError):
        registry.register(engines[0], {name: b""})
    assert registry.versions() == []


def test_extra_file_that_is_too_large_is_refused(
    registry: Registry, engines: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engines.registry.registration.MAX_EXTRA_BYTES", 4)
    with pytest.raises(RegistryError, match=r"5 bytes, the limit is 4"):
        registry.register(engines[0], {"gate.json": b"12345"})


def test_engine_that_does_not_fit_its_manifest_is_not_registered(
    registry: Registry, engines: list[Path]
) -> None:
    engines[0].write_bytes(b"{}")
    with pytest.raises(ManifestError):
        registry.register(engines[0])
    assert registry.versions() == []


def test_kernels_of_a_plan_travel_with_it(
    registry: Registry, engines: list[Path], tmp_path: Path
) -> None:
    kernels = engines[0].with_name("line.onnx.so")
    manifest = read_manifest(engines[0])
    sha256 = hashlib.sha256(b"kernels").hexdigest()
    write_manifest(engines[0], manifest.model_copy(update={"kernel_sha256": sha256}))
    for content in (None, b"others"):
        if content is not None:
            kernels.write_bytes(content)
        with pytest.raises(ManifestError, match=r"line\.onnx\.so"):
            registry.register(engines[0])
    kernels.write_bytes(b"kernels")
    name = registry.register(engines[0]).name
    engine = registry.fetch(name, tmp_path / "cache")
    assert engine.with_name("line.onnx.so").read_bytes() == b"kernels"
    engine.with_name("line.onnx.so").write_bytes(b"others")
    registry.fetch(name, tmp_path / "cache")
    assert engine.with_name("line.onnx.so").read_bytes() == b"kernels"


def test_fetched_copy_needs_no_registry_any_more(
    registry: Registry, engines: list[Path], tmp_path: Path
) -> None:
    name = registry.register(engines[0]).name
    engine = registry.fetch(name, tmp_path / "cache")
    assert engine == tmp_path / "cache" / name / "line.onnx"
    assert read_manifest(engine) == read_manifest(engines[0])
    elsewhere = Registry(str(tmp_path / "no registry"))
    assert elsewhere.fetch(name, tmp_path / "cache") == engine


def test_admission_of_the_copy_survives_a_second_fetch(
    registry: Registry, engines: list[Path], tmp_path: Path
) -> None:
    theirs = admitted(engines[0], "the trainer's")
    name = registry.register(engines[0]).name
    engine = registry.fetch(name, tmp_path / "cache")
    assert read_manifest(engine).admission == theirs
    ours = admitted(engine, "the worker's")
    assert registry.fetch(name, tmp_path / "cache") == engine
    assert read_manifest(engine).admission == ours
    assert registry.manifest(name).admission == theirs


@pytest.mark.parametrize("copied", [None, "the trainer's"])
def test_admission_that_is_registered_later_reaches_a_copy_on_its_machine(
    registry: Registry, engines: list[Path], tmp_path: Path, copied: str | None
) -> None:
    if copied:
        admitted(engines[0], copied)
    else:
        make_unadmitted(engines[0].parent)
    name = registry.register(engines[0]).name
    engine = registry.fetch(name, tmp_path / "cache")
    ours = admitted(engines[0], machine_name())
    registry.register(engines[0])
    assert registry.fetch(name, tmp_path / "cache") == engine
    assert read_manifest(engine).admission == ours
    admitted(engines[0], "another's")
    registry.register(engines[0])
    registry.fetch(name, tmp_path / "cache")
    assert read_manifest(engine).admission == ours


@pytest.mark.parametrize("file", ["line.onnx", "line.onnx.json", "version.json"])
@pytest.mark.parametrize("content", [None, b"", b"{}"])
def test_damaged_copy_is_fetched_again(
    registry: Registry, engines: list[Path], tmp_path: Path, file: str, content: bytes | None
) -> None:
    name = registry.register(engines[0]).name
    engine = registry.fetch(name, tmp_path / "cache")
    damaged = engine.with_name(file)
    if content is None:
        damaged.unlink()
    else:
        damaged.write_bytes(content)
    assert read_manifest(registry.fetch(name, tmp_path / "cache")) == read_manifest(engines[0])


def test_copy_with_another_threshold_is_fetched_again(
    registry: Registry, engines: list[Path], tmp_path: Path
) -> None:
    name = registry.register(engines[0]).name
    engine = registry.fetch(name, tmp_path / "cache")
    manifest = read_manifest(engine)
    limits = manifest.thresholds.model_copy(update={"image": 0.99})
    write_manifest(engine, manifest.model_copy(update={"thresholds": limits}))
    assert read_manifest(registry.fetch(name, tmp_path / "cache")).thresholds.image == 0.5


def test_copy_that_cannot_be_written_is_said(
    registry: Registry, engines: list[Path], tmp_path: Path
) -> None:
    name = registry.register(engines[0]).name
    (tmp_path / "cache").write_bytes(b"no folder")
    with pytest.raises(RegistryAway, match="cannot be copied to"):
        registry.fetch(name, tmp_path / "cache")


def test_many_fetch_the_same_version_into_one_folder(
    registry: Registry, engines: list[Path], tmp_path: Path
) -> None:
    name = registry.register(engines[0]).name
    found: list[Path] = []
    threads = [
        threading.Thread(
            target=lambda: found.append(Registry(registry.url).fetch(name, tmp_path / "cache"))
        )
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [tmp_path / "cache" / name / "line.onnx"] * 6
    assert all_whole(registry, tmp_path / "cache") == [name]


def test_two_promoters_at_once_lose_no_promotion_in_a_folder(
    engines: list[Path], tmp_path: Path
) -> None:
    url = str(tmp_path / "registry")
    names = [Registry(url).register(engine).name for engine in engines]

    def promote_in_turn() -> None:
        mine = Registry(url)
        for turn in range(12):
            mine.promote(names[turn % 3], "a")

    threads = [threading.Thread(target=promote_in_turn) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    history = Registry(url).history()
    assert len(history) > 12
    for later, earlier in pairwise(history):
        assert later.previous == earlier.promoted
    assert history[-1].previous is None


def test_registry_that_was_here_and_is_gone_is_away_not_empty(
    engines: list[Path], tmp_path: Path
) -> None:
    """A share that is not mounted any more leaves an empty folder."""
    root = tmp_path / "registry"
    registry = Registry(str(root))
    name = registry.register(engines[0]).name
    registry.promote(name, "a")
    root.rename(tmp_path / "mounted elsewhere")
    for mount_point in (False, True):
        if mount_point:
            root.mkdir()
        for ask in (
            registry.pointer,
            registry.versions,
            lambda: registry.version(name),
            lambda: registry.promote(name, "a"),
            lambda: registry.fetch(name, tmp_path / "cache"),
            lambda: registry.register(engines[1]),
            lambda: registry.rollback("a"),
        ):
            with pytest.raises(RegistryAway):
                ask()
    assert [path.name for path in root.iterdir()] in ([], [".promote.lock"])


def test_lock_that_another_process_holds_is_said(engines: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "registry"
    registry = Registry(str(folder), FolderStore(folder, lock_wait_s=0.05))
    name = registry.register(engines[0]).name
    with (
        registry._store.locked("promote"),
        pytest.raises(RegistryAway, match=r"another process.*promote\.lock"),
    ):
        registry.promote(name, "a")
    assert registry.promote(name, "a").promoted == name


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "empty"),
        ("nosuch://bucket/x", "nosuch"),
        ("sftp://anna:secret@host/registry", "FSSPEC_SFTP_PASSWORD"),
        ("simplecache::memory://registry", "chain"),
        ("s3://[bucket/x", "Invalid IPv6 URL"),
        ("s3://anna:secret@[bucket/x", r"s3://\.\.\.: "),
        ("abfs://c@account.dfs.core.windows.net/r?sas_token=secret", "FSSPEC_ABFS_"),
        ("nosuch://b/x?token=secret", "behind a '\\?'"),
        ("file://registry", "file:///"),
    ],
)
def test_url_that_can_be_no_registry_is_refused(url: str, why: str) -> None:
    with pytest.raises(RegistryError, match=why) as refused:
        Registry(url)
    assert "secret" not in str(refused.value)


def test_file_url_is_a_folder(engines: list[Path], tmp_path: Path) -> None:
    version = Registry(f"file://{tmp_path}/registry").register(engines[0])
    assert Registry(str(tmp_path / "registry")).versions() == [version]


def test_copy_tells_what_the_engine_learned_from_and_does_without_where_that_is_broken(
    registry: Registry, engines: list[Path], tmp_path: Path
) -> None:
    whole, broken = (registry.register(each, {"seen.json": b"{}"}) for each in engines[:2])
    stored = f"{hashlib.sha256(b'{}').hexdigest()[:12]}-seen.json"
    overwrite(registry, f"versions/{broken.name}/{stored}", b"rotten")
    copies = [registry.fetch(each.name, tmp_path / "copies") for each in (whole, broken)]
    assert (copies[0].parent / "seen.json").read_bytes() == b"{}"
    assert not (copies[1].parent / "seen.json").exists()
