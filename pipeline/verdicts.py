"""A result of the stream -> the verdict that a program sees -> plain fields for JSON."""

from dataclasses import asdict
from typing import Any

from pipeline.errors import ForeignVerdict, UnreadableFrame
from pipeline.frames import Decision, FrameMeta, Judgement, Reason, Verdict
from pipeline.masks import run_lengths
from pipeline.streams.result_reader import Result
from pipeline.wire import decode_frame_header, decode_judgement

ANSWERS = frozenset({Decision.OK.value, Decision.NG.value, *Reason})
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


class NamelessVerdict(ForeignVerdict):
    """A verdict of this line that names no frame: its head is lost or damaged."""


class VerdictGone(ForeignVerdict):
    """The stream no longer holds it: the program was away for longer than verdicts are kept."""


def read_verdict(line: str, result: Result) -> Verdict:
    """Make a verdict of what lies in the stream.

    Raises:
        VerdictGone: it is no longer kept.
        NamelessVerdict: no readable head: some part has this answer, nobody can say which.
        ForeignVerdict: the bytes are no verdict of this line.
    """
    if not (result.answer or result.entry_id or result.header):
        raise VerdictGone(f"{result.result_id} is no longer kept")
    if result.answer not in ANSWERS:
        raise ForeignVerdict(
            f"answer {result.answer!r:.40}: known are {', '.join(sorted(ANSWERS))}"
        )
    meta = _read_meta(result)
    judgement = None if result.judgement is None else decode_judgement(result.judgement)
    decision, reason = decide(result.answer, judgement)
    return Verdict(line, meta, decision, reason, judgement, result.entry_id, result.result_id)


def _read_meta(result: Result) -> FrameMeta:
    if not result.header:
        raise NamelessVerdict(f"answer {result.answer} for a frame that had vanished")
    try:
        return decode_frame_header(result.header).meta
    except UnreadableFrame as error:
        raise NamelessVerdict(
            f"answer {result.answer} for a frame without head: {error}"
        ) from error


def decide(answer: str, judgement: Judgement | None) -> tuple[Decision, Reason | None]:
    """Give decision and reason of a published answer.

    Raises:
        ForeignVerdict: its judgement says something else.
    """
    if answer in set(Reason):
        return Decision.UNKNOWN, Reason(answer)
    if judgement is not None and judgement.judged != answer:
        raise ForeignVerdict(f"answer {answer}, but its judgement says {judgement.judged}")
    return Decision(answer), None


def verdict_fields(verdict: Verdict, *, with_mask: bool) -> dict[str, Any]:
    """Give a verdict as a flat object of JSON values; what no engine said is null."""
    meta, judgement = verdict.meta, verdict.judgement
    fields: dict[str, Any] = {
        "line": verdict.line,
        "camera": meta.camera,
        "seq": meta.seq,
        "part_id": meta.part_id,
        "decision": verdict.decision.value,
        "reason": verdict.reason.value if verdict.reason else None,
        "captured_ns": meta.captured_ns,
        "deadline_ns": meta.deadline_ns,
        "entry_id": verdict.entry_id,
        "result_id": verdict.result_id,
        **dict.fromkeys(_JUDGED),
    }
    if judgement is not None:
        fields |= {name: getattr(judgement, name) for name in _JUDGED_PLAIN}
        fields["regions"] = [asdict(region) for region in judgement.regions]
        fields["engine"] = asdict(judgement.engine)
        fields["timings"] = asdict(judgement.timings)
    if with_mask:
        mask = judgement.mask if judgement else None
        fields["mask"] = None if mask is None else run_lengths(mask)
    return fields
