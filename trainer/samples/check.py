"""A look at a data folder before anything is learned from it: parts, doubts and a sheet."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.errors import PictureError
from engines.pictures.read import resize_picture
from engines.zones.draw import draw_zones
from trainer.dataset import GOOD, Dataset, FileNotes, Sample, content_sha
from trainer.errors import MaskError
from trainer.fingerprints import Fingerprint, NearDuplicateIndex, fingerprint
from trainer.groups import series_note
from trainer.progress import Steps
from trainer.results.drawing import CAPTION, TRUTH, outline, write_caption
from trainer.truth import cover, read_truth
from trainer.zones import PictureZones

MOST_READ = 400  # pictures of a folder: all of small ones, evenly spread over the names of others
_TILE = 160  # pixels
TILE_SIZE = (_TILE, _TILE)
_COLUMNS = 6
_OF_A_KIND = 6  # tiles
_FEW_NORMALS, _FEW_TESTED = 50, 20
_LEAST_NEIGHBOURS = 8
_APART = 4.0  # two groups are this much further from each other than their pictures from them
_LEAST_GROUP = 0.1  # share of the pictures
_MOST_VALUES = 2  # grey levels of a picture that may be a mask
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class DataCheck:
    """What would be learned from and tested with, and what looks wrong."""

    name: str
    learned: dict[str, int]  # pictures by kind, defects to learn from too
    tested: dict[str, int]
    masks: int  # defects whose masks were read and are of use
    sizes: dict[str, int]  # height x width of the pictures read
    read: int  # of all
    doubts: tuple[str, ...]
    files: dict[str, object]
    unreadable: tuple[str, ...]
    sheet: NDArray[np.uint8] = field(repr=False)

    def as_json(self) -> dict[str, object]:
        """Return all but the sheet."""
        return {name: value for name, value in asdict(self).items() if name != "sheet"}


@dataclass(frozen=True, slots=True)
class _Look:
    """One picture that was read."""

    sample: Sample
    part: str
    shape: tuple[int, int]
    sha: str
    print_: Fingerprint
    tile: NDArray[np.uint8]
    masklike: bool


def check_dataset(
    dataset: Dataset, steps: Steps, most: int = MOST_READ, zones: PictureZones | None = None
) -> DataCheck:
    """Read pictures and masks of a dataset and look for what usually goes wrong.

    Args:
        dataset: as `trainer.layouts` finds it.
        steps: told how far it is.
        most: pictures to read.
        zones: drawn over the pictures of the sheet.

    Raises:
        DatasetError: zones are drawn on pictures of another size.
    """
    learned, tested = (*dataset.normals, *dataset.defects), dataset.test
    every = [(s, "learned from") for s in learned] + [(s, "tested with") for s in tested]
    chosen = np.linspace(0, len(every) - 1, min(most, len(every))).round().astype(int)
    looks: list[_Look] = []
    unreadable, doubts = list(dataset.unreadable), list(dataset.notes)
    notes = FileNotes()
    masks = 0
    with steps.step("reading pictures", len(chosen)) as advance:
        for place in chosen:
            sample, part = every[place]
            try:
                look, marked = _look(sample, part, notes, doubts)
                if zones is not None:
                    zones.check_shape(sample.name, look.shape)
                    draw_zones(look.tile, zones.zones, zones.camera)
                looks.append(look)
                masks += marked
            except PictureError as error:
                unreadable.append(str(error))
            advance(1)
    doubts += [*notes.sentences(), *_doubts(dataset, looks)]
    return DataCheck(
        name=dataset.name,
        learned=dict(Counter(sample.kind for sample in learned)),
        tested=dict(Counter(sample.kind for sample in tested)),
        masks=masks,
        sizes=dict(Counter(f"{look.shape[0]}x{look.shape[1]}" for look in looks)),
        read=len(looks),
        doubts=tuple(doubts),
        files=dataset.files.as_json(),
        unreadable=tuple(unreadable),
        sheet=_sheet(looks),
    )


def _look(sample: Sample, part: str, notes: FileNotes, doubts: list[str]) -> tuple[_Look, bool]:
    """Read a picture and its mask; what is wrong with the mask goes to `doubts`."""
    decoded = sample.decode()
    notes.add(sample.name, decoded)
    pixels = decoded.pixels
    shape = (pixels.shape[0], pixels.shape[1])
    tile = resize_picture(pixels, (_TILE, _TILE)).copy()
    marked = False
    if sample.kind != GOOD and sample.mask is not None:
        try:
            truth = read_truth(sample, shape)
            shown = cv2.resize(truth.astype(np.uint8), (_TILE, _TILE), interpolation=cv2.INTER_AREA)
            outline(tile, shown > 0, TRUTH)
            marked = True
            if doubt := cover(sample, truth):
                doubts.append(doubt)
        except MaskError as error:
            doubts.append(str(error))
    thin = pixels[:: max(1, shape[0] // 64), :: max(1, shape[1] // 64), 0]
    masklike = np.unique(thin).size <= _MOST_VALUES and not np.ptp(pixels, axis=2).any()
    look = _Look(sample, part, shape, content_sha(pixels), fingerprint(pixels), tile, masklike)
    return look, marked


def _doubts(dataset: Dataset, looks: Sequence[_Look]) -> Iterator[str]:
    yield from _few(dataset)
    yield from _sizes(looks)
    yield from _copies(looks)
    yield from _groups(looks)
    yield from _products(looks)
    masklike = [look.sample.name for look in looks if look.masklike]
    if masklike and len(masklike) < len(looks):
        yield f"{len(masklike)} pictures are black and white: are they masks? {_named(masklike)}"


def _few(dataset: Dataset) -> Iterator[str]:
    normals = len(dataset.normals)
    if normals < _FEW_NORMALS:
        yield f"{normals} pictures of good parts to learn from: a hundred or more are better"
    good = sum(sample.kind == GOOD for sample in dataset.test)
    bad = len(dataset.test) - good
    if good < _FEW_TESTED or bad < _FEW_TESTED:
        yield (
            f"{good} good and {bad} defective pictures to test with: shares of so few say little, "
            f"{_FEW_TESTED} of each are the least"
        )
    defects = [s for s in (*dataset.defects, *dataset.test) if s.kind != GOOD]
    without = [sample.name for sample in defects if sample.mask is None]
    if without:
        yield (
            f"{len(without)} of {len(defects)} defects have no mask: no network learns from them, "
            f"and pixel figures leave them out; {_named(without)}"
        )


def _sizes(looks: Sequence[_Look]) -> Iterator[str]:
    shapes = Counter(look.shape for look in looks)
    ratios = {round(width / height, 2) for height, width in shapes}
    if len(ratios) > 1:
        sizes = ", ".join(f"{h}x{w} ({count})" for (h, w), count in shapes.most_common(_SHOWN))
        yield (
            f"pictures of {len(shapes)} sizes and of different proportions: {sizes}; all are "
            "stretched to one size"
        )
    elif len(shapes) > 1:
        yield f"pictures of {len(shapes)} sizes: all are resized to one"


def _copies(looks: Sequence[_Look]) -> Iterator[str]:
    index = NearDuplicateIndex()
    names: dict[str, _Look] = {}
    copies: list[tuple[_Look, _Look]] = []
    exact = 0
    for look in looks:
        if look.sha in names:
            copies.append((names[look.sha], look))
            exact += 1
            continue
        alike = index.of(look.print_)
        if alike:
            copies.append((names[alike[0]], look))
        index.add(look.sha, look.print_)
        names[look.sha] = look
    if copies:
        shown = ", ".join(f"{a.sample.name} = {b.sample.name}" for a, b in copies[:_SHOWN])
        yield (
            f"{len(copies)} of {len(looks)} pictures are copies of another or nearly so, "
            f"{exact} to the pixel: {shown}"
        )
    across = sum(a.part != b.part for a, b in copies)
    if across:
        yield f"{across} copies stand on both sides: what is tested with was learned from"
    contrary = [(a, b) for a, b in copies if (a.sample.kind == GOOD) != (b.sample.kind == GOOD)]
    if contrary:
        one, other = contrary[0]
        yield (
            f"{len(contrary)} copies are called good and defective: {one.sample.name} and "
            f"{other.sample.name}"
        )


def _groups(looks: Sequence[_Look]) -> Iterator[str]:
    """Doubt pictures of which neighbours by name look alike, where nobody named groups."""
    good = [look for look in looks if look.sample.kind == GOOD]
    if not good or any(look.sample.group for look in looks):
        return
    prints = np.stack([look.print_ for look in good])
    if note := series_note([look.sample.name for look in good], prints):
        yield note


def _products(looks: Sequence[_Look]) -> Iterator[str]:
    """Doubt good pictures that fall into two groups: several products, sides or cameras."""
    good = [look for look in looks if look.sample.kind == GOOD]
    if len(good) < _LEAST_NEIGHBOURS:
        return
    prints = np.stack([look.print_ for look in good]).astype(np.float32)
    cv2.setRNGSeed(1)
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 50, 1e-3)
    start = np.zeros((len(prints), 1), np.int32)
    _, labels, centres = cv2.kmeans(prints, 2, start, criteria, 3, cv2.KMEANS_PP_CENTERS)
    groups = labels.ravel()
    share = float(min(groups.mean(), 1 - groups.mean()))
    within = float(np.linalg.norm(prints - centres[groups], axis=1).mean())
    between = float(np.linalg.norm(centres[0] - centres[1]))
    if share >= _LEAST_GROUP and between > _APART * max(within, 1e-6):
        first, second = (good[int(np.argmax(groups == group))].sample.name for group in (0, 1))
        yield (
            f"good pictures fall into two groups that look unlike each other ({first}, {second}): "
            "learn each product, side or camera on its own"
        )


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _sheet(looks: Sequence[_Look]) -> NDArray[np.uint8]:
    """Draw some pictures of each kind and part, masks outlined; uint8 [H, W, 3] RGB."""
    shown: Counter[tuple[str, str]] = Counter()
    tiles = []
    for look in looks:
        key = (look.part, look.sample.kind)
        shown[key] += 1
        if shown[key] <= _OF_A_KIND:
            tiles.append(_captioned(look))
    tiles = tiles or [np.full((_TILE + 2 * CAPTION, _TILE, 3), 255, np.uint8)]
    blank = np.full_like(tiles[0], 255)
    tiles += [blank] * (-len(tiles) % _COLUMNS)
    starts = range(0, len(tiles), _COLUMNS)
    rows = [np.concatenate(tiles[at : at + _COLUMNS], axis=1) for at in starts]
    return np.concatenate(rows)


def _captioned(look: _Look) -> NDArray[np.uint8]:
    lines = [np.full((CAPTION, _TILE, 3), 255, np.uint8) for _ in range(2)]
    write_caption(lines[0], "", f"{look.sample.kind}: {look.part}")
    write_caption(lines[1], look.sample.name, "")
    return np.concatenate([look.tile, *lines])
