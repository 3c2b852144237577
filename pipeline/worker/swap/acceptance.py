"""The check whether a candidate's verdicts leave the band of the incumbent's last ones: pure.

Four one-sided tests, each exact:
- more NG, fewer NG, more UNKNOWN: Fisher's test of two shares, the incumbent's and the candidate's,
  by the hypergeometric tail with both margins fixed;
- slower: a sign test. If the candidate's typical batch took at most `slower` times what the
  incumbent's took, at least half of its batches would; too few do, by the binomial tail.
Chance alone leaves the band in fewer than ALPHA of all watches: the level is shared out among the
four tests and all the looks that a watch may take (Bonferroni).

Before the watch, the shadow: both engines see the same NG frames. If the candidate found half of
them or more, all would pass with a probability of one half to the power of their number.
"""

import math
import statistics

from pipeline.worker.active_engine import VerdictCounts

ALPHA = 1e-4
LOOK_EVERY = 10  # verdicts between two looks
TESTS = 4
MIN_BASELINE = 100  # verdicts of the incumbent: fewer see only what is gross
MIN_BATCHES = 20  # batches of the incumbent, to know its typical time


def per_test_alpha(most_frames: int) -> float:
    """Return each test's share of ALPHA in a watch of at most so many verdicts."""
    return ALPHA / (TESTS * max(1, math.ceil(most_frames / LOOK_EVERY)))


def outside_band(
    before: VerdictCounts, after: VerdictCounts, slower: float, alpha: float, *, alike: bool = True
) -> str:
    """Return how `after` left the band of `before`, or "" if chance may explain it.

    Args:
        before: the incumbent's last verdicts.
        after: the candidate's.
        slower: so many times the incumbent's time of a batch is still in the band.
        alpha: of each test, see `per_test_alpha`.
        alike: whether both judge by their own thresholds; one set by hand for either says nothing
            of the other, and NG is not compared.
    """
    if alike and (why := _more_or_fewer_ng(before, after, alpha)):
        return why
    if fisher_tail(before.unknown, before.frames, after.unknown, after.frames) < alpha:
        return (
            f"more parts are UNKNOWN: {before.unknown} of {before.frames} before, "
            f"{after.unknown} of {after.frames} now"
        )
    return _slower(before, after, slower, alpha)


def _more_or_fewer_ng(before: VerdictCounts, after: VerdictCounts, alpha: float) -> str:
    shares = f"{_share(before)} before, {_share(after)} now"
    if fisher_tail(before.ng, before.frames, after.ng, after.frames) < alpha:
        return f"more parts are NG: {shares}"
    ok_before, ok_after = before.frames - before.ng, after.frames - after.ng
    if fisher_tail(ok_before, before.frames, ok_after, after.frames) < alpha:
        return f"fewer parts are NG: {shares}"
    return ""


def passes_all_rejects(ng: int, passed: int) -> str:
    """Return that a candidate misses what the incumbent finds, or "" if chance may explain it.

    Args:
        ng: frames that the incumbent calls NG.
        passed: of these, those that the candidate calls OK.
    """
    if passed < ng or sign_test_tail(passed, ng) >= ALPHA:
        return ""
    return f"it passes all {ng} frames that the engine in force calls NG"


def _share(counts: VerdictCounts) -> str:
    return f"{counts.ng} of {counts.frames}"


def _slower(before: VerdictCounts, after: VerdictCounts, slower: float, alpha: float) -> str:
    if len(before.time_ratios) < MIN_BATCHES or not after.time_ratios:
        return ""
    typical = statistics.median(before.time_ratios)
    slow = sum(ratio > slower * typical for ratio in after.time_ratios)
    if sign_test_tail(slow, len(after.time_ratios)) >= alpha:
        return ""
    times = statistics.median(after.time_ratios) / typical
    return f"a batch takes {times:.1f} times as long as before; up to {slower:g} is in the band"


def fisher_tail(hits: int, frames: int, later_hits: int, later_frames: int) -> float:
    """Probability that chance puts so many or more of all hits into the later frames.

    Fisher's exact test, one-sided: of frames + later_frames frames hits + later_hits are hit, and
    every set of that size is equally likely.
    """
    total, hit = frames + later_frames, hits + later_hits
    whole = _log_choose(total, later_frames)
    most = min(hit, later_frames)
    tail = math.fsum(
        math.exp(_log_choose(hit, count) + _log_choose(total - hit, later_frames - count) - whole)
        for count in range(later_hits, most + 1)
        if later_frames - count <= total - hit
    )
    return min(1.0, tail)


def sign_test_tail(hits: int, tries: int) -> float:
    """Probability of so many or more hits where each try hits with probability one half."""
    tail = math.fsum(
        math.exp(_log_choose(tries, count) - tries * math.log(2))
        for count in range(hits, tries + 1)
    )
    return min(1.0, tail)


def _log_choose(total: int, chosen: int) -> float:
    return math.lgamma(total + 1) - math.lgamma(chosen + 1) - math.lgamma(total - chosen + 1)
