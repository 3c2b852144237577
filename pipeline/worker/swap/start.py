"""Which engine a worker with a registry begins with."""

import logging

from engines.errors import EngineError
from pipeline.errors import SettingsError
from pipeline.wire import Standing
from pipeline.worker.active_engine import Serving
from pipeline.worker.swap.engine_source import Promotion, Source
from pipeline.worker.swap.history import Trials
from pipeline.worker.swap.interfaces import Agreement
from pipeline.worker.swap.loading import Way, open_serving

_log = logging.getLogger(__name__)


def open_promoted(source: Source, agreement: Agreement, way: Way) -> Serving:
    """Open what the registry promotes, or the newest version before it that may serve.

    The one before serves where the promoted one was refused or cannot be served here, and where it
    has not held on this line yet: then it comes in like any newcomer, shadowed and watched. Who is
    trying it may be at it, or may have died of it.

    Raises:
        SettingsError: nothing was ever promoted, or all of it was refused.
        EngineError: none of them can be served here.
        ConnectionLost: Redis does not say what is known of them.
    """
    trials = Trials(agreement)
    promoted, *before = source.for_a_start()
    failed: EngineError | None = None
    for promotion in _in_order(promoted, before, trials):
        try:
            return _open(source, promotion, trials, way)
        except EngineError as error:
            _skip(promotion, str(error))
            failed = error
    raise failed or SettingsError(
        f"{promoted.version} and all versions before it were refused on live frames of this line: "
        "promote another with engine-registry promote, or one of them once more"
    )


def _in_order(promoted: Promotion, before: list[Promotion], trials: Trials) -> list[Promotion]:
    """What may serve, best first."""
    known = trials.of(promoted)
    sound = [earlier for earlier in before if not trials.refused(earlier)]
    if known is not None and known.standing is Standing.REFUSED:
        _skip(promoted, f"it was refused: {known.why}")
        return sound
    if known is not None and known.standing is Standing.HELD:
        return [promoted, *sound]
    if not sound or (known is None and not any(map(trials.held, sound))):  # a line that begins
        return [promoted, *sound]
    why = f"{known.worker} has begun to try it" if known else "nobody on this line has tried it"
    extra = {"version": promoted.version, "why": f"{why}: it comes in its turn"}
    _log.warning("engine.not_yet", extra=extra)
    return [*sound, promoted]


def _skip(promotion: Promotion, why: str) -> None:
    _log.error("engine.skipped", extra={"version": promotion.version, "why": why})


def _open(source: Source, promotion: Promotion, trials: Trials, way: Way) -> Serving:
    if promotion.at:
        trials.begin(promotion)
    try:
        serving = open_serving(source.fetch(promotion.version), way, promotion.version)
    except BaseException:
        trials.end(promotion)
        raise
    source.remember(promotion.version)
    return serving
