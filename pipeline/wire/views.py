"""What the views of a part said: the field `w` of a station's verdict."""

import msgpack

from pipeline.errors import ForeignVerdict
from pipeline.frames import Decision, Reason, ViewVerdict
from pipeline.wire.fields import MAX_NAME_CHARS, shown

MAX_VIEWS_BYTES = 65_536
_MOST_VIEWS = 64
_SEQ_DIGITS = 19


def decode_views(packed: bytes) -> tuple[ViewVerdict, ...]:
    """Read what the views of a part said.

    Raises:
        ForeignVerdict: truncated, foreign, or out of bounds.
    """
    if len(packed) > MAX_VIEWS_BYTES:
        raise ForeignVerdict(f"{len(packed)} bytes of views, limit {MAX_VIEWS_BYTES}")
    try:
        views = msgpack.unpackb(packed)
    except (ValueError, msgpack.UnpackException) as error:
        raise ForeignVerdict(f"views: not msgpack: {error or type(error).__name__}") from error
    # an empty list is an empty map to the server's own packer
    if not isinstance(views, list | dict) or len(views) > _MOST_VIEWS:
        raise ForeignVerdict(f"views: {shown(views)}")
    return tuple(map(_decode_view, views))


def decode_waiting_entry(packed: bytes) -> str:
    """Return the entry id of a view's verdict that waits for its part; empty where unreadable."""
    try:
        match msgpack.unpackb(packed):
            case [str(), str(), str(entry), *_]:
                return entry
    except (ValueError, msgpack.UnpackException):
        pass
    return ""


def _decode_view(view: object) -> ViewVerdict:
    match view:
        case [str(name), str(answer), str(reason), str(entry), str(camera), str(seq), *_] if (
            max(map(len, (name, entry, camera))) <= MAX_NAME_CHARS
            and seq.isdecimal()
            and len(seq) <= _SEQ_DIGITS
        ):
            decision = Decision(answer) if answer in set(Decision) else Decision.UNKNOWN
            word = reason if reason in set(Reason) else answer
            why = Reason(word) if word in set(Reason) else Reason.FOREIGN
            reason_known = None if decision is not Decision.UNKNOWN else why
            return ViewVerdict(name, decision, reason_known, entry, camera, int(seq))
    raise ForeignVerdict(f"views: {shown(view)}")
