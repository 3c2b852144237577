from dataclasses import replace

import numpy as np
import pytest
from fakes.gate import answers, judged

from trainer.results.metrics import auroc, pixel_figures
from trainer.retrain.bootstrap import (
    Draws,
    aurocs,
    average_precisions,
    draw,
    interval,
    map_histograms,
    shares,
)
from trainer.retrain.comparison import (
    MARGIN,
    EngineAnswers,
    Rules,
    check_first_engine,
    compare,
    decide_promotion,
    same_answers,
)
from trainer.retrain.gate_report import MetricComparison
from trainer.retrain.latency import Turns, compare_latency, time_turns

RULES = Rules(draws=500)


def alone(count: int, name: str) -> list[str]:
    """Keys of pictures that are groups of their own."""
    return [f"{name} {number}" for number in range(count)]


def single(defects: int, normals: int, seed: int, draws: int) -> Draws:
    return draw(alone(defects, "defect"), alone(normals, "normal"), seed, draws)


def taken(counts: np.ndarray) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts.astype(int))


def test_auroc_of_a_draw_is_that_of_the_pictures_drawn(rng: np.random.Generator) -> None:
    defects, normals = rng.integers(3, 9, 12).astype(float), rng.integers(0, 6, 20).astype(float)
    draws = single(12, 20, seed=2, draws=25)
    found = aurocs(draws, defects, normals)
    for number in range(25):
        some = defects[taken(draws.defects[number])], normals[taken(draws.normals[number])]
        labels = np.arange(32) < 12
        assert found[number] == pytest.approx(auroc(np.concatenate(some), labels))


def test_ap_of_a_draw_is_near_that_of_the_pictures_drawn() -> None:
    made = judged(np.zeros(20), 8)
    masks = np.array(made.masks)
    draws = single(8, 12, seed=4, draws=10)
    counts = np.concatenate([draws.defects, draws.normals], axis=1)
    found = average_precisions(counts, map_histograms(made.maps, masks))
    for number in range(10):
        which = taken(counts[number])
        exact = pixel_figures(made.maps[which], masks[which]).ap
        assert found[number] == pytest.approx(exact, abs=0.005)


def test_draws_keep_the_number_of_each_class_and_repeat_by_seed() -> None:
    draws = single(7, 11, seed=5, draws=50)
    assert (draws.defects.sum(axis=1) == 7).all()
    assert (draws.normals.sum(axis=1) == 11).all()
    np.testing.assert_array_equal(draws.defects, single(7, 11, seed=5, draws=50).defects)


def test_pictures_of_a_group_are_drawn_together_also_across_the_classes() -> None:
    defects, normals = ["a", "a", "b", "c"], ["c", "d", "d", "d", "e", "c"]
    draws = draw(defects, normals, seed=5, draws=200)
    assert (draws.defects[:, 0] == draws.defects[:, 1]).all()
    assert (draws.normals[:, 1] == draws.normals[:, 2]).all()
    assert (draws.defects[:, 3] == draws.normals[:, 0]).all()  # c is of both
    assert (draws.defects[:, 0] != draws.defects[:, 2]).any()
    assert (draws.defects[:, [0, 2]].sum(axis=1) == 2).all()  # two groups of defects alone
    found = shares(draws.defects, np.array([True, True, False, False]))
    totals = draws.defects.sum(axis=1)
    assert found == pytest.approx(2 * draws.defects[:, 0] / totals)


