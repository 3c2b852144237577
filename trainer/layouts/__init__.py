"""Folders of labelled pictures -> samples, in the layouts in which pictures are kept and published.

A layout is known by its form, never by a folder's name; `docs/data.md` shows each one.
"""

from trainer.layouts.find import find_datasets, find_samples
from trainer.layouts.names import DEFECT

__all__ = ["DEFECT", "find_datasets", "find_samples"]
