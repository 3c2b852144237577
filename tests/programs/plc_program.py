"""A program of a plant, as its author's type checker sees it: every public call once."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.announce import announce
from pipeline.archive import Archive, ArchivedFrame
from pipeline.consumer import Consumer
from pipeline.errors import ConnectionLost, PipelineError
from pipeline.frames import Decision, Judgement, Reason, Region, Verdict
from pipeline.labels import Label, LabelBook, LabelKind
from pipeline.labels.book import box, label_mask

_log = logging.getLogger(__name__)


def reject(verdict: Verdict) -> bool:
    """Return whether a part is to be blown off the belt."""
    reason: Reason | None = verdict.reason
    judgement: Judgement | None = verdict.judgement
    regions: tuple[Region, ...] = judgement.regions if judgement else ()
    score: float | None = judgement.score if judgement else None
    _log.info("%s %d: %s %s %d", verdict.meta.camera, verdict.meta.seq, reason, score, len(regions))
    return verdict.decision is not Decision.OK


def run(url: str) -> int:
    """Read verdicts until there are none."""
    seen = 0
    try:
        with Consumer(line="line-1", program="plc", redis_url=url) as verdicts:
            while (verdict := verdicts.next(0.1)) is not None:
                if reject(verdict):
                    verdicts.label(verdict, LabelKind.DEFECT, defect="scratch")
                verdicts.acknowledge(verdict)
                seen += 1
            missed: int = verdicts.missed
            _log.info("missed %d", missed)
    except ConnectionLost as error:
        _log.warning(str(error))
    except PipelineError as error:
        raise SystemExit(str(error)) from error
    return seen


def look(folder: Path, url: str) -> dict[str, Any]:
    """Label the newest archived frame."""
    archive = Archive(folder, "line-1")
    *_, newest = archive.entries()
    frame: ArchivedFrame | None = archive.find(newest)
    if frame is None:
        raise SystemExit(f"{newest} is gone")
    label = Label(frame.entry_id, LabelKind.DEFECT, outlines=(box(1, 2, 3, 4),))
    mask: NDArray[np.bool_] | None = label_mask(label, frame)
    with LabelBook("line-1", redis_url=url) as book:
        sent: str = book.send(label)
    heard: int = announce("line-1", redis_url=url)
    return {"mask": mask, "sent": sent, "heard": heard}
