"""`trainer-samples`: the sample store as a person sees it."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from engines.commandline.terminal import Terminal
from trainer.commands.data_folder import read_folder, read_folders
from trainer.errors import SampleError
from trainer.progress import TerminalSteps
from trainer.samples.check import TILE_SIZE, DataCheck, check_dataset
from trainer.samples.quarantine import LEAST_REFERENCES, QuarantineLimits
from trainer.samples.records import Counts, ImportReport, Picture, SampleStatus
from trainer.samples.store import SampleStore
from trainer.settings import SamplesSettings
from trainer.zones import open_zones

_SHOWN_CHARS = 12  # of a hash
_SHOWN_UNREADABLE = 10
_SHOWN_DOUBTS = 20
_INCOMPLETE_STATUS = 1


def run(settings: SamplesSettings) -> int:
    """Run the action; returns the exit status, 0 if all of it could be done."""
    return _ACTIONS[settings.action](settings)


def _import(settings: SamplesSettings) -> int:
    # torch comes with these, which the other actions do without
    from trainer.networks.backbones import load_backbone  # noqa: PLC0415
    from trainer.samples.screening import screen  # noqa: PLC0415

    console = Terminal(stderr=settings.as_json)
    dataset = read_folder(_folder(settings), settings, console)
    backbone = load_backbone(settings.backbone, settings.weights)
    with SampleStore.open(_store(settings)) as store, TerminalSteps(console) as steps:
        report = store.import_dataset(dataset, steps)
        screened = screen(store, backbone, steps, QuarantineLimits(oddness=settings.oddness))
        counts = store.counts()
    if settings.as_json:
        known = asdict(report) | asdict(screened) | {"files": dataset.files.as_json()}
        _print_json(known)
    _print_import(console, report)
    console.print(f"new normal parts: {screened.kept} kept, {screened.held} wait for you")
    if screened.left:
        console.print(
            f"{screened.left} normal parts cannot be screened yet: {LEAST_REFERENCES} are needed "
            "to compare with"
        )
    if screened.held:
        console.print(
            f"look at them: trainer-samples quarantine --store {_store(settings)}", soft_wrap=True
        )
    console.print(_table(counts))
    return 0


def _print_import(console: Console, report: ImportReport) -> None:
    console.print(
        f"{report.added} new, {report.known} known, {report.changed} with another label than before"
        + (f", {report.without_mask} defects without a mask" if report.without_mask else "")
    )
    for line in report.doubts[:_SHOWN_UNREADABLE]:
        console.print(f"doubtful: {line}", soft_wrap=True, markup=False)
    for line in report.unreadable[:_SHOWN_UNREADABLE]:
        console.print(f"left out: {line}", soft_wrap=True)
    if (more := len(report.unreadable) - _SHOWN_UNREADABLE) > 0:
        console.print(f"left out: {more} more")


def _list(settings: SamplesSettings) -> int:
    with SampleStore.look(_store(settings)) as store:
        counts, waiting = store.counts(), store.quarantined()
        pictures = _all_fields(store) if settings.as_json else []
    if settings.as_json:
        waits = [_fields(each) for each in waiting]
        _print_json({**asdict(counts), "waiting": waits, "pictures": pictures})
        return 0
    console = Terminal()
    console.print(_table(counts))
    for picture in waiting:
        console.print(
            f"{picture.sha[:_SHOWN_CHARS]} waits as {picture.kind}: {'; '.join(picture.reasons)}",
            soft_wrap=True,
        )
    if counts.missing:
        console.print(f"{counts.missing} pictures have lost their file: restore a backup")
    return 0


def _quarantine(settings: SamplesSettings) -> int:
    from trainer.results.drawing import save_picture  # noqa: PLC0415
    from trainer.samples.sheet import draw_waiting  # noqa: PLC0415

    out = settings.out or Path("quarantine.jpg")
    with SampleStore.look(_store(settings)) as store:
        waiting = store.quarantined()
        if waiting:
            save_picture(out, draw_waiting(store, waiting))
    if settings.as_json:
        _print_json([_fields(each) for each in waiting])
    elif waiting:
        sys.stdout.write(
            f"{len(waiting)} pictures wait: wrote {out}\n"
            "trainer-samples release HASH... --as good|DEFECT, or reject HASH...\n"
        )
    else:
        sys.stdout.write("nothing waits\n")
    return 0


def _release(settings: SamplesSettings) -> int:
    if not settings.as_kind:
        raise SampleError("release needs --as good, or --as and the name of the defect")
    return _decide(settings, lambda store, sha: store.release(sha, settings.as_kind, settings.by))


def _reject(settings: SamplesSettings) -> int:
    return _decide(settings, lambda store, sha: store.reject(sha, settings.by))


def _decide(settings: SamplesSettings, decide: Callable[[SampleStore, str], Picture]) -> int:
    if not settings.what:
        raise SampleError(f"{settings.action} needs at least one HASH: see trainer-samples list")
    refused = 0
    with SampleStore.open(_store(settings)) as store:
        for sha in settings.what:
            try:
                picture = decide(store, sha)
            except SampleError as error:
                sys.stderr.write(f"{error}\n")
                refused += 1
                continue
            where = f"{'golden ' if picture.golden else ''}{picture.kind}"
            if picture.place is SampleStatus.ASIDE:
                where += ", aside: it resembles golden pictures, which training must not see"
            sys.stdout.write(f"{picture.sha[:_SHOWN_CHARS]} {settings.action}: {where}\n")
    return _INCOMPLETE_STATUS if refused else 0


def _export(settings: SamplesSettings) -> int:
    folder = _folder(settings)
    with (
        SampleStore.look(_store(settings)) as store,
        TerminalSteps(Terminal()) as steps,
    ):
        exported = store.export(folder, steps, coco=settings.coco)
    sys.stdout.write(f"{exported.pictures} pictures in {folder}\n")
    if exported.not_in_coco:
        sys.stdout.write(
            f"{exported.not_in_coco} defects have no mask: the COCO files leave them out, because "
            "they would appear to be good\n"
        )
    return 0


def _check(settings: SamplesSettings) -> int:
    from trainer.results.drawing import save_picture  # noqa: PLC0415

    console = Terminal(stderr=settings.as_json)
    out = settings.out or Path("check.jpg")
    checks: list[dict[str, object]] = []
    zones = open_zones(settings.zones, settings.zones_camera, settings.zones_product, TILE_SIZE)
    for dataset in read_folders(_folder(settings), settings, console):
        with TerminalSteps(console) as steps:
            check = check_dataset(dataset, steps, zones=zones)
        where = out if not checks else out.with_stem(f"{out.stem}-{dataset.name}")
        save_picture(where, check.sheet)
        checks.append(check.as_json() | {"picture": str(where)})
        _print_check(console, check, where)
    if settings.as_json:
        _print_json(checks)
    return 0


def _print_check(console: Console, check: DataCheck, picture: Path) -> None:
    for what, kinds in (("to learn from", check.learned), ("to test with", check.tested)):
        said = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) or "nothing"
        console.print(f"{what}: {said}", soft_wrap=True, markup=False)
    of = sum(check.learned.values()) + sum(check.tested.values())
    console.print(f"{check.read} of {of} pictures read, {check.masks} masks fit", soft_wrap=True)
    for doubt in check.doubts[:_SHOWN_DOUBTS]:
        console.print(f"doubt: {doubt}", soft_wrap=True, markup=False)
    if (more := len(check.doubts) - _SHOWN_DOUBTS) > 0:
        console.print(f"doubt: {more} more, --json names them")
    for sentence in check.unreadable[:_SHOWN_UNREADABLE]:
        console.print(f"left out: {sentence}", soft_wrap=True, markup=False)
    if (more := len(check.unreadable) - _SHOWN_UNREADABLE) > 0:
        console.print(f"left out: {more} more")
    console.print(f"wrote {picture}", soft_wrap=True, markup=False)


def _store(settings: SamplesSettings) -> Path:
    if settings.store is None:
        raise SampleError(f"{settings.action} needs --store, the folder of the sample store")
    return settings.store


def _folder(settings: SamplesSettings) -> Path:
    if len(settings.what) != 1:
        raise SampleError(f"{settings.action} needs one DIR, got {len(settings.what)}")
    return Path(settings.what[0])


def _table(counts: Counts) -> Table:
    table = Table("kind", "training", "golden", box=SIMPLE_HEAD)
    kinds = sorted({*counts.training, *counts.golden}, key=lambda kind: (kind != "good", kind))
    for kind in kinds:
        table.add_row(kind, *(str(side.get(kind, 0)) for side in (counts.training, counts.golden)))
    for place in ("incoming", "quarantine", "aside", "rejected"):
        if count := getattr(counts, place):
            table.add_row(f"({place})", str(count), "")
    return table


def _fields(picture: Picture) -> dict[str, object]:
    return {
        "sha": picture.sha,
        "kind": picture.kind,
        "golden": picture.golden,
        "reasons": picture.reasons,
    }


def _all_fields(store: SampleStore) -> list[dict[str, object]]:
    """Return every picture with its sources: paths in data folders, entry ids of frames."""
    return [
        {
            **_fields(picture),
            "place": picture.place.value,
            "origins": sorted({said.source.origin for said in store.label_records(picture.sha)}),
        }
        for picture in store.pictures()
    ]


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


_ACTIONS: Mapping[str, Callable[[SamplesSettings], int]] = MappingProxyType(
    {
        "import": _import,
        "list": _list,
        "quarantine": _quarantine,
        "release": _release,
        "reject": _reject,
        "export": _export,
        "check": _check,
    }
)
