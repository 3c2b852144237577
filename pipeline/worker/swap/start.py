"""Which engine a worker with a registry begins with."""

import logging

from engines.errors import EngineError
from pipeline.worker.serving import Serving
from pipeline.worker.swap.around import Agreement
from pipeline.worker.swap.load import Way, open_serving
from pipeline.worker.swap.refusals import refusal_of
from pipeline.worker.swap.registry import Promotion, Source

_log = logging.getLogger(__name__)


def open_promoted(source: Source, agreement: Agreement, way: Way) -> Serving:
    """Open what the registry promotes; where that was refused or cannot be served, the one before.

    Raises:
        SettingsError: nothing was ever promoted.
        EngineError: none of them can be served here.
        ConnectionLost: Redis does not say what was refused.
    """
    *better, last = source.for_a_start()
    for promotion in better:
        if refusal := refusal_of(promotion, agreement):
            _skip(promotion, refusal.why)
            continue
        try:
            return _open(source, promotion, way)
        except EngineError as error:
            _skip(promotion, str(error))
    return _open(source, last, way)


def _skip(promotion: Promotion, why: str) -> None:
    _log.error("engine.skipped", extra={"version": promotion.version, "why": why})


def _open(source: Source, promotion: Promotion, way: Way) -> Serving:
    serving = open_serving(source.fetch(promotion.version), way, promotion.version)
    source.remember(promotion.version)
    return serving
