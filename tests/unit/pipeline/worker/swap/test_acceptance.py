import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.worker.active_engine import VerdictCounts
from pipeline.worker.swap.acceptance import (
    ALPHA,
    LOOK_EVERY,
    MIN_BATCHES,
    TESTS,
    fisher_tail,
    outside_band,
    passes_all_rejects,
    per_test_alpha,
    sign_test_tail,
)

EACH = per_test_alpha(500)
USUAL = (1.0,) * 100


def figures(
    frames: int, ng: int = 0, unknown: int = 0, paces: tuple[float, ...] = ()
) -> VerdictCounts:
    return VerdictCounts(frames, ng, unknown, paces)


def exact_share_rose(hits: int, frames: int, later_hits: int, later_frames: int) -> Fraction:
    total, hit = frames + later_frames, hits + later_hits
    ways = sum(
        math.comb(hit, count) * math.comb(total - hit, later_frames - count)
        for count in range(later_hits, min(hit, later_frames) + 1)
    )
    return Fraction(ways, math.comb(total, later_frames))


@st.composite
def two_shares(draw: st.DrawFn) -> tuple[int, int, int, int]:
    frames, later = draw(st.integers(0, 60)), draw(st.integers(0, 60))
    return draw(st.integers(0, frames)), frames, draw(st.integers(0, later)), later


@given(two_shares())
def test_tail_of_two_shares_is_the_exact_one(shares: tuple[int, int, int, int]) -> None:
    assert fisher_tail(*shares) == pytest.approx(float(exact_share_rose(*shares)), rel=1e-9)


@given(st.integers(0, 200), st.data())
def test_tail_of_a_sign_test_is_the_exact_one(tries: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, tries))
    exact = sum(math.comb(tries, count) for count in range(hits, tries + 1)) / 2**tries
    assert sign_test_tail(hits, tries) == pytest.approx(exact, rel=1e-9)


@given(st.integers(0, 500), st.data())
def test_same_figures_never_leave_the_band(frames: int, data: st.DataObject) -> None:
    ng = data.draw(st.integers(0, frames))
    same = figures(frames, ng, data.draw(st.integers(0, frames - ng)), USUAL)
    assert outside_band(same, same, 1.5, EACH) == ""


@given(two_shares())
def test_one_more_hit_is_never_less_suspicious(shares: tuple[int, int, int, int]) -> None:
    hits, frames, later_hits, later = shares
    if later_hits < later:
        assert fisher_tail(hits, frames, later_hits + 1, later) <= fisher_tail(*shares) + 1e-12


def test_chance_alone_leaves_the_band_in_fewer_watches_than_promised() -> None:
    """Every look of 3,000 watches at a level of 1 in 50 each: at most that share may be out."""
    rng = np.random.default_rng(7)
    watches, frames, promised = 3000, 200, 0.02
    each = promised / (TESTS * frames / LOOK_EVERY)
    out = 0
    for _ in range(watches):
        share = rng.choice([0.01, 0.1, 0.4])
        before, after = rng.random(500) < share, np.cumsum(rng.random(frames) < share)
        usual = figures(500, int(before.sum()))
        out += any(
            outside_band(usual, figures(seen, int(after[seen - 1])), 1.5, each)
            for seen in range(LOOK_EVERY, frames + 1, LOOK_EVERY)
        )
    assert out / watches <= promised


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (figures(500), figures(10, ng=4), "more parts are NG: 0 of 500 before, 4 of 10 now"),
        (figures(500, ng=250), figures(100, ng=5), "fewer parts are NG"),
        (figures(500), figures(10, unknown=5), "more parts are UNKNOWN"),
        (figures(500, paces=USUAL), figures(40, paces=(2.0,) * 40), "2.0 times as long"),
    ],
)
def test_newcomer_that_leaves_the_band_is_said_why(
    before: VerdictCounts, after: VerdictCounts, said: str
) -> None:
    assert said in outside_band(before, after, 1.5, EACH)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (figures(500, ng=5), figures(10, ng=1)),
        (figures(500, ng=25), figures(500, ng=25)),
        (figures(0), figures(10, ng=10)),  # nothing to compare with
        (figures(500, paces=USUAL), figures(100, paces=(1.4,) * 100)),
        (figures(500, paces=USUAL), figures(100, paces=(9.0,) * 40 + (1.0,) * 60)),  # a busy while
        (figures(500, paces=USUAL[: MIN_BATCHES - 1]), figures(100, paces=(9.0,) * 100)),
    ],
)
def test_what_chance_may_explain_stays_in_the_band(
    before: VerdictCounts, after: VerdictCounts
) -> None:
    assert outside_band(before, after, 1.5, EACH) == ""


def test_level_is_shared_out_among_all_looks() -> None:
    levels = [per_test_alpha(frames) for frames in (1, LOOK_EVERY, 100, 500)]
    assert levels[0] == levels[1] == ALPHA / TESTS
    assert all(many > few for many, few in pairwise(levels[1:]))


@pytest.mark.parametrize(
    ("ng", "passed", "said"),
    [(14, 14, True), (13, 13, False), (0, 0, False), (500, 499, False)],
)
def test_newcomer_that_finds_nothing_is_told_from_chance(ng: int, passed: int, said: bool) -> None:  # noqa: FBT001
    assert bool(passes_all_rejects(ng, passed)) == said


@pytest.mark.parametrize(("watched", "least"), [(500, 21), (200, 40), (100, 67)])
def test_learning_page_says_what_the_band_cannot_see(watched: int, least: int) -> None:
    """Where every defect passes, so many NG of the incumbent's last 500 let the band see it."""
    after, alpha = figures(watched), per_test_alpha(watched)
    assert outside_band(figures(500, ng=least), after, 1.5, alpha)
    assert not outside_band(figures(500, ng=least - 1), after, 1.5, alpha)
