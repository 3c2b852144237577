"""What a program imports to say what a frame truly showed, and to read what was said.

    with LabelBook(line="line-1") as book:
        book.send(Label(verdict.entry_id, LabelKind.DEFECT, "scratch", predicted=True, by="anna"))

A frame may get many labels: all are kept, the last one counts. The same label (`at_ns` included)
sent again is taken once.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import TracebackType
from typing import Self, TypeAlias, Unpack

from pipeline.errors import LabelError
from pipeline.frames import Label, LabelKind
from pipeline.label_rules import box, check_label, label_mask
from pipeline.settings import RedisAccess, RedisArguments
from pipeline.streams.labels import LabelStream
from pipeline.wire.label import MaskSizeError, decode_label, encode_label

FROM_THE_FIRST = "0-0"
PAGE = 256
PACKED_PAGE = 16  # labels read from Redis at a time: each may have a megabyte
MOST_PAGE_BYTES = 16 << 20  # of decoded labels: a page ends with the one that passes it
_CORNER_BYTES = 128  # that a corner takes once it is two Python numbers
SizeOf: TypeAlias = Callable[[str], tuple[int, int] | None]
_log = logging.getLogger(__name__)


__all__ = ["FROM_THE_FIRST", "Label", "LabelBook", "LabelKind", "box", "check_label", "label_mask"]


def send_label(stream: LabelStream, label: Label) -> str:
    """Check a label and send it; returns its id in the stream.

    Raises:
        LabelError: it cannot be right.
        ConnectionLost, RedisFull: call again with the same label; it is taken once.
    """
    check_label(label)
    return stream.send(encode_label(label))


def readable(
    page: list[tuple[str, bytes]], warned: set[str], size_of: SizeOf | None = None
) -> Iterator[tuple[str, Label]]:
    """Yield the labels of a page; what is no label is logged, once where `warned` remembers it.

    A mask of another size than its frame costs the mask, not the label.
    """
    for label_id, packed in page:
        try:
            label = _decode(label_id, packed, warned, size_of)
            check_label(label)
        except LabelError as error:
            _warn("label.unreadable", label_id, error, warned)
        else:
            yield label_id, label


def _decode(label_id: str, packed: bytes, warned: set[str], size_of: SizeOf | None) -> Label:
    try:
        return decode_label(packed, size_of)
    except MaskSizeError as error:
        _warn("label.mask_misfits", label_id, error, warned)
        return error.label


def _warn(event: str, label_id: str, error: LabelError, warned: set[str]) -> None:
    if label_id not in warned:
        _log.warning(event, extra={"label": label_id, "why": str(error)})
        warned.add(label_id)


def all_labels(stream: LabelStream) -> Iterator[tuple[str, Label]]:
    """Yield every label that is kept, oldest first; each is decoded when it is asked for."""
    return _labels_after(stream, FROM_THE_FIRST, set())


def _labels_after(
    stream: LabelStream, after: str, warned: set[str], size_of: SizeOf | None = None
) -> Iterator[tuple[str, Label]]:
    while page := stream.since(after, PACKED_PAGE):
        yield from readable(page, warned, size_of)
        after = page[-1][0]


def _decoded_bytes(label: Label) -> int:
    """Estimate what a label takes in memory: a few packed bytes may be a mask of megabytes."""
    mask_bytes = 0 if label.mask is None else label.mask.nbytes
    return mask_bytes + _CORNER_BYTES * sum(len(outline) for outline in label.outlines)


class LabelBook:
    """The labels of one line; a context that opens it."""

    def __init__(
        self,
        line: str,
        **redis: Unpack[RedisArguments],
    ) -> None:
        """Name the line.

        Args:
            line: the line's name.
            redis: as `RedisArguments` says.
        """
        self._line = line
        self._access = RedisAccess.from_arguments(redis)
        self._opened = ExitStack()
        self._stream: LabelStream | None = None
        self._warned: set[str] = set()  # ids of what is no label: the end is read again and again

    def __enter__(self) -> Self:
        """Connect.

        Raises:
            ConnectionLost: nothing answers there.
            RedisUnfit: the server would lose frames, or refuses this user.
            SettingsError: no such URL, or a name that is none.
        """
        with ExitStack() as opening:
            connection = opening.enter_context(self._access.connect())
            self._stream = LabelStream(connection.client, self._line)
            self._opened = opening.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream = None
        self._opened.close()

    def send(self, label: Label) -> str:
        """Send a label; returns its id. Waits for Redis's answer.

        Raises:
            LabelError: it cannot be right.
            ConnectionLost, RedisFull: call again with the same label; it is taken once.
        """
        return send_label(self._open(), label)

    def since(
        self, after: str = FROM_THE_FIRST, count: int = PAGE, size_of: SizeOf | None = None
    ) -> list[tuple[str, Label]]:
        """Return up to `count` labels after an id, oldest first; none: there are no more.

        Fewer than `count` may come while there are more, so that large masks do not add up in
        memory. What is no label is logged and passed over.

        Args:
            after: id of the last label that was read.
            count: at most so many.
            size_of: returns height and width of a frame by its entry id, as `Archive.frame_size`
                does: a mask of another size is logged and left out, before it takes any memory.

        Raises:
            ConnectionLost: call again.
        """
        page: list[tuple[str, Label]] = []
        page_bytes = 0
        for label_id, label in _labels_after(self._open(), after, self._warned, size_of):
            page.append((label_id, label))
            page_bytes += _decoded_bytes(label)
            if len(page) >= count or page_bytes > MOST_PAGE_BYTES:
                break
        return page

    def _open(self) -> LabelStream:
        if self._stream is None:
            raise RuntimeError("a LabelBook talks to Redis within `with` only")
        return self._stream
