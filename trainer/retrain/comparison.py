"""The gate's rule: candidate against incumbent, from what both said of the same golden pictures.

Promoted if no figure is worse beyond its 95 % interval and at least one is better beyond it. One
that is only faster must not have lost anything that can be counted either.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.dataset import GOOD
from trainer.results.evaluation import ScoredPictures
from trainer.results.metrics import auroc, pixel_figures
from trainer.retrain.bootstrap import (
    DRAWS,
    Draws,
    Reals,
    aurocs,
    average_precisions,
    draw,
    interval,
    map_histograms,
    shares,
)
from trainer.retrain.gate_report import Comparison, MetricComparison
from trainer.retrain.latency import LatencyComparison, Turns, compare_latency

CONFIDENCE = 0.95
SLACK = 0.1  # share by which latency may grow
MARGIN = 0.01  # by which AUROC or AP may fall where the candidate is only faster
LEAST_NORMALS = 20  # golden ones: one false reject of fewer is more than 5 %
LEAST_DEFECTS = 5
CHANCE = 0.5  # AUROC of an engine that knows nothing


@dataclass(frozen=True, slots=True)
class EngineAnswers:
    """What an engine says of the golden pictures, with its own thresholds."""

    scored: ScoredPictures
    threshold: float
    pixel_threshold: float
    keys: tuple[str, ...] = ()  # [N], equal for pictures of one group; (): each is its own

    @property
    def groups(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The group of each defective picture, and of each normal one."""
        keys = self.keys or tuple(map(str, range(len(self.scored.scores))))
        flags = self.defective
        return (
            tuple(key for key, flag in zip(keys, flags, strict=True) if flag),
            tuple(key for key, flag in zip(keys, flags, strict=True) if not flag),
        )

    @property
    def defective(self) -> NDArray[np.bool_]:
        """Which pictures show a defect, [N]."""
        return np.array([each.kind != GOOD for each in self.scored.pictures.samples], np.bool_)

    @property
    def rejected(self) -> NDArray[np.bool_]:
        """Which pictures the engine rejects, [N]."""
        return self.scored.scores > self.threshold


@dataclass(frozen=True, slots=True)
class Rules:
    """How strict the gate is."""

    seed: int = 1
    draws: int = DRAWS
    confidence: float = CONFIDENCE
    slack: float = SLACK


@dataclass(frozen=True, slots=True)
class _Figure:
    """A figure of one engine: on the golden pictures, and on every draw of them."""

    value: float
    drawn: Reals  # [B]


def same_answers(incumbent: EngineAnswers, candidate: EngineAnswers) -> bool:
    """Return whether both decide and mark every picture alike, to the last bit."""
    return (
        incumbent.threshold == candidate.threshold
        and incumbent.pixel_threshold == candidate.pixel_threshold
        and np.array_equal(incumbent.scored.scores, candidate.scored.scores)
        and np.array_equal(incumbent.scored.maps, candidate.scored.maps)
    )


def compare(
    incumbent: EngineAnswers | None, candidate: EngineAnswers, turns: Turns | None, rules: Rules
) -> tuple[MetricComparison, ...]:
    """Compare all figures; without an incumbent the intervals are those of the candidate alone.

    Args:
        incumbent: on the same pictures as `candidate`, in the same order.
        candidate: whoever wants to take its place.
        turns: of both, timed in turns.
        rules: how strict.
    """
    draws = draw(*candidate.groups, rules.seed, rules.draws)
    made = _figures(candidate, draws)
    baseline = _figures(incumbent, draws) if incumbent else {}
    compared = [
        _compared(name, baseline.get(name), made[name], rules.confidence)
        for name in _LOWER_IS_BETTER
    ]
    if turns is not None:
        compared.append(_latency(compare_latency(turns, rules.confidence, rules.seed), rules.slack))
    return tuple(compared)


def decide_promotion(figures: tuple[MetricComparison, ...]) -> tuple[bool, str]:
    """Apply the rule to figures that were compared; say which of them decided."""
    worse = [each.name for each in figures if each.standing == "worse"]
    better = [each.name for each in figures if each.standing == "better"]
    if worse:
        return False, f"worse than the incumbent beyond chance: {', '.join(worse)}"
    if not better:
        return False, "no figure is better than the incumbent's beyond chance: it stays"
    if better == [_LATENCY] and (lost := _lost(figures)):
        return False, f"it is faster, but not as good: {', '.join(lost)}"
    return True, f"better than the incumbent beyond chance: {', '.join(better)}; none is worse"


