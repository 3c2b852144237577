"""Which pictures a ProtoAD may be learned from."""

from pathlib import Path

import pytest
from inputs.data_folders import mvtec

from trainer.errors import DatasetError
from trainer.layouts import find_samples
from trainer.training.protoad import ProtoAdRecipe, read_normals

RECIPE = ProtoAdRecipe((32, 32), 1, 0.01, 0.2, 100)


class Quiet:
    def step(self, name: str, total: int | None) -> "Quiet":
        del name, total
        return self

    def __enter__(self) -> object:
        return lambda _: None

    def __exit__(self, *_: object) -> None:
        """Nothing is held."""


def test_only_readable_pictures_count_for_the_least_number(tmp_path: Path) -> None:
    folder = mvtec(tmp_path)
    for path in sorted((folder / "train" / "good").iterdir())[2:]:
        path.write_bytes(b"")
    with pytest.raises(DatasetError, match=r"2 readable .*\(10 do not read, .*an empty file"):
        read_normals(find_samples(folder), RECIPE, Quiet())
