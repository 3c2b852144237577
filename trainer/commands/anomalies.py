"""`trainer-anomalies`: a sheet of the anomalies that a network would be trained with."""

from engines.commandline.terminal import Terminal
from trainer.anomalies.textures import open_textures
from trainer.commands.data_folder import print_json, read_folder
from trainer.dataset import load_pictures
from trainer.progress import TerminalSteps
from trainer.results.drawing import save_picture
from trainer.results.report import loss_lines
from trainer.results.sheets import draw_anomalies
from trainer.seen import draw_seen, load_seen
from trainer.settings import AnomaliesSettings
from trainer.training.protoad import drawn


def draw_sheet(settings: AnomaliesSettings) -> None:
    """Draw the sheet and write it."""
    console = Terminal(stderr=settings.as_json)
    size = (settings.size, settings.size)
    dataset = read_folder(settings.data, settings, console)
    seen, rest = draw_seen(dataset, settings.seen, settings.seed)
    normals = drawn(dataset.normals, settings.max_normals, settings.seed)
    with TerminalSteps(console) as steps:
        with steps.step("reading pictures", len(normals)) as advance:
            pictures = load_pictures(normals, size, lambda: advance(1))
        with steps.step("drawing textures", None):
            textures = open_textures(settings.textures, size, settings.seed)
        with steps.step("drawing anomalies", None):
            regions = load_seen(seen, size)
            sheet = draw_anomalies(pictures.pixels, regions, textures, settings.rows, settings.seed)
    save_picture(settings.out, sheet)
    for line in loss_lines(
        (*rest.unreadable, *pictures.unreadable), (*rest.notes, *pictures.notes)
    ):
        console.print(line, soft_wrap=True, markup=False)
    if settings.as_json:
        files, names_seen = dataset.files.as_json(), [sample.name for sample in seen]
        print_json({"files": files, "seen": names_seen, "picture": str(settings.out)})
    names = (
        ", ".join(sample.name for sample in seen) or "no defects with a mask, so none is extended"
    )
    console.print(f"wrote {settings.out}; seen: {names}", soft_wrap=True)
