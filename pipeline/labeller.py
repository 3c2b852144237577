"""Wishes to label -> labels of the line: each is checked, and its frame kept, before it is sent."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from pipeline.archive import Archive
from pipeline.errors import LabelError
from pipeline.frames import Label
from pipeline.label_request import Request, find_entry, find_frame, make_label, marked_px
from pipeline.labels import all_labels, check_label
from pipeline.streams.labels import LabelStream
from pipeline.wire import encode_label

Patiently = Callable[[Callable[[], str]], str]


@dataclass(frozen=True, slots=True)
class Sent:
    """A label that the line has."""

    label_id: str
    label: Label
    marked_px: int | None  # None: nobody could look
    earlier: Label | None  # what was said of the frame before, if it was something else

    def fields(self, line: str) -> dict[str, Any]:
        """It as JSON values."""
        return {
            "line": line,
            "label_id": self.label_id,
            "entry_id": self.label.entry_id,
            "as": self.label.kind.value,
            "defect": self.label.defect,
            "marked_px": self.marked_px,
            "by": self.label.by,
            "at_ns": self.label.at_ns,
            "contradicts": None if self.earlier is None else _said(self.earlier),
        }

    def sentence(self) -> str:
        """It in words."""
        marked = f", {self.marked_px} px marked" if self.marked_px else ""
        return f"{self.label.entry_id}: {_said(self.label)}{marked}"

    def contradiction(self) -> str:
        """What was said before, in words; empty where the same was."""
        if self.earlier is None:
            return ""
        by = f" by {self.earlier.by}" if self.earlier.by else ""
        return (
            f"{self.label.entry_id} was labelled {_said(self.earlier)}{by} before: both are kept, "
            "the last one counts"
        )


def _said(label: Label) -> str:
    return f"{label.kind} {label.defect}".strip()


def _without_place(label: Label) -> Label:
    """What contradictions are found by; a line's drawn masks are gigabytes."""
    return replace(label, mask=None, outlines=())


class Labeller:
    """Turns wishes into labels of the line, each checked against the archive where there is one."""

    def __init__(
        self, stream: LabelStream, archive: Archive | None, by: str, patiently: Patiently
    ) -> None:
        """Read what was said of the line's frames so far.

        Args:
            stream: of the line.
            archive: of the line; None: nothing can be checked.
            by: who labels, where a wish does not say.
            patiently: repeats what Redis does not answer, for as long as a user would wait.
        """
        self._stream = stream
        self._archive = archive
        self._patiently = patiently
        self._by = by
        self._latest = {
            label.entry_id: _without_place(label) for _, label in all_labels(self._stream)
        }

    def label(self, request: Request) -> Sent:
        """Send one label; its frame is kept from before it is sent, whatever Redis answers.

        A label whose answer was lost may have arrived, and others may have labelled the same frame.

        Raises:
            LabelError: it cannot be right, or its frame is unknown or has expired.
            ConnectionLost, RedisFull: Redis was away for too long: label it again.
        """
        entry_id = find_entry(request, self._archive)
        label = make_label(request.model_copy(update={"by": request.by or self._by}), entry_id)
        check_label(label)
        packed = encode_label(label)
        marked = None
        if self._archive is not None:
            marked = marked_px(label, find_frame(entry_id, self._archive))
            if not self._archive.pin(entry_id):
                raise LabelError(f"frame {entry_id} has expired this moment")
        label_id = self._patiently(lambda: self._stream.send(packed))
        before = self._latest.get(entry_id)
        self._latest[entry_id] = _without_place(label)
        contradicts = before is not None and _said(before) != _said(label)
        return Sent(label_id, label, marked, before if contradicts else None)
