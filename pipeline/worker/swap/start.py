"""Which engine a worker with a registry begins with."""

import logging

from engines.errors import EngineError
from pipeline.errors import SettingsError
from pipeline.wire import RolloutState
from pipeline.worker.active_engine import LoadedEngine
from pipeline.worker.swap.engine_source import EngineSource, PromotionRef
from pipeline.worker.swap.history import RolloutHistory
from pipeline.worker.swap.interfaces import SwapCoordinator
from pipeline.worker.swap.loading import EngineOptions, load_engine

_log = logging.getLogger(__name__)


def load_promoted(
    source: EngineSource, coordinator: SwapCoordinator, options: EngineOptions
) -> LoadedEngine:
    """Open what the registry promotes, or the newest version before it that may serve.

    The one before serves where the promoted one was refused or cannot be served here, and where it
    has not held on this line yet: then it comes in like any candidate, shadowed and watched. Who is
    trying it may be at it, or may have died of it.

    Raises:
        SettingsError: nothing was ever promoted, or all of it was refused.
        EngineError: none of them can be served here.
        ConnectionLost: Redis does not say what is known of them.
    """
    history = RolloutHistory(coordinator)
    promoted, *before = source.start_candidates()
    failed: EngineError | None = None
    for promotion in _in_order(promoted, before, history):
        try:
            return _load_promotion(source, promotion, history, options)
        except EngineError as error:
            _skip(promotion, str(error))
            failed = error
    raise failed or SettingsError(
        f"{promoted.version} and all versions before it were refused on live frames of this line: "
        "promote another with engine-registry promote, or one of them once more"
    )


def _in_order(
    promoted: PromotionRef, before: list[PromotionRef], history: RolloutHistory
) -> list[PromotionRef]:
    """What may serve, best first."""
    known = history.find(promoted)
    sound = [earlier for earlier in before if not history.is_refused(earlier)]
    if known is not None and known.state is RolloutState.REFUSED:
        _skip(promoted, f"it was refused: {known.why}")
        return sound
    if known is not None and known.state is RolloutState.HELD:
        return [promoted, *sound]
    if not sound or (known is None and not any(map(history.has_held, sound))):  # a line that begins
        return [promoted, *sound]
    why = f"{known.worker} has begun to try it" if known else "nobody on this line has tried it"
    extra = {"version": promoted.version, "why": f"{why}: it comes in its turn"}
    _log.warning("engine.not_yet", extra=extra)
    return [*sound, promoted]


def _skip(promotion: PromotionRef, why: str) -> None:
    _log.error("engine.skipped", extra={"version": promotion.version, "why": why})


def _load_promotion(
    source: EngineSource, promotion: PromotionRef, history: RolloutHistory, options: EngineOptions
) -> LoadedEngine:
    if promotion.at:
        history.begin(promotion)
    try:
        loaded = load_engine(source.fetch(promotion.version), options, promotion.version)
    except BaseException:
        history.end(promotion)
        raise
    source.remember(promotion.version)
    return loaded