def check_first_engine(figures: tuple[MetricComparison, ...]) -> tuple[bool, str]:
    """Judge a first engine, which has no baseline: it must tell defects from good parts at all."""
    found = next(each for each in figures if each.name == "image AUROC")
    if found.candidate is None or found.low is None:
        return False, "image AUROC is unknown: there is no golden defect or no golden good part"
    said = f"image AUROC {found.candidate:.1%}, at the low end of its interval {found.low:.1%}"
    if found.low <= CHANCE:
        return False, f"there is no incumbent, and it does not beat chance: {said}"
    return True, f"there is no incumbent, and it beats chance: {said}"


def _lost(figures: tuple[MetricComparison, ...]) -> list[str]:
    """Name what is worse on the golden pictures, be it by chance: one more escape is."""
    said = []
    for each in figures:
        if each.name == _LATENCY or each.difference is None:
            continue
        rose = each.difference if each.lower_is_better else -each.difference
        if rose > (0 if each.lower_is_better else MARGIN):
            said.append(f"{each.name} {each.incumbent:.1%}, now {each.candidate:.1%}")
    return said


_LATENCY = "latency"
_LOWER_IS_BETTER = {
    "escapes": True,
    "false rejects": True,
    "image AUROC": False,
    "pixel AP": False,
}


def _figures(answers: EngineAnswers, draws: Draws) -> dict[str, _Figure | None]:
    flags, scores = answers.defective, answers.scored.scores.astype(np.float64)
    normal, defective = scores[~flags], scores[flags]
    figures: dict[str, _Figure | None] = dict.fromkeys(_LOWER_IS_BETTER)
    if defective.size:
        escaped = ~answers.rejected[flags]
        figures["escapes"] = _Figure(float(escaped.mean()), shares(draws.defects, escaped))
    if normal.size:
        rejected = answers.rejected[~flags]
        figures["false rejects"] = _Figure(float(rejected.mean()), shares(draws.normals, rejected))
    if normal.size and defective.size:
        drawn = aurocs(draws, defective, normal)
        figures["image AUROC"] = _Figure(auroc(scores, flags), drawn)
        figures["pixel AP"] = _pixel_ap(answers, draws, flags)
    return figures


def _pixel_ap(answers: EngineAnswers, draws: Draws, flags: NDArray[np.bool_]) -> _Figure | None:
    """AP over the pixels of the pictures whose mask is known; None without a known mask."""
    scored = answers.scored
    known = np.array([mask is not None for mask in scored.masks], np.bool_)
    if not (known & flags).any():
        return None
    which = np.flatnonzero(known)
    masks = np.zeros((len(which), *scored.maps.shape[1:]), np.bool_)
    for place, index in enumerate(which):
        masks[place] = scored.masks[index]
    maps = scored.maps[which]
    counts = np.empty((len(draws.defects), len(flags)))
    counts[:, flags], counts[:, ~flags] = draws.defects, draws.normals
    drawn = average_precisions(counts[:, known], map_histograms(maps, masks))
    return _Figure(pixel_figures(maps, masks).ap, drawn)


def _compared(
    name: str, baseline: _Figure | None, made: _Figure | None, confidence: float
) -> MetricComparison:
    drawn = None
    if made is not None:
        drawn = made.drawn if baseline is None else made.drawn - baseline.drawn
    low, high = interval(drawn, confidence) if drawn is not None else (None, None)
    both = made is not None and baseline is not None
    lower = _LOWER_IS_BETTER[name]
    return MetricComparison(
        name=name,
        unit="%",
        lower_is_better=lower,
        incumbent=baseline.value if baseline else None,
        candidate=made.value if made else None,
        difference=made.value - baseline.value if made and baseline else None,
        low=low,
        high=high,
        standing=_comparison(low, high, lower=lower) if both else "unknown",
    )


def _comparison(
    low: float | None, high: float | None, *, lower: bool, edge: float = 0.0
) -> Comparison:
    if low is None or high is None:
        return "unknown"
    if high < -edge:
        return "better" if lower else "worse"
    if low > edge:
        return "worse" if lower else "better"
    return "same"


def _latency(found: LatencyComparison, slack: float) -> MetricComparison:
    return MetricComparison(
        name=_LATENCY,
        unit="ms",
        lower_is_better=True,
        incumbent=found.incumbent_ms,
        candidate=found.candidate_ms,
        difference=found.candidate_ms - found.incumbent_ms,
        low=(found.low - 1) * found.incumbent_ms,
        high=(found.high - 1) * found.incumbent_ms,
        standing=_comparison(found.low - 1, found.high - 1, lower=True, edge=slack),
        note=f"a change of less than {slack:.0%} does not count",
    )
