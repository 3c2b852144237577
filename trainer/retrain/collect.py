"""Collect the day's labels into the sample store, each once, and unpin the frames it has."""

from dataclasses import dataclass

from pipeline.archive import Archive, ArchivedFrame
from trainer.errors import DatasetError
from trainer.networks.backbones import load_backbone
from trainer.retrain.options import Dependencies
from trainer.retrain_settings import CandidateRecipe, RetrainSettings
from trainer.samples.records import SampleStatus
from trainer.samples.screening import ScreeningResult, screen
from trainer.samples.store import SampleStore


@dataclass(frozen=True, slots=True)
class Collected:
    """Numbers of labels collected, by what became of them."""

    labels: int = 0
    new: int = 0  # pictures that the store did not have
    changed: int = 0  # pictures whose label changed
    recorded: int = 0  # unsure labels, and those whose frame has expired
    kept: int = 0  # new normal ones that training may see
    held: int = 0  # new normal ones that wait for a person

    def said(self) -> str:
        """Return a sentence that sums up the numbers."""
        return (
            f"{self.labels} labels: {self.new} new pictures, {self.changed} changed, "
            f"{self.recorded} only recorded; of the new normal ones {self.kept} kept, {self.held} "
            "wait for a person"
        )


def collect(store: SampleStore, settings: RetrainSettings, dependencies: Dependencies) -> Collected:
    """Read the new labels of all lines, and screen new normal pictures.

    Raises:
        PipelineError: a line's Redis does not answer; what was read is kept.
        StoreError: the disk is full; what was stored is kept.
        DatasetError: there is no archive, or it cannot be read now; the labels wait.
    """
    if settings.line and settings.archive is None:
        raise DatasetError("labels of a line are useless without its archive: pass --archive")
    states: list[str] = []
    for line in settings.line:
        states += _read_line(store, line, settings, dependencies)
    screened = _screened(store, settings, dependencies)
    return Collected(
        labels=len(states),
        new=states.count("new"),
        changed=states.count("changed"),
        recorded=states.count("recorded"),
        kept=screened.kept,
        held=screened.held,
    )


def _screened(
    store: SampleStore, recipe: CandidateRecipe, dependencies: Dependencies
) -> ScreeningResult:
    if not store.pictures(SampleStatus.INCOMING):
        return ScreeningResult(0, 0, 0)
    return screen(store, load_backbone(recipe.backbone, recipe.weights), dependencies.steps)


def _read_line(
    store: SampleStore, line: str, settings: RetrainSettings, dependencies: Dependencies
) -> list[str]:
    """Store a line's labels; returns what became of each."""
    assert settings.archive is not None  # noqa: S101  # checked by `collect`
    archive = Archive(settings.archive, line)
    states: list[str] = []
    with dependencies.labels(line) as book:
        while page := book.since(store.labels_read(line), size_of=archive.frame_size):
            for label_id, label in page:
                frame = _find(archive, label.entry_id)
                added = store.take_label(line, label_id, label, frame)
                states.append("recorded" if added is None else added.state)
                archive.unpin(label.entry_id)
    return states


def _find(archive: Archive, entry_id: str) -> ArchivedFrame | None:
    """Find a frame; None if it is gone for good."""
    try:
        frame = archive.find(entry_id)
    except OSError as error:
        raise DatasetError(
            f"archived frame {entry_id} cannot be read now: {error}: repair the disk or the share, "
            "or delete the frame's files; its label waits"
        ) from error
    if frame is None and not archive.folder.is_dir():
        raise DatasetError(
            f"no archive in {archive.folder}, but its line has labels: mount it, or pass the "
            "workers' folder with --archive; the labels wait"
        )
    return frame
