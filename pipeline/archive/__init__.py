"""Frames and verdicts kept for labelling; what a program imports to read them."""

from pipeline.archive.archive import Archive, ArchivedFrame

__all__ = ["Archive", "ArchivedFrame"]
