"""A result of the stream -> the verdict that a program sees -> plain fields for JSON."""

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.codecs import MAX_PIXELS
from pipeline.errors import ForeignVerdict, UnreadableFrame
from pipeline.frames import Decision, FrameMeta, Judgement, Reason, Verdict
from pipeline.streams.outcome import Result
from pipeline.wire import decode_head, decode_judgement

ANSWERS = frozenset({Decision.OK.value, Decision.NG.value, *Reason})


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
    if not (result.answer or result.entry_id or result.head):
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
    if not result.head:
        raise NamelessVerdict(f"answer {result.answer} for a frame that had vanished")
    try:
        return decode_head(result.head).meta
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


def run_lengths(mask: NDArray[np.bool_]) -> dict[str, list[int]]:
    """Give a mask [H, W] as lengths of runs, row by row, the first run being of zeros."""
    flat = np.concatenate(([False], mask.ravel(), [False]))
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    if mask.ravel()[-1]:
        edges = edges[:-1]
    bounds = np.concatenate(([0], edges, [mask.size]))
    return {"size": list(mask.shape), "counts": np.diff(bounds).tolist()}


def mask_of_runs(runs: object) -> NDArray[np.bool_]:
    """Undo `run_lengths`: the mask, bool [H, W].

    Raises:
        ForeignVerdict: these are the run lengths of no mask.
    """
    match runs:
        case {"size": [int() as height, int() as width], "counts": [*counts]}:
            pass
        case _:
            raise ForeignVerdict(f"run lengths of a mask were expected, got {runs!r:.80}")
    pixels = height * width
    fits = height > 0 and width > 0 and pixels <= MAX_PIXELS
    if not fits or not all(type(count) is int and 0 <= count <= pixels for count in counts):
        raise ForeignVerdict(f"run lengths of {height}x{width}, limit {MAX_PIXELS} pixels")
    if sum(counts) != pixels:
        raise ForeignVerdict(f"runs of {sum(counts)} pixels, a mask of {height}x{width}")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(height, width)
