import logging
import warnings

import numpy as np
import onnxruntime
import openvino
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from trainer.networks.image_score import (
    FIXED_SCORES,
    Score,
    StandardScore,
    candidates,
    graded_means,
    image_score,
    paper_score,
    top_mean,
    window_peaks,
)
from trainer.results.score_trial import apply_score, compare_scores

NAMES = [*FIXED_SCORES, "standard graded", "standard windows"]


class AllScores(nn.Module):
    def __init__(self, scores: list[Score]) -> None:
        super().__init__()
        self.scores = scores

    def forward(self, maps: Tensor) -> Tensor:
        return torch.stack([score(maps) for score in self.scores], dim=1)


def quiet_maps(rng: np.random.Generator, count: int, side: int = 48) -> np.ndarray:
    return (0.2 * rng.random((count, side, side))).astype(np.float32)


def exported(network: nn.Module, side: int) -> bytes:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.eval(),
            (torch.rand(2, side, side),),
            dynamo=True,
            opset_version=18,
            input_names=["maps"],
            output_names=["score"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=32)},),
            verbose=False,
        )
    return program.model_proto.SerializeToString()


def test_exported_scores_agree_in_both_engines(rng: np.random.Generator) -> None:
    scores = AllScores(list(candidates(torch.from_numpy(quiet_maps(rng, 9))).values()))
    content = exported(scores, 48)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    compiled = openvino.Core().compile_model(
        openvino.Core().read_model(content), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    for count in (1, 5):
        maps = rng.random((count, 48, 48)).astype(np.float32)
        wanted = pytest.approx(apply_score(scores, maps), abs=1e-5, rel=1e-5)
        assert session.run(["score"], {"maps": maps})[0] == wanted
        assert compiled({"maps": maps})["score"] == wanted


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_a_defect_never_lowers_a_score_nor_depends_on_its_neighbours_in_the_batch(
    name: str, data: st.DataObject
) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    score = candidates(torch.from_numpy(quiet_maps(rng, 5, 32)))[name]
    maps = quiet_maps(rng, 3, 32)
    before = apply_score(score, maps)
    row, column = data.draw(st.integers(0, 31)), data.draw(st.integers(0, 31))
    maps[1, row : row + 3, column : column + 3] = 1.0
    after = apply_score(score, maps)
    assert after.shape == (3,)
    assert after[1] >= before[1]
    assert after[[0, 2]] == pytest.approx(before[[0, 2]])


@pytest.mark.parametrize("name", FIXED_SCORES)
def test_fixed_scores_stay_in_the_range_of_the_map(rng: np.random.Generator, name: str) -> None:
    maps = rng.random((4, 40, 40)).astype(np.float32)
    score = apply_score(FIXED_SCORES[name], maps)
    assert ((score >= maps.min()) & (score <= maps.max())).all()


def test_top_means_agree_with_sorting(rng: np.random.Generator) -> None:
    maps = rng.random((3, 40, 40)).astype(np.float32)
    falling = np.sort(maps.reshape(3, -1))[:, ::-1]
    assert paper_score(torch.from_numpy(maps)).numpy() == pytest.approx(falling[:, :100].mean(1))
    graded = graded_means(torch.from_numpy(maps)).numpy()
    assert graded[:, 0] == pytest.approx(falling[:, :10].mean(1))
    assert graded[:, 4] == pytest.approx(falling[:, :1000].mean(1))


def test_maps_smaller_than_the_count_are_averaged_whole(rng: np.random.Generator) -> None:
    maps = torch.from_numpy(rng.random((2, 8, 8)).astype(np.float32))
    assert torch.allclose(top_mean(maps, 100), maps.mean(dim=(1, 2)))
    assert graded_means(maps).shape == (2, 5)
    assert window_peaks(maps).shape == (2, 3)


def test_standard_score_is_about_zero_for_normals_and_high_for_any_size_of_defect(
    rng: np.random.Generator,
) -> None:
    normals = quiet_maps(rng, 40)
    score = StandardScore(window_peaks, torch.from_numpy(normals))
    assert np.median(apply_score(score, normals)) == pytest.approx(0.5, abs=1)
    defects = quiet_maps(rng, 2)
    defects[0, 8:11, 8:11] = 0.8
    defects[1, 4:44, 4:44] += 0.1
    assert (apply_score(score, defects) > apply_score(score, normals).max()).all()


def test_trial_finds_that_the_top_hundred_overlook_specks(rng: np.random.Generator) -> None:
    """Normals show faint blobs of a hundred pixels; the small defects are brighter specks."""
    maps = quiet_maps(rng, 60)
    maps[:, 10:20, 10:20] += 0.3 * rng.random((60, 1, 1)).astype(np.float32)
    defective = np.arange(60) >= 30
    areas = np.where(defective, 9, 0)
    maps[30:40, 30:33, 30:33] = 0.9
    maps[40:, 30:40, 30:40] = 0.9
    areas[40:] = 100
    trials = {
        t.name: t
        for t in compare_scores(candidates(torch.from_numpy(maps[:30])), maps, defective, areas)
    }
    assert trials["top 10"].by_size[0] > trials["top 100"].by_size[0]
    assert trials["standard windows"].by_size[0] > trials["top 100"].by_size[0]
    assert all(trial.by_size[-1] == 1.0 for trial in trials.values())
    assert trials["graded"].recall.of == 30


def test_the_score_of_the_engine_is_one_of_the_candidates(rng: np.random.Generator) -> None:
    maps = rng.random((2, 32, 32)).astype(np.float32)
    assert image_score(torch.from_numpy(maps)).shape == (2,)
