import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from trainer.dataset import GOOD, Pictures, Sample
from trainer.errors import DatasetError
from trainer.export.calibrate import Costs
from trainer.results.evaluation import (
    ScoredPictures,
    evaluate,
    evaluation_json,
    overlaps,
    weigh_thresholds,
)
from trainer.results.metrics import pixel_figures
from trainer.results.plant_figures import plant_figures
from trainer.results.report import cost_lines, evaluation_tables, plant_lines

SIDE = 24


def judged(
    rng: np.random.Generator, kinds: list[str], without_mask: tuple[int, ...] = ()
) -> ScoredPictures:
    """Parts with a square defect each, at another place by number; maps find most of it."""
    masks, maps = [], []
    for index, kind in enumerate(kinds):
        mask = np.zeros((SIDE, SIDE), bool)
        if kind != GOOD:
            mask[index : index + 6, index : index + 6] = True
        maps.append(0.3 * rng.random((SIDE, SIDE)) + 0.4 * mask * rng.random())
        masks.append(None if index in without_mask else mask)
    values = np.array(maps, np.float32)
    samples = tuple(Sample(str(i), Path(str(i)), kind) for i, kind in enumerate(kinds))
    pixels = np.zeros((len(kinds), SIDE, SIDE, 3), np.uint8)
    return ScoredPictures(
        Pictures(samples, pixels, ()), values.max(axis=(1, 2)), values, tuple(masks)
    )


def shown(renderables: object) -> str:
    console = Console(width=200, file=io.StringIO())
    for renderable in renderables:
        console.print(renderable, soft_wrap=True)
    return console.file.getvalue()


KINDS = [GOOD] * 4 + ["dent"] * 3 + ["crack"] * 2


def test_each_kind_is_judged_among_all_normal_parts(rng: np.random.Generator) -> None:
    seen = judged(rng, KINDS)
    dents, cracks = evaluate(seen, 0.35, 0.3).defects
    assert (dents.name, dents.pictures, cracks.name, cracks.pictures) == ("dent", 3, "crack", 2)
    which = np.array([0, 1, 2, 3, 7, 8])
    masks = np.stack([mask for mask in seen.masks if mask is not None])
    assert cracks.pixel == pixel_figures(seen.maps[which], masks[which])
    assert cracks.overlap == pytest.approx(overlaps(seen.maps[7:] > 0.3, masks[7:]).mean())
    assert cracks.escapes.of == 2


def test_cheapest_threshold_is_named_beside_what_the_present_one_costs(
    rng: np.random.Generator,
) -> None:
    seen = judged(rng, KINDS)
    weighed = weigh_thresholds(seen, 2.0, Costs(escape=100, false_reject=1, defect_share=0.1))
    assert weighed.expected == pytest.approx(10.0)  # every defect passes
    assert weighed.cheapest <= 0.9  # rejecting everything costs that
    said = shown(cost_lines(weighed))
    assert "errors cost 10 a part" in said
    assert f"pipeline-control --threshold {weighed.cheapest_threshold:.4f}" in said
    evaluation = evaluate(seen, 0.35, 0.3)
    assert json.loads(evaluation_json(evaluation, weighed))["costs"]["expected"] == 10.0
    assert json.loads(evaluation_json(evaluation))["costs"] is None
    assert shown(cost_lines(None)) == ""


def test_costs_want_good_parts_and_defects(rng: np.random.Generator) -> None:
    for kinds in ([GOOD] * 3, ["dent"] * 3):
        with pytest.raises(DatasetError, match="good parts and of defects"):
            weigh_thresholds(judged(rng, kinds), 0.5, Costs(1, 1, 0.5))


def test_defects_like_a_seen_one_are_left_out_of_a_second_figure(rng: np.random.Generator) -> None:
    parts = judged(rng, KINDS)
    masks = np.stack([mask for mask in parts.masks if mask is not None])
    evaluation = evaluate(parts, 0.35, 0.3, masks[4:5])  # 4 and its neighbour 5 overlap by 25/47
    assert evaluation.seen == 1
    assert evaluation.apart is not None
    assert evaluation.apart.pictures == 3
    which = np.array([0, 1, 2, 3, 6, 7, 8])
    assert evaluation.apart.pixel == pixel_figures(parts.maps[which], masks[which])
    assert evaluate(parts, 0.35, 0.3).apart is None


def test_defect_without_mask_counts_for_the_parts_and_not_for_the_pixels(
    rng: np.random.Generator,
) -> None:
    evaluation = evaluate(judged(rng, KINDS, (7, 8)), 0.35, 0.3)
    assert evaluation.without_mask == 2
    assert evaluation.plant.escapes.of == 5
    assert np.isnan([evaluation.defects[1].pixel.ap, evaluation.defects[1].overlap]).all()
    assert sum(size.escapes.of for size in evaluation.plant.sizes) == 3


@pytest.mark.parametrize("kinds", [[GOOD] * 3, ["dent"] * 3, KINDS])
@pytest.mark.parametrize("without", [(), (0, 1, 2)])
def test_report_and_json_are_written_whatever_is_missing(
    rng: np.random.Generator, kinds: list[str], without: tuple[int, ...]
) -> None:
    evaluation = evaluate(judged(rng, kinds, without), 0.35, 0.3, np.ones((1, SIDE, SIDE), bool))
    fields = json.loads(evaluation_json(evaluation), parse_constant=pytest.fail)
    assert fields["pictures"] == len(kinds)
    assert "good parts rejected" in shown(evaluation_tables(evaluation))


def test_report_says_when_there_are_too_few_good_parts_for_the_rate() -> None:
    scores, defective = np.arange(3000.0), np.arange(3000) >= 2000
    few = shown(plant_lines(plant_figures(scores[1500:], defective[1500:], 0 * scores[1500:], 1.0)))
    assert "500 good test pictures are too few to tell, that takes 1,000" in few
    many = shown(plant_lines(plant_figures(scores, defective, 0 * scores, 1990.0)))
    assert "good parts rejected: 9 of 2000 (0.4%), with 95 % confidence at most 0.8%" in many
    assert "recall at 0.1% false rejects (2 of 2000 good parts, score above 1997.0000)" in many
