import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes.prn import TINY_PAPER, Squares, normal_pictures, tiny_prn
from hypothesis import given
from hypothesis import strategies as st

from trainer.errors import CheckpointError
from trainer.networks.prn import PrnConfig
from trainer.prototypes.normals import residuals_of
from trainer.training.batches import Batch, prefetched
from trainer.training.checkpoint import Progress, ValidationLoss, read_checkpoint, write_checkpoint
from trainer.training.device import PRECISION_NAME, Precision, faster_precision, kept_precision
from trainer.training.fit import (
    CheckpointTarget,
    FitIntervals,
    FitOptions,
    FitResult,
    StepReport,
    fit,
)
from trainer.training.schedule import Budget, Schedule, time_steps
from trainer.training.training_step import (
    OptimizerConfig,
    TrainingState,
    average_weights,
    encode_batch,
    map_loss,
)
from trainer.training.validation import (
    ValidationSet,
    make_validation_set,
    should_stop,
    split_normals,
    split_seen,
    validation_loss,
)

CONFIGURATION = {"seed": 1, "plan": "tiny"}
COURSE = FitOptions(
    OptimizerConfig(), Budget(9, "steps"), FitIntervals(save_every=2, check_every=3)
)


class KilledError(Exception):
    """Stands for SIGKILL: nothing after it runs."""


def counting(seconds: float = 1) -> Callable[[], float]:
    ticks = itertools.count(step=seconds)
    return lambda: float(next(ticks))


def dying(at: int) -> Callable[[StepReport], None]:
    def on_step(step: StepReport) -> None:
        if step.done == at:
            raise KilledError

    return on_step


def held_out() -> ValidationSet:
    batch = Squares(normal_pictures(), seed=9, size=6).batch(0)
    return ValidationSet(batch.frames, batch.masks, np.array([0, 0, 0, 1, 1, 2]))


def run(
    folder: Path,
    options: FitOptions = COURSE,
    *,
    validation: ValidationSet | None = None,
    on_step: Callable[[StepReport], None] = lambda _: None,
    config: PrnConfig | None = None,
    configuration: dict[str, str | int] = CONFIGURATION,
    clock: Callable[[], float] | None = None,
) -> tuple[dict[str, torch.Tensor], FitResult]:
    made = tiny_prn(folder, config) if config else tiny_prn(folder)
    checkpoint = CheckpointTarget(folder / "last.safetensors", configuration)
    squares = Squares(made.normals.pixels)
    fitted = fit(
        made.network,
        made.normals,
        squares,
        validation,
        options,
        checkpoint,
        clock or counting(),
        on_step,
    )
    return made.network.state_dict(), fitted


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Path]:
    return (folder for n in itertools.count() if not (folder := tmp_path / str(n)).mkdir())


@pytest.mark.parametrize("kills", [(1,), (2,), (5,), (8,), (3, 6), (1, 2, 7)])
def test_killed_training_ends_with_the_same_bits(
    folders: Iterator[Path], kills: tuple[int, ...]
) -> None:
    wanted, _ = run(next(folders), validation=held_out())
    folder = next(folders)
    for kill in kills:
        with pytest.raises(KilledError):
            run(folder, validation=held_out(), on_step=dying(kill))
    got, fitted = run(folder, validation=held_out())
    assert fitted.steps == 9
    assert all(torch.equal(got[name], each) for name, each in wanted.items())


@pytest.mark.parametrize("optimiser", ["adamw", "adam"])
def test_killed_paper_plan_ends_with_the_same_bits(folders: Iterator[Path], optimiser: str) -> None:
    options = replace(COURSE, method=OptimizerConfig(optimiser=optimiser))
    wanted, _ = run(next(folders), options, config=TINY_PAPER)
    folder = next(folders)
    with pytest.raises(KilledError):
        run(folder, options, config=TINY_PAPER, on_step=dying(5))
    got, _ = run(folder, options, config=TINY_PAPER)
    assert all(torch.equal(got[name], each) for name, each in wanted.items())


def test_finished_training_is_not_trained_again(tmp_path: Path) -> None:
    wanted, _ = run(tmp_path)
    seen: list[StepReport] = []
    got, fitted = run(tmp_path, on_step=seen.append)
    assert (seen, fitted.steps) == ([], 9)
    assert all(torch.equal(got[name], each) for name, each in wanted.items())


def test_checkpoint_of_another_configuration_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(CheckpointError, match=r"its seed is 1, wanted is 2"):
        run(tmp_path, configuration={"seed": 2, "plan": "tiny"})
    with pytest.raises(CheckpointError, match=r"its size is None, wanted is 64"):
        run(tmp_path, configuration=CONFIGURATION | {"size": 64})
    with pytest.raises(CheckpointError, match=r"its amount is 9, wanted is 30"):
        run(tmp_path, replace(COURSE, budget=Budget(30, "steps")))
    with pytest.raises(CheckpointError, match=r"its leave_one_out is True, wanted is False"):
        run(tmp_path, replace(COURSE, method=OptimizerConfig(leave_one_out=False)))


