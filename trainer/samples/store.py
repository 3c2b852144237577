"""The sample store of a product: every labelled picture once, never lost, no test ever learned.

    with SampleStore.open(Path("samples")) as store:
        store.import_dataset(find_samples(folder), steps)
        screen(store, judge, steps)  # trainer.samples.screening
        snapshot = store.snapshot()
        store.training(snapshot), store.golden()

A file is written first, whole, then its row, in one transaction; what a kill leaves between the
two is mended when the store is opened next (trainer.samples.repair). New normal pictures are
incoming until they were screened: neither training nor the golden set sees them before.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Self

from engines.errors import PictureError
from engines.pictures.read import read_picture
from pipeline.archive import ArchivedFrame
from pipeline.labels import FROM_THE_FIRST, Label
from trainer.dataset import Dataset
from trainer.errors import SampleError, StoreBusy
from trainer.fingerprints import NearDuplicateIndex
from trainer.lock import folder_locked
from trainer.progress import Steps
from trainer.samples.datasets import counts_of, golden_of, sample_of, training_of
from trainer.samples.files import cannot_write, check_kind, picture_path
from trainer.samples.import_export import ExportReport, export_samples, import_samples
from trainer.samples.index import Index, IndexChange, index_opened
from trainer.samples.intake import Mask, Pixels, SampleWriter, parse_label, source_of
from trainer.samples.records import (
    AddResult,
    Counts,
    ImportReport,
    LabelRecord,
    LabelSource,
    Picture,
    SampleStatus,
)
from trainer.samples.repair import Repair, repair
from trainer.samples.snapshots import SnapshotRecord, freeze, read_snapshot, record_of
from trainer.samples.split import Split, choose_split

_WAITING = frozenset({SampleStatus.INCOMING, SampleStatus.QUARANTINE, SampleStatus.REJECTED})
_log = logging.getLogger(__name__)


class SampleStore:
    """An opened store; made by `open` and `look`."""

    def __init__(
        self,
        folder: Path,
        index: Index,
        duplicates: NearDuplicateIndex,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.folder = folder
        self.repaired = Repair()
        self._index = index
        self._duplicates = duplicates
        self._writer = SampleWriter(folder, index, duplicates)
        self._clock_ns = clock_ns

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator[Self]:
        """Open a store to write to it, or begin one, and mend what a kill has left.

        Raises:
            StoreBusy: another process writes to it.
            StoreError: it cannot be read or written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(folder, error) from error

        def busy(holder: str) -> StoreBusy:
            return StoreBusy(
                f"process {holder} is writing to the sample store {folder}: wait until it is done"
            )

        with folder_locked(folder, busy), index_opened(folder, to_write=True) as index:
            duplicates = NearDuplicateIndex()
            for sha, print_ in index.fingerprints():
                duplicates.add(sha, print_)
            store = cls(folder, index, duplicates)
            store.repaired = repair(folder, index, duplicates)
            yield store

    @classmethod
    @contextmanager
    def look(cls, folder: Path) -> Iterator[Self]:
        """Open a store to read it while others may write.

        Raises:
            StoreError: there is none, or it cannot be read.
        """
        with index_opened(folder, to_write=False) as index:
            yield cls(folder, index, NearDuplicateIndex())

    def add(  # all that is known of a picture
        self,
        pixels: Pixels,
        kind: str,
        mask: Mask | None,
        source: LabelSource,
        group: str = "",
    ) -> AddResult:
        """Take a picture with its label; of several labels for it the last one counts.

        Args:
            pixels: uint8 [H, W, 3], RGB.
            kind: "good", or a defect's name.
            mask: of the defect, bool [H, W]; None or empty: not known.
            source: where the label came from. The same label from the same source a second time
                changes nothing.
            group: name of the part or series that it belongs to: all of it comes to one side.

        Raises:
            SampleError: no picture, no kind, or a mask of another size.
            StoreError: the disk is full; the store is whole.
        """
        return self._writer.add(pixels, kind, mask, source, group=group)

    def take_label(
        self, line: str, label_id: str, label: Label, frame: ArchivedFrame | None
    ) -> AddResult | None:
        """Take a label of a line, and remember that it was read.

        Args:
            line: whose.
            label_id: in {line}:labels.
            label: what it says.
            frame: from the archive; None where it has expired.

        Returns: what became of the frame; None where the label was only recorded: unsure, its
        frame expired and never taken before, or taken already.

        Raises:
            StoreError: the disk is full; the label is still to be taken.
        """
        if self._index.has_taken(line, label_id):
            return None
        read_to = (line, max(label_id, self.labels_read(line), key=_label_order))
        frame = frame or self._taken_frame(line, label.entry_id)
        source, parsed = source_of(line, label_id, label, frame), parse_label(label, frame)
        note = parsed.note
        if frame is not None and parsed.kind:
            try:
                return self._writer.add(
                    frame.pixels, parsed.kind, parsed.mask, source, note, read_to
                )
            except SampleError as error:
                note = str(error)
        _log.info("label.recorded", extra={"line": line, "label": label_id, "why": note})
        label_record = LabelRecord("", parsed.kind, "", source, note)
        self._index.write(IndexChange(label_record=label_record, read_to=read_to))
        return None

    def labels_read(self, line: str) -> str:
        """Return the id of the line's label after which to read on."""
        return self._index.read_to(line) or FROM_THE_FIRST

    def import_dataset(self, dataset: Dataset, steps: Steps) -> ImportReport:
        """Take every picture of a data folder; the rule says which are golden, not the folder.

        Raises:
            StoreError: the disk is full; a repeat goes on.
        """
        return import_samples(dataset, self.add, steps)

    def pictures(self, place: SampleStatus | None = None) -> list[Picture]:
        """Return all pictures by hash, or those of a place."""
        return self._index.pictures(place)

    def quarantined(self) -> list[Picture]:
        """Return the pictures that wait for a person, with the reasons."""
        return self._index.pictures(SampleStatus.QUARANTINE)

    def label_records(self, sha: str) -> list[LabelRecord]:
        """Return every label that a picture ever got, the oldest first."""
        return self._index.label_records(sha)

    def near_duplicates(self, sha: str) -> set[str]:
        """Name the near-duplicates of a picture, itself left out, in a store opened to write."""
        print_ = self._index.fingerprint(sha)
        return set() if print_ is None else set(self._duplicates.of(print_)) - {sha}

    def path(self, picture: Picture) -> Path:
        """Where its file lies."""
        return self.folder / picture_path(picture)

    def named(self, start: str) -> Picture:
        """Find a picture by its hash or the beginning of it.

        Raises:
            SampleError: none, or several.
        """
        found = self._index.named(start)
        if len(found) != 1:
            raise SampleError(
                f"{len(found)} pictures have a hash that begins with {start!r:.80}: give more of it"
                if found
                else f"no picture has a hash that begins with {start!r:.80}"
            )
        return found[0]

    def keep(self, sha: str) -> None:
        """Let training, or the golden set, see an incoming picture: screening found no fault."""
        picture = self.named(sha)
        self._move(picture, replace(picture, place=SampleStatus.KEPT, reasons=()))

    def hold(self, sha: str, reasons: Iterable[str]) -> None:
        """Let a picture wait for a person."""
        picture = self.named(sha)
        self._move(picture, replace(picture, place=SampleStatus.QUARANTINE, reasons=tuple(reasons)))

    def release(self, sha: str, kind: str, by: str) -> Picture:
        """Say what a waiting or rejected picture shows; `kind` is "good" or a defect's name.

        One that is like a golden picture, and none itself, goes aside: training must not see it.

        Raises:
            SampleError: it does not wait, or no such kind.
        """
        check_kind(kind)
        picture = self.named(sha)
        if picture.place not in _WAITING:
            raise SampleError(f"{picture.sha[:12]} is {picture.place}: only what waits is released")
        same = kind == picture.kind
        mask, mask_kind = (picture.mask, picture.mask_kind) if same else ("", "")
        place = SampleStatus.ASIDE if self._would_leak(picture) else SampleStatus.KEPT
        released = replace(
            picture, kind=kind, place=place, mask=mask, mask_kind=mask_kind, reasons=()
        )
        self._move(picture, released, self._label_record(released, by, "released"))
        return released

    def reject(self, sha: str, by: str) -> Picture:
        """Take a picture out for good; its file stays, and `release` brings it back.

        Raises:
            SampleError: no such picture.
        """
        picture = self.named(sha)
        rejected = replace(picture, place=SampleStatus.REJECTED)
        self._move(picture, rejected, self._label_record(rejected, by, "rejected"))
        return rejected

    def snapshot(self) -> SnapshotRecord:
        """List what training may see now, and freeze the list by its hash.

        Raises:
            StoreError: the disk is full.
        """
        if waiting := len(self._index.pictures(SampleStatus.INCOMING)):
            _log.warning("samples.unscreened", extra={"pictures": waiting})
        seen = [each for each in self.pictures(SampleStatus.KEPT) if not each.golden]
        record = record_of([each for each in seen if self.path(each).is_file()])
        freeze(self.folder, record)
        return record

    def training(self, snapshot: SnapshotRecord | str) -> Dataset:
        """Return what a snapshot, or the one of a hash, lets training see.

        Defects without a mask are named in `Dataset.unreadable`: training needs one.

        Raises:
            StoreError: there is no such snapshot.
        """
        sha256 = snapshot if isinstance(snapshot, str) else snapshot.sha256
        return training_of(self.folder, self._index, read_snapshot(self.folder, sha256))

    def golden(self) -> Dataset:
        """Return what no training ever sees, normal and defective, to test with."""
        return golden_of(self.folder, self._index)

    def counts(self) -> Counts:
        """Count pictures by where they are."""
        return counts_of(self.folder, self._index)

    def export(self, folder: Path, steps: Steps, *, coco: bool = False) -> ExportReport:
        """Copy all that training and the golden set see to a folder in MVTec layout.

        With `coco` the labels are written as COCO annotation files too.

        Raises:
            StoreError: the folder holds something, or cannot be written.
        """
        learned = [
            sample_of(self.folder, each, each)
            for each in self.pictures(SampleStatus.KEPT)
            if not each.golden and self.path(each).is_file()
        ]
        return export_samples(learned, self.golden().test, folder, steps, coco=coco)

    def _move(self, before: Picture, after: Picture, said: LabelRecord | None = None) -> None:
        self._writer.place(before, after, IndexChange(label_record=said))

    def _would_leak(self, picture: Picture) -> bool:
        """Return whether training would learn a near-duplicate of a golden picture."""
        group = self._index.groups().get(picture.sha, "")
        likes = {*self.near_duplicates(picture.sha), *self._index.group_members(group)}
        rows = [self.named(like) for like in sorted(likes - {picture.sha})]
        decided = choose_split(picture.sha, [each.golden for each in rows])
        return not picture.golden and decided is not Split.TRAINING

    def _label_record(self, picture: Picture, by: str, what: str) -> LabelRecord:
        source = LabelSource(what, by=by, at_ns=self._clock_ns())
        return LabelRecord(picture.sha, picture.kind, picture.mask, source)

    def _taken_frame(self, line: str, entry_id: str) -> ArchivedFrame | None:
        """Return a frame that the archive has no more, but the store took for an earlier label."""
        picture = self._index.picture(self._index.picture_of_frame(line, entry_id))
        if picture is None:
            return None
        try:
            return ArchivedFrame(entry_id, read_picture(self.path(picture)), {})
        except PictureError:
            return None


def _label_order(label_id: str) -> tuple[int, ...]:
    """Order ids of a stream as Redis does, by number."""
    return tuple(int(part) for part in label_id.split("-") if part.isdecimal())
