"""A result of the stream -> the verdict that a program sees -> plain fields for JSON."""

from dataclasses import asdict
from typing import Any

from pipeline.errors import ForeignVerdict, UnreadableFrame
from pipeline.frames import Decision, FrameMeta, Judgement, Reason, Region, Verdict, ViewVerdict
from pipeline.masks import run_lengths
from pipeline.streams.result_reader import Result
from pipeline.wire import decode_frame_header, decode_judgement, decode_known_meta
from pipeline.wire.views import decode_views

ANSWERS = frozenset({Decision.OK.value, Decision.NG.value, *Reason})
NO_SEQ = -1  # of a verdict whose frame nobody can tell
_JUDGED_PLAIN = (
    "score",
    "normalised",
    "threshold",
    "pixel_threshold",
    "worker",
    "nearest",
    "distance",
    "cells",
)
_JUDGED = (*_JUDGED_PLAIN, "regions", "engine", "timings")


class VerdictGone(ForeignVerdict):
    """The stream no longer holds it: the program was away for longer than verdicts are kept."""


def read_verdict(line: str, result: Result) -> Verdict:
    """Make a verdict of what lies in the stream, and of as much of it as can be read.

    What this program cannot read is `UNKNOWN` with the reason `FOREIGN`: `unread` says why. Where
    not even the frame can be told, the camera is empty and the seq is -1.

    Raises:
        VerdictGone: it is no longer kept.
    """
    if result.gone:
        raise VerdictGone(f"{result.result_id} is no longer kept")
    unread: list[str] = []
    meta = _read_meta(result, unread)
    judgement = _read_judgement(result, unread)
    views = _read_views(result, unread)
    decision, reason = _decide(result, judgement, unread)
    return Verdict(
        line,
        meta,
        decision,
        reason,
        judgement,
        result.entry_id,
        result.result_id,
        answer=result.answer,
        detail=result.reason,
        unread="; ".join(unread),
        views=views,
        due_ms=result.due_ms,
        extra=result.extra,
    )


def has_identity(verdict: Verdict) -> bool:
    """Return whether a verdict names its frame."""
    return verdict.meta.seq != NO_SEQ


def _read_meta(result: Result, unread: list[str]) -> FrameMeta:
    try:
        return decode_frame_header(result.header).meta
    except UnreadableFrame as error:
        unread.append(f"header: {error}" if result.header else "the frame had vanished")
    try:
        return decode_known_meta(result.header)
    except UnreadableFrame:
        return FrameMeta("", NO_SEQ, "", 0, 0)


def _read_judgement(result: Result, unread: list[str]) -> Judgement | None:
    if result.judgement is None:
        return None
    try:
        return decode_judgement(result.judgement)
    except ForeignVerdict as error:
        unread.append(f"judgement: {error}")
        return None


def _read_views(result: Result, unread: list[str]) -> tuple[ViewVerdict, ...]:
    if result.views is None:
        return ()
    try:
        return decode_views(result.views)
    except ForeignVerdict as error:
        unread.append(str(error))
        return ()


def _decide(
    result: Result, judgement: Judgement | None, unread: list[str]
) -> tuple[Decision, Reason | None]:
    """Return decision and reason; a reason that was published is kept, whatever else is unread."""
    try:
        decision, reason = decide(result.answer, judgement, result.reason)
    except ForeignVerdict as error:
        unread.append(str(error))
        return Decision.UNKNOWN, Reason.FOREIGN
    if unread and decision is not Decision.UNKNOWN:
        return Decision.UNKNOWN, Reason.FOREIGN
    return decision, reason


def decide(
    answer: str, judgement: Judgement | None, detail: str = ""
) -> tuple[Decision, Reason | None]:
    """Return decision and reason of a published answer.

    Args:
        answer: the word published.
        judgement: what the engine said, where it was asked.
        detail: the reason published beside the word; one that is not known here changes nothing.

    Raises:
        ForeignVerdict: its judgement says something else, or the word is not known here.
    """
    if answer not in ANSWERS:
        raise ForeignVerdict(f"answer {answer!r:.40}: known are {', '.join(sorted(ANSWERS))}")
    if answer in set(Reason):
        return Decision.UNKNOWN, Reason(detail if detail in set(Reason) else answer)
    if judgement is not None and judgement.judged != answer:
        raise ForeignVerdict(f"answer {answer}, but its judgement says {judgement.judged}")
    return Decision(answer), None


def verdict_fields(verdict: Verdict, *, with_mask: bool) -> dict[str, Any]:
    """Return a verdict as a flat object of JSON values; what no engine said is null."""
    meta, judgement = verdict.meta, verdict.judgement
    fields: dict[str, Any] = {
        "line": verdict.line,
        "camera": meta.camera,
        "seq": meta.seq,
        "part_id": meta.part_id,
        "decision": verdict.decision.value,
        "reason": verdict.reason.value if verdict.reason else None,
        "answer": verdict.answer,
        "detail": verdict.detail,
        "unread": verdict.unread,
        "captured_ns": meta.captured_ns,
        "deadline_ns": meta.deadline_ns,
        "entry_id": verdict.entry_id,
        "result_id": verdict.result_id,
        **({"views": [asdict(view) for view in verdict.views]} if verdict.views else {}),
        **dict.fromkeys(_JUDGED),
    }
    if judgement is not None:
        fields |= {name: getattr(judgement, name) for name in _JUDGED_PLAIN}
        fields["regions"] = [_region_fields(region) for region in judgement.regions]
        if judgement.zones:
            fields |= {"zone": judgement.zone, "zones": judgement.zones}
        fields["engine"] = asdict(judgement.engine)
        fields["timings"] = asdict(judgement.timings)
    if with_mask:
        mask = judgement.mask if judgement else None
        fields["mask"] = None if mask is None else run_lengths(mask)
    return fields


def _region_fields(region: Region) -> dict[str, Any]:
    """Return a region as JSON values; where no zone is named nothing is said of zones."""
    return {name: value for name, value in asdict(region).items() if name != "zone" or value}