@pytest.mark.parametrize("content", [b"", b"no checkpoint at all", b"\x08\0\0\0\0\0\0\0{}      "])
def test_foreign_bytes_are_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "last.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="remove it"):
        read_checkpoint(path, {})


def test_checkpoint_gives_back_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    progress = Progress({"a": 1, "b": "x", "c": None}, 3, 9, None, (ValidationLoss(2, 0.25),))
    write_checkpoint(path, {"x": torch.arange(6.0).reshape(2, 3).T}, progress)
    tensors, found = read_checkpoint(path, progress.configuration)
    assert found == progress
    assert torch.equal(tensors["x"], torch.arange(6.0).reshape(2, 3).T)
    assert read_checkpoint(tmp_path / "none", {}) is None


def test_minutes_become_steps_once_and_outlive_a_kill(tmp_path: Path) -> None:
    options = replace(COURSE, budget=Budget(0.2, "minutes"))  # 12 ticks; a timed step takes one
    with pytest.raises(KilledError):
        run(tmp_path, options, on_step=dying(3))
    assert run(tmp_path, options, clock=counting(3))[1].planned == 12  # on a slower machine


def test_minutes_hold_the_checks_of_held_out_pictures_too(tmp_path: Path) -> None:
    options = replace(COURSE, budget=Budget(0.2, "minutes"), intervals=FitIntervals(check_every=3))
    # 12 ticks: a step takes one, and so does a check, which comes with every third step
    assert run(tmp_path, options, validation=held_out())[1].planned == 9


def test_timing_leaves_no_trace_in_the_weights(folders: Iterator[Path]) -> None:
    counted, _ = run(next(folders), replace(COURSE, budget=Budget(12, "steps")))
    timed, _ = run(next(folders), replace(COURSE, budget=Budget(0.2, "minutes")))
    assert all(torch.equal(timed[name], each) for name, each in counted.items())


def test_training_stops_when_held_out_pictures_get_worse(tmp_path: Path) -> None:
    worse = held_out()
    worse = replace(worse, masks=1 - worse.masks)  # what is learned makes these ever worse
    intervals = FitIntervals(save_every=50, check_every=1, patience=3, cool_down_share=0.1)
    options = FitOptions(OptimizerConfig(learning_rate=5e-3), Budget(100, "steps"), intervals)
    _, fitted = run(tmp_path, options, validation=worse)
    assert fitted.stopped_early
    assert len(fitted.checks) == fitted.steps < 60


def test_training_cools_down_before_its_deadline(tmp_path: Path) -> None:
    options = replace(COURSE, budget=Budget(100, "steps"), until=40)  # ticks; a step takes one
    _, fitted = run(tmp_path, options)
    assert fitted.stopped_early
    assert 30 <= fitted.steps <= 40  # a tenth of what was planned is the cooling down


def test_progress_counts_down(tmp_path: Path) -> None:
    seen: list[StepReport] = []
    run(tmp_path, on_step=seen.append)
    assert [each.done for each in seen] == list(range(1, 10))
    assert seen[-1].seconds_left == 0 < seen[0].seconds_left
    assert all(each.loss == pytest.approx(5 * each.focal + each.smooth_l1) for each in seen)


def test_averaged_weights_are_what_the_network_ends_with(tmp_path: Path) -> None:
    made = tiny_prn(tmp_path)
    state = TrainingState(made.network, made.normals, OptimizerConfig(ema_decay=0.5))
    for step in range(3):
        state.step(Squares(made.normals.pixels).batch(step), 1.0, step)
    averaged = state.averaged()
    assert not averaged.training
    assert made.network.head.training
    pairs = zip(made.network.head.parameters(), averaged.head.parameters(), strict=True)
    assert any(not torch.equal(now, mean) for now, mean in pairs)
    assert averaged.residuals is made.network.residuals


def test_average_is_exponential_after_a_warm_start() -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(layer.weight, 0.0)
    average = average_weights(layer, 0.9)
    torch.nn.init.constant_(layer.weight, 1.0)
    average.update_parameters(layer)
    assert float(average.module.weight.detach()) == pytest.approx(0.9)  # decay 1/10 at first
    average.n_averaged.fill_(1001)
    average.update_parameters(layer)
    assert float(average.module.weight.detach()) == pytest.approx(0.91)