def grouped_answers(size: int, separation: float, seed: int) -> EngineAnswers:
    """40 defects and 60 normals, in groups of `size` whose pictures get nearly one score."""
    rng = np.random.default_rng(seed)
    parts = rng.normal(0, 1, 100 // size)
    scores = np.repeat(parts, size) + 0.01 * rng.normal(size=100)
    scores[:40] += separation
    keys = tuple(f"part {number // size}" for number in range(100))
    return EngineAnswers(judged(scores, 40, 1.0, seed), separation / 2, 0.5, keys)


@pytest.mark.parametrize("name", ["escapes", "false rejects", "image AUROC"])
def test_interval_widens_where_pictures_come_in_groups(name: str) -> None:
    found = []
    for keys in (True, False):
        made = grouped_answers(5, 1.0, seed=8)
        made = made if keys else replace(made, keys=())
        figure = next(each for each in compare(None, made, None, RULES) if each.name == name)
        assert figure.low is not None
        assert figure.high is not None
        found.append(figure.high - figure.low)
    assert found[0] > 1.5 * found[1]  # five pictures of a part say as much as one: sqrt(5)


def test_interval_of_groups_holds_the_true_figure_and_that_of_pictures_does_not() -> None:
    """60 times 20 groups of 5: the 95 % interval of the share of false rejects, which is 1/2."""
    held = {True: 0, False: 0}
    for seed in range(60):
        rng = np.random.default_rng(seed)
        flags = np.repeat(rng.random(20) < 0.5, 5)
        keys = [str(number // 5) for number in range(100)]
        for grouped in held:
            draws = draw([], keys if grouped else alone(100, "normal"), seed, draws=300)
            low, high = interval(shares(draws.normals, flags), 0.95)
            held[grouped] += low <= 0.5 <= high
    assert held[True] >= 53
    assert held[False] <= 45


def test_interval_holds_the_true_difference_about_as_often_as_it_says() -> None:
    """Two engines of equal quality, 200 times: the 95 % interval of their AUROCs' difference."""
    held = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        draws = single(30, 40, seed, draws=300)
        one, other = (aurocs(draws, rng.normal(1, 1, 30), rng.normal(0, 1, 40)) for _ in range(2))
        low, high = interval(one - other, 0.95)
        held += low <= 0 <= high
    assert 0.9 <= held / 200 <= 0.99


def test_clearly_better_candidate_passes() -> None:
    figures = compare(answers(1.0, quality=0.5), answers(3.0), None, RULES)
    passes, why = decide_promotion(figures)
    assert passes
    assert {each.standing for each in figures} == {"better"}
    assert "image AUROC" in why


def test_candidate_made_worse_on_purpose_is_refused() -> None:
    figures = compare(answers(3.0), answers(1.0, quality=0.5), None, RULES)
    passes, why = decide_promotion(figures)
    assert not passes
    assert why.startswith("worse than the incumbent")


def test_candidate_of_equal_quality_is_refused() -> None:
    passes, why = decide_promotion(compare(answers(2.0, seed=3), answers(2.0, seed=3), None, RULES))
    assert not passes
    assert "no figure is better" in why


def test_better_on_one_figure_does_not_make_up_for_another_that_is_worse() -> None:
    better_maps = answers(1.0, quality=2.0)
    figures = compare(answers(3.0, quality=0.5), better_maps, None, RULES)
    standing = {each.name: each.standing for each in figures}
    assert standing["pixel AP"] == "better"
    assert standing["image AUROC"] == "worse"
    assert not decide_promotion(figures)[0]


def test_one_more_escape_of_forty_is_chance() -> None:
    before = answers(8.0)
    scores = before.scored.scores.copy()
    scores[0] = -1
    after = EngineAnswers(judged(scores, 40), before.threshold, 0.5)
    escapes = compare(before, after, None, RULES)[0]
    assert escapes.difference == pytest.approx(1 / 40)
    assert escapes.standing == "same"


def test_another_threshold_is_another_engine() -> None:
    one = answers(2.0)
    assert same_answers(one, answers(2.0))
    assert not same_answers(one, EngineAnswers(one.scored, one.threshold + 1e-6, 0.5))


def test_figures_without_defects_are_unknown() -> None:
    figures = compare(answers(2.0, defects=0), answers(2.0, defects=0), None, RULES)
    standing = {each.name: each.standing for each in figures}
    assert standing["escapes"] == standing["image AUROC"] == standing["pixel AP"] == "unknown"
    assert standing["false rejects"] == "same"


def test_first_engine_passes_only_if_it_beats_chance() -> None:
    assert check_first_engine(compare(None, answers(2.0), None, RULES))[0]
    passes, why = check_first_engine(compare(None, answers(0.0), None, RULES))
    assert not passes
    assert "does not beat chance" in why


@pytest.mark.parametrize(("factor", "standing"), [(1.05, "same"), (1.3, "worse"), (0.7, "better")])
def test_latency_counts_beyond_the_slack_only(
    rng: np.random.Generator, factor: float, standing: str
) -> None:
    machine = rng.lognormal(0, 0.3, 40) * 10  # what else runs slows both alike
    turns = Turns(machine, machine * factor * rng.lognormal(0, 0.02, 40))
    found = compare(answers(2.0), answers(2.0), turns, RULES)[-1]
    assert (found.name, found.standing) == ("latency", standing)


def faster(lost: int = 0, alarms: int = 0, defects: int = 5) -> tuple[MetricComparison, ...]:
    """A fifth faster, with so many more escapes and false rejects."""
    scores = np.concatenate([np.full(defects, 0.9), np.full(20, 0.1)])
    scores += np.linspace(0, 0.05, len(scores))
    incumbent = EngineAnswers(judged(scores, defects), 0.5, 0.5)
    after = scores.copy()
    after[:lost] = 0.45  # below the threshold, above all good parts
    after[defects : defects + alarms] = 0.55
    candidate = EngineAnswers(judged(after, defects), 0.5, 0.5)
    turns = Turns(np.full(40, 10.0), np.full(40, 8.0))
    return compare(incumbent, candidate, turns, RULES)


def test_faster_candidate_that_lost_nothing_passes() -> None:
    passes, why = decide_promotion(faster())
    assert passes
    assert "latency" in why


@pytest.mark.parametrize(
    ("lost", "alarms", "named"),
    [(2, 0, "escapes 0.0%, now 40.0%"), (1, 0, "escapes"), (0, 1, "false rejects")],
)
def test_speed_does_not_pay_for_a_loss_that_may_be_chance(
    lost: int, alarms: int, named: str
) -> None:
    figures = faster(lost, alarms)
    assert not any(each.standing == "worse" for each in figures)
    passes, why = decide_promotion(figures)
    assert not passes
    assert why.startswith("the candidate is faster, but not as good")
    assert named in why


@pytest.mark.parametrize(("fell", "passes"), [(MARGIN / 2, True), (2 * MARGIN, False)])
def test_speed_pays_for_a_fall_of_a_figure_within_the_margin_only(
    *, fell: float, passes: bool
) -> None:
    figures = tuple(fallen(each, fell) if each.name == "pixel AP" else each for each in faster())
    assert decide_promotion(figures)[0] == passes


def fallen(figure: MetricComparison, fell: float) -> MetricComparison:
    assert figure.incumbent is not None
    return figure.model_copy(
        update={"candidate": figure.incumbent - fell, "difference": -fell, "standing": "same"}
    )


class SteppingClock:
    """Each look takes a millisecond more than the last."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


class CountingEngine:
    max_batch = 1
    input_size = (8, 8)

    def __init__(self, log: list[str], name: str) -> None:
        self._log = log
        self._name = name

    def score(self, frames: np.ndarray) -> None:
        assert frames.shape == (1, 8, 8, 3)
        self._log.append(self._name)

    def close(self) -> None:
        pass


def test_engines_are_timed_in_turns_and_who_begins_changes() -> None:
    log: list[str] = []
    turns = time_turns(CountingEngine(log, "a"), CountingEngine(log, "b"), 4, SteppingClock())
    assert "".join(log[-8:]) in {"abbaabba", "baabbaab"}
    np.testing.assert_allclose(turns.incumbent, 1.0)
    assert compare_latency(turns, 0.95, 1).low == pytest.approx(1.0)
