"""The cost curve and what it is measured with."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.admission.timing import CostCurve, batch_sizes, bench_engine, measure_cost, time_calls
from engines.backends.fixed import FixedPlan, write_fixed_engine
from engines.engine import ALL_MAPS, NO_MAPS, Pixels, Scores
from engines.manifest import CostPoint
from engines.open import open_engine


@st.composite
def curve_points(draw: st.DrawFn) -> list[CostPoint]:
    sizes = draw(st.lists(st.integers(1, 256), min_size=1, max_size=8, unique=True))
    cost = st.floats(0, 1e4)
    return [CostPoint(batch=size, median_ms=draw(cost), p99_ms=draw(cost)) for size in sizes]


@given(curve_points())
def test_a_larger_batch_never_costs_less(points: list[CostPoint]) -> None:
    curve = CostCurve.through(points)
    for costs in ([curve.ms(n) for n in range(1, 300)], [curve.slow_ms(n) for n in range(1, 300)]):
        assert all(left <= right + 1e-9 for left, right in itertools.pairwise(costs))


@given(curve_points())
def test_the_curve_is_never_below_a_measured_point(points: list[CostPoint]) -> None:
    curve = CostCurve.through(points)
    for point in points:
        assert curve.ms(point.batch) >= point.median_ms
        assert curve.slow_ms(point.batch) >= point.p99_ms


@given(curve_points(), st.randoms())
def test_the_order_of_the_points_does_not_matter(points: list[CostPoint], random: object) -> None:
    shuffled = points.copy()
    random.shuffle(shuffled)
    assert CostCurve.through(shuffled) == CostCurve.through(points)


def test_the_curve_is_straight_between_points_and_goes_on_in_proportion() -> None:
    points = [
        CostPoint(batch=2, median_ms=10, p99_ms=20),
        CostPoint(batch=6, median_ms=30, p99_ms=40),
    ]
    curve = CostCurve.through(points)
    assert [curve.ms(n) for n in (1, 2, 3, 4, 6, 9)] == [10, 10, 15, 20, 30, 45]
    assert curve.slow_ms(4) == 30


@pytest.mark.parametrize("sizes", [[], [2, 2]])
def test_a_curve_through_nothing_or_through_one_size_twice_is_refused(sizes: list[int]) -> None:
    with pytest.raises(ValueError, match="different sizes"):
        CostCurve.through([CostPoint(batch=size, median_ms=1, p99_ms=1) for size in sizes])


@pytest.mark.parametrize(
    ("most", "sizes"), [(1, [1]), (2, [1, 2]), (8, [1, 2, 4, 8]), (12, [1, 2, 4, 8, 12])]
)
def test_powers_of_two_and_the_largest_batch_are_measured(most: int, sizes: list[int]) -> None:
    assert batch_sizes(most) == sizes


class CountingEngine:
    """Remembers the batches that it was given."""

    max_batch = 4
    input_size = (2, 2)

    def __init__(self) -> None:
        self.batches: list[int] = []

    def score(self, frames: Pixels, maps_above: float = ALL_MAPS) -> Scores:
        assert maps_above == NO_MAPS  # a line asks for hardly any
        self.batches.append(len(frames))
        return Scores(np.zeros(len(frames), np.float32), np.zeros((len(frames), 2, 2), np.float32))

    def close(self) -> None:
        pass


def test_every_size_is_warmed_up_before_it_is_timed_and_sizes_take_turns() -> None:
    engine = CountingEngine()
    times = time_calls(engine, [1, 4], repeats=3)
    assert engine.batches == [1, 4, 1, 1, 1] + [1, 4] * 3
    assert [(at.batch, len(at.wall_ms)) for at in times] == [(1, 3), (4, 3)]


def test_a_spent_budget_ends_the_measurement_after_a_whole_round() -> None:
    engine = CountingEngine()
    times = time_calls(engine, [1, 2, 4], repeats=1000, budget_s=0)
    assert [len(at.wall_ms) for at in times] == [1, 1, 1]


def test_a_fixed_engine_costs_at_least_what_its_file_says(tmp_path: Path) -> None:
    path = tmp_path / "slow.fixed"
    plan = FixedPlan(height=4, width=4, cost_ms_per_call=4, cost_ms_per_frame=2)
    write_fixed_engine(path, plan, max_batch=4)
    with open_engine(path) as opened:
        points = measure_cost(opened.engine, [1, 4], repeats=3)
        bench = bench_engine(opened.engine, [4], repeats=3)
    assert [point.batch for point in points] == [1, 4]
    assert points[0].median_ms >= 6
    assert points[1].median_ms >= 12
    assert bench[0].frames_per_s <= 4 * 1000 / 12
    assert bench[0].p5_ms <= bench[0].median_ms <= bench[0].p95_ms <= bench[0].p99_ms


def curve(*costs: tuple[int, float]) -> CostCurve:
    return CostCurve.through([CostPoint(batch=n, median_ms=ms, p99_ms=ms) for n, ms in costs])


def test_frames_share_no_call_where_that_gains_only_noise() -> None:
    assert curve((1, 20), (2, 39), (4, 77), (8, 150), (32, 600)).best_batch() == 1


def test_frames_share_a_call_where_that_makes_them_cheaper() -> None:
    assert curve((1, 10), (2, 11), (4, 12), (8, 14), (16, 28)).best_batch() == 8


def test_a_few_frames_share_a_call_of_a_fast_engine() -> None:
    assert curve((1, 0.1), (4, 0.4), (8, 0.8), (32, 3.2)).best_batch() == 8
    assert curve((1, 0.1), (4, 0.4)).best_batch() == 4
