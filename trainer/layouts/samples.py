"""Pictures with their folder's label and their masks -> samples."""

from collections.abc import Iterable, Mapping, Sequence

from engines.errors import PictureError
from engines.pictures.masks import read_mask
from trainer.dataset import GOOD, Sample
from trainer.errors import DatasetError
from trainer.layouts.annotations import Annotation
from trainer.layouts.mask_files import MaskFiles
from trainer.layouts.names import DEFECT, is_good, kind_of
from trainer.layouts.tree import FolderTree, join

_UNKNOWN = "of unknown label"


class SampleReader:
    """Makes samples of the pictures of one tree."""

    def __init__(
        self, tree: FolderTree, roots: Sequence[str], annotations: Mapping[str, Annotation]
    ) -> None:
        """Take a tree, its folders of masks, and what annotation files say of its pictures."""
        self._tree = tree
        self._masks = MaskFiles(tree, roots)
        self._annotations = annotations

    def folder(self, part: str, folder: str) -> list[Sample]:
        """Read the pictures of a folder of one kind, and of its subfolders.

        Raises:
            DatasetError: the folder's name may mean good or defective.
        """
        inner = join(part, folder)
        names = self._tree.pictures_below(inner)
        if not names:
            return []
        if is_good(folder):
            return [sample for name in names for sample in self._good(name, part, folder)]
        kind = kind_of(folder, str(self._tree.path(inner)))
        return [self._defect(name, kind, self._masks.of(name, part, folder)) for name in names]

    def labelled(self, name: str, masks: Sequence[str], wanted: str) -> list[Sample]:
        """Read a picture that is good where its mask is empty; none where that is unknown.

        Args:
            name: of the picture.
            masks: its masks.
            wanted: what is missing, where it has none.
        """
        path = self._tree.path(name)
        if not masks:
            self._leave(name, f"{path}: no {wanted} says whether the part is good")
            return []
        self._tree.take_masks(masks)
        try:
            marked = self._marked(masks)
        except PictureError as error:
            self._leave(name, f"{path} is of unknown label: {error}")
            return []
        return [self._defect(name, DEFECT, masks) if marked else Sample(name, path, GOOD)]

    def annotated(self, name: str) -> list[Sample]:
        """Read a picture as an annotation file labels it; none where none does."""
        path = self._tree.path(name)
        annotation = self._annotations.get(name)
        if annotation is None:
            self._leave(name, f"{path}: no annotation file says whether the part is good")
            return []
        if not annotation.kind:
            return [Sample(name, path, GOOD)]
        return [self._defect(name, annotation.kind, ())]

    def _good(self, name: str, part: str, folder: str) -> list[Sample]:
        masks = self._masks.of(name, part, folder)
        annotation = self._annotations.get(name)
        path = self._tree.path(name)
        self._tree.take_masks(masks)
        try:
            marked = self._marked(masks) or bool(annotation and annotation.kind)
        except PictureError as error:
            self._leave(name, f"{path} lies among good parts, its mask is unreadable: {error}")
            return []
        if marked:
            self._leave(name, f"{path} lies among good parts, and its mask marks a defect")
            return []
        return [Sample(name, path, GOOD)]

    def _defect(self, name: str, kind: str, masks: Sequence[str]) -> Sample:
        path = self._tree.path(name)
        if masks:
            self._tree.take_masks(masks)
            first, *more = (self._tree.path(mask) for mask in masks)
            return Sample(name, path, kind, first, more_masks=tuple(more))
        annotation = self._annotations.get(name)
        if annotation is None or not annotation.kind:
            return Sample(name, path, kind)
        if annotation.fault and not annotation.outlines:
            self._tree.note(f"{path}: {annotation.file}: {annotation.fault}")
            return Sample(name, path, kind)
        if annotation.fault:
            self._tree.note(f"{path}: not all of its defects have an outline: {annotation.fault}")
            return Sample(name, path, kind)
        file = self._tree.path(annotation.file)
        return Sample(name, path, kind, file, outlines=annotation.outlines)

    def _marked(self, masks: Iterable[str]) -> bool:
        return any([read_mask(self._tree.path(mask)).any() for mask in masks])  # noqa: C419  # all are to be readable

    def _leave(self, name: str, sentence: str) -> None:
        self._tree.leave_out(name, _UNKNOWN, sentence)


def check_shared(tree: FolderTree, samples: Iterable[Sample]) -> None:
    """Refuse two pictures that have one mask.

    Raises:
        DatasetError: it says nothing of at least one of them.
    """
    owners: dict[object, str] = {}
    for sample in samples:
        masks = (
            ()
            if sample.outlines is not None or sample.mask is None
            else (
                sample.mask,
                *sample.more_masks,
            )
        )
        for mask in masks:
            if (other := owners.setdefault(mask, sample.name)) != sample.name:
                raise DatasetError(
                    f"{tree.path(other)} and {sample.name} of {tree.folder} share the mask "
                    f"{mask.name}: rename one of them, and its mask"
                )