def test_average_is_the_formula_bit_for_bit() -> None:
    layers = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8))
    average = average_weights(layers, 0.5)
    expected = {name: each.clone() for name, each in layers.state_dict().items()}
    random = torch.Generator().manual_seed(0)
    for step in range(20):
        layers(torch.randn(2, 3, 5, 5, generator=random))
        share = 1 - min(0.5, (1 + step) / (10 + step))
        for name, now in layers.state_dict().items():
            if now.is_floating_point():
                now.add_(torch.randn(now.shape, generator=random))
                expected[name].lerp_(now, share)
            else:
                expected[name].copy_(now)  # the number of batches
        average.update_parameters(layers)
    for name, value in average.module.state_dict().items():
        assert torch.equal(value, expected[name]), name


def test_checkpoint_names_the_averages_as_it_always_did(tmp_path: Path) -> None:
    made = tiny_prn(tmp_path)
    state = TrainingState(made.network, made.normals, OptimizerConfig())
    names = {name for name in state.tensors() if name.startswith("average/")}
    head = made.network.head.state_dict()
    floats = {name for name, value in head.items() if value.is_floating_point()}
    assert names == {f"average/{name}" for name in floats}


def test_unchanged_normal_pictures_are_not_encoded_again(tmp_path: Path) -> None:
    made = tiny_prn(tmp_path)
    batch = Squares(made.normals.pixels, size=6).batch(1)
    _, wanted = made.network.encoder(torch.from_numpy(batch.frames))
    stem, got = encode_batch(made.network, made.normals, batch)
    assert stem.shape[0] == 6
    for scale in range(3):
        assert torch.allclose(got[scale], wanted[scale], rtol=1e-3)  # float16 in the cache
        assert torch.equal(got[scale][3:], wanted[scale][3:])


@given(st.integers(1, 5000), st.integers(1, 300))
def test_rate_warms_up_and_falls(total: int, cool_down: int) -> None:
    schedule = Schedule(total, cool_down)
    shares = [schedule.share(step) for step in range(schedule.end)]
    peak = int(np.argmax(shares))
    assert 0 < min(shares) <= max(shares) <= 1
    assert shares[:peak] == sorted(shares[:peak])
    assert shares[peak:] == sorted(shares[peak:], reverse=True)


@given(st.integers(20, 500), st.integers(1, 50), st.data())
def test_cut_schedule_ends_soon_and_low(total: int, cool_down: int, data: st.DataObject) -> None:
    cut = data.draw(st.integers(1, total - 1))
    plain, schedule = Schedule(total, cool_down), Schedule(total, cool_down, cut)
    assert schedule.end == min(total, cut + cool_down)
    for step in range(schedule.end):
        assert 0 < schedule.share(step) <= max(plain.share(step), plain.share(cut))
    assert [schedule.share(step) for step in range(cut)] == [plain.share(s) for s in range(cut)]


def test_steps_are_timed_by_their_median_without_the_first() -> None:
    clock = iter([0, 90, 0, 90, 0, 1, 0, 2, 0, 3, 0, 4, 0, 50])
    assert time_steps(lambda _: None, lambda: float(next(clock))) == 3


def test_loss_is_the_published_one() -> None:
    logits = torch.tensor([[[2.0, -1.0, 0.5]]])
    masks = torch.tensor([[[1.0, 0.0, 0.0]]])
    p = logits.sigmoid()
    p_t = torch.where(masks == 1, p, 1 - p)
    focal = (-0.5 * (1 - p_t) ** 4 * p_t.log()).mean()
    smooth = torch.nn.functional.smooth_l1_loss(p, masks)
    losses = map_loss(logits, masks)
    assert losses.focal == pytest.approx(float(focal))
    assert losses.smooth_l1 == pytest.approx(float(smooth))
    assert losses.total == pytest.approx(float(5 * focal + smooth))


def test_loss_of_huge_logits_has_a_finite_gradient() -> None:
    logits = torch.tensor([[[500.0, -500.0, 0.0]]], requires_grad=True)
    map_loss(logits, torch.tensor([[[0.0, 1.0, 0.5]]])).total.backward()
    assert logits.grad.isfinite().all()


def test_groups_of_held_out_pictures_count_alike(tmp_path: Path) -> None:
    network = tiny_prn(tmp_path).network.eval()
    validation = held_out()
    parts = [
        validation_loss(
            network,
            ValidationSet(validation.frames[who], validation.masks[who], validation.groups[who]),
        )
        for who in (validation.groups == group for group in range(3))
    ]
    assert validation_loss(network, validation) == pytest.approx(np.mean(parts), rel=1e-5)


def test_stop_is_said_after_so_many_checks_clearly_worse_than_the_best() -> None:
    checks = [ValidationLoss(step, loss) for step, loss in enumerate([3, 2, 1, 1.5, 1.1])]
    assert not should_stop(checks, 3)
    assert should_stop([*checks, ValidationLoss(5, 1.1)], 3)
    assert not should_stop([*checks, ValidationLoss(5, 1.0)], 3)
    assert not should_stop([*checks, ValidationLoss(5, 0.9)], 3)


