"""What a new engine says of some test pictures, as a sheet in the run folder."""

from pathlib import Path

from engines.open import open_engine
from trainer.dataset import Dataset, load_pictures
from trainer.progress import Steps
from trainer.results.evaluation import judge
from trainer.results.sheets import contact_sheet, save_picture

SHEET_NAME = "examples.jpg"
_SHOWN_OF_KIND = 3


def write_examples(engine: Path, dataset: Dataset, steps: Steps) -> None:
    """Show the first test pictures of each kind, judged by an engine file, beside that file."""
    shown: dict[str, int] = {}
    samples = []
    for sample in dataset.test:
        shown[sample.kind] = shown.get(sample.kind, 0) + 1
        if shown[sample.kind] <= _SHOWN_OF_KIND:
            samples.append(sample)
    with open_engine(engine) as opened, steps.step("drawing examples", len(samples)) as advance:
        thresholds = opened.manifest.thresholds
        judged = judge(opened.engine, load_pictures(samples, opened.engine.input_size), advance)
    which = range(len(judged.scores))
    sheet = contact_sheet(judged, which, thresholds.image, thresholds.pixel)
    save_picture(engine.with_name(SHEET_NAME), sheet)
