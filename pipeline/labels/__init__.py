"""The labels of a line; what a program imports to send them and to read them back."""

from pipeline.frames import Label, LabelKind
from pipeline.labels.book import FROM_THE_FIRST, LabelBook

__all__ = ["FROM_THE_FIRST", "Label", "LabelBook", "LabelKind"]
