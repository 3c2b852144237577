"""Whether a promotion was refused on live frames, by whichever worker of the line."""

import logging

from pipeline.errors import UnreadableFrame
from pipeline.wire import Refusal, decode_refusal
from pipeline.worker.swap.around import Agreement
from pipeline.worker.swap.registry import Promotion

_log = logging.getLogger(__name__)


def refusal_of(promotion: Promotion, agreement: Agreement) -> Refusal | None:
    """Give the refusal of this very promotion; a version that is promoted again may try again."""
    packed = agreement.refused()
    if packed is None:
        return None
    try:
        refusal = decode_refusal(packed)
    except UnreadableFrame as error:
        _log.warning("swap.unreadable_refusal", extra={"why": str(error)})
        return None
    same = Promotion(refusal.version, refusal.promoted_at) == promotion
    return refusal if same else None