@pytest.mark.parametrize("ahead", [1, 3, 9])
def test_batches_come_in_order_whatever_is_made_ahead(ahead: int) -> None:
    class Recording:
        def __init__(self) -> None:
            self.made: list[int] = []

        def batch(self, step: int) -> Batch:
            self.made.append(step)
            return step

    recording = Recording()
    with prefetched(recording, 3, 8, ahead) as batches:
        assert next(batches) == 3
        assert list(batches) == [4, 5, 6, 7]
    assert sorted(recording.made) == [3, 4, 5, 6, 7]
    with prefetched(recording, 8, 8, ahead) as batches:
        assert list(batches) == []


def test_prototypes_of_a_network_elsewhere_are_the_ones_that_training_uses(tmp_path: Path) -> None:
    made = tiny_prn(tmp_path)
    fine, middle, coarse = (each.prototypes for each in made.network.compared)
    normals = made.normals.sharing((fine, middle, coarse))
    assert all(
        one is other for one, other in zip(normals.prototypes, (fine, middle, coarse), strict=True)
    )
    batch = Squares(made.normals.pixels).batch(0)
    _, features = encode_batch(made.network, normals, batch)
    mine, shared = (residuals_of(each, features, batch.normals) for each in (made.normals, normals))
    assert all(torch.equal(one, other) for one, other in zip(mine, shared, strict=True))


def test_error_of_the_generator_reaches_the_loop() -> None:
    class Broken:
        def batch(self, step: int) -> Batch:
            raise RuntimeError(f"no batch {step}")

    with prefetched(Broken(), 0, 3) as batches, pytest.raises(RuntimeError, match="no batch 0"):
        next(batches)


@pytest.mark.parametrize(("normals", "seen"), [(2, 0), (3, 4), (20, 5), (209, 10), (2000, 40)])
def test_some_pictures_are_held_out_and_the_others_learned(normals: int, seen: int) -> None:
    parts, defects = ([str(number) for number in range(count)] for count in (normals, seen))
    for count, division in ((normals, split_normals(parts, 3)), (seen, split_seen(defects, 3))):
        joined = np.concatenate([division.learned, division.held])
        assert sorted(joined) == list(range(count))
    assert len(split_normals(parts, 3).learned) >= 2
    assert len(split_normals(parts, 3).held) >= (normals > 2)
    assert (len(split_seen(defects, 3).held) > 0) == (seen >= 20)


def test_held_out_pictures_are_joined_in_groups() -> None:
    drawn = Squares(normal_pictures(), size=6).batch(2)
    normals, seen = normal_pictures(3), normal_pictures(2)
    validation = make_validation_set(normals, drawn, seen, np.ones((2, 32, 32), bool))
    assert list(validation.groups) == [0, 0, 0, 1, 1, 1, 2, 2]  # half of what was drawn has a mask
    assert list(validation.masks.max(axis=(1, 2))) == [0, 0, 0, 1, 1, 1, 1, 1]
    assert validation.frames.shape == (8, 32, 32, 3)


@pytest.mark.parametrize(("bf16_seconds", "wanted"), [(5, "bf16"), (9, "fp32"), (20, "fp32")])
def test_bf16_is_taken_where_it_is_clearly_faster(bf16_seconds: int, wanted: str) -> None:
    readings = [reading for _ in range(5) for reading in (0, 10)]
    readings += [reading for _ in range(5) for reading in (0, bf16_seconds)]
    clock = iter(readings)
    assert faster_precision(lambda: float(next(clock))) == wanted


def test_run_that_goes_on_keeps_the_precision_that_it_began_with(tmp_path: Path) -> None:
    def timed(seconds: int) -> Precision:
        readings = [reading for _ in range(5) for reading in (0, 10)]
        clock = iter(readings + [reading for _ in range(5) for reading in (0, seconds)])
        return kept_precision(tmp_path / "run", lambda: float(next(clock)))

    assert [timed(5), timed(20), timed(5)] == ["bf16"] * 3
    (tmp_path / "run" / PRECISION_NAME).write_text('"fp64"')
    with pytest.raises(CheckpointError, match="holds no precision: remove it"):
        timed(5)


def test_training_in_bf16_runs_and_stays_in_float32_outside(tmp_path: Path) -> None:
    state, _ = run(tmp_path, replace(COURSE, method=OptimizerConfig(precision="bf16")))
    assert all(each.isfinite().all() for each in state.values())
    assert {each.dtype for each in state.values()} == {torch.float32, torch.int64}
