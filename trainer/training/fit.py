"""The training loop of PRN, which can be killed at any time and goes on where it was.

Everything that a step depends on is either made anew from (seed, step), as batches and learning
rates are, or lies in the checkpoint: so a training that was killed ends with the same weights as
one that was not.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from trainer.networks.prn import PRN
from trainer.prototypes.normals import Normals
from trainer.training.batches import BatchGenerator, prefetched
from trainer.training.checkpoint import (
    CONTENT,
    Configuration,
    Progress,
    ValidationLoss,
    read_checkpoint,
    write_checkpoint,
)
from trainer.training.schedule import Budget, Schedule, time_steps
from trainer.training.training_step import Losses, OptimizerConfig, TrainingState
from trainer.training.validation import ValidationSet, should_stop, validation_loss


@dataclass(frozen=True, slots=True)
class FitIntervals:
    """What happens every so many steps."""

    save_every: int = 100
    check_every: int = 100
    patience: int = 5  # checks clearly worse than the best, after which the training ends
    cool_down_share: float = 0.1  # of all steps, to end with once it was decided to stop


@dataclass(frozen=True, slots=True)
class FitOptions:
    """How a network is trained."""

    method: OptimizerConfig
    budget: Budget
    intervals: FitIntervals = FitIntervals()
    ahead: int = 1  # batches that are made while one is learned, each by a thread
    until: float | None = None  # on the clock: by then it has cooled down, whatever was planned


@dataclass(frozen=True, slots=True)
class CheckpointTarget:
    """Where a training leaves its checkpoint, and what must be the same to go on from it."""

    path: Path
    configuration: Configuration  # all that decides the result besides the course, which is added
    contents: Mapping[str, str] = field(default_factory=dict)  # hashes of what is learned, by name


@dataclass(frozen=True, slots=True)
class StepReport:
    """What a training tells about a step that it did."""

    done: int  # steps
    end: int  # steps
    loss: float
    focal: float
    smooth_l1: float
    seconds_left: float  # by the steps since this process began


@dataclass(frozen=True, slots=True)
class FitResult:
    """How a training went; the network itself holds the averaged weights."""

    steps: int
    planned: int
    stopped_early: bool
    checks: tuple[ValidationLoss, ...]


def fit(
    network: PRN,
    normals: Normals,
    generator: BatchGenerator,
    validation: ValidationSet | None,
    options: FitOptions,
    checkpoint: CheckpointTarget,
    clock: Callable[[], float],
    on_step: Callable[[StepReport], None] = lambda _: None,
) -> FitResult:
    """Train `network` in place; it ends in evaluation mode with its averaged weights.

    Args:
        network: with prototypes of `normals`.
        normals: what each of a batch's pictures was made from.
        generator: makes batches.
        validation: says when to stop; None: the budget alone does.
        options: how.
        checkpoint: checkpoint to go on from, if it is there, and to leave behind.
        clock: monotonic seconds.
        on_step: told of each step.

    Raises:
        CheckpointError: the checkpoint is of another configuration, or unreadable.
    """
    state, progress = _begun(network, normals, generator, validation, options, checkpoint, clock)
    schedule = _schedule(progress, options.intervals)
    first, started = progress.step, clock()
    with prefetched(generator, first, schedule.end, options.ahead) as batches:
        for batch in batches:
            losses = state.step(batch, schedule.share(progress.step), progress.step)
            progress = replace(progress, step=progress.step + 1)
            now = clock()
            pace = (now - started) / (progress.step - first)
            if progress.cut is None and _is_late(options.until, now, pace * schedule.cool_down):
                progress = replace(progress, cut=progress.step)
                schedule = _schedule(progress, options.intervals)
            if validation is not None and progress.step % options.intervals.check_every == 0:
                progress = _checked(progress, state, validation, options.intervals)
                schedule = _schedule(progress, options.intervals)
            if progress.step % options.intervals.save_every == 0 or progress.step >= schedule.end:
                write_checkpoint(checkpoint.path, state.tensors(), progress)
            on_step(_told(progress.step, schedule.end, losses, pace))
            if progress.step >= schedule.end:
                break
    state.write_average(network.head)
    network.eval()
    return FitResult(progress.step, progress.total, progress.cut is not None, progress.checks)


def _begun(
    network: PRN,
    normals: Normals,
    generator: BatchGenerator,
    validation: ValidationSet | None,
    options: FitOptions,
    checkpoint: CheckpointTarget,
    clock: Callable[[], float],
) -> tuple[TrainingState, Progress]:
    """Go on from the checkpoint, or plan a new training."""
    configuration = {
        **checkpoint.configuration,
        **asdict(options.method),
        **asdict(options.budget),
        **asdict(options.intervals),
        **{CONTENT + name: sha for name, sha in checkpoint.contents.items()},
    }
    found = read_checkpoint(checkpoint.path, configuration)
    if found is not None:
        state = TrainingState(network, normals, options.method)
        state.restore(found[0])
        return state, found[1]

    def seconds_per_step() -> float:
        thrown_away = TrainingState(copy.deepcopy(network), normals, options.method)
        # the number itself, or a GPU would still be at it
        step_s = time_steps(
            lambda step: float(thrown_away.step(generator.batch(step), 1.0, step).total), clock
        )
        if validation is None:
            return step_s
        started = clock()
        validation_loss(thrown_away.averaged(), validation)
        return step_s + (clock() - started) / options.intervals.check_every

    total = options.budget.steps(seconds_per_step)
    progress = Progress(configuration, step=0, total=total, cut=None, checks=())
    state = TrainingState(network, normals, options.method)
    write_checkpoint(checkpoint.path, state.tensors(), progress)  # so that the plan outlives a kill
    return state, progress


def _checked(
    progress: Progress, state: TrainingState, validation: ValidationSet, intervals: FitIntervals
) -> Progress:
    """Ask the held-out pictures; decide to stop where they say so."""
    check = ValidationLoss(progress.step, validation_loss(state.averaged(), validation))
    checks = (*progress.checks, check)
    stops = progress.cut is None and should_stop(checks, intervals.patience)
    return replace(progress, checks=checks, cut=progress.step if stops else progress.cut)


def _is_late(until: float | None, now: float, cool_down_s: float) -> bool:
    """Return whether there is only time left to cool down."""
    return until is not None and now + cool_down_s >= until


def _schedule(progress: Progress, intervals: FitIntervals) -> Schedule:
    cool_down = max(1, round(intervals.cool_down_share * progress.total))
    return Schedule(progress.total, cool_down, progress.cut)


def _told(done: int, end: int, losses: Losses, pace_s: float) -> StepReport:
    return StepReport(
        done=done,
        end=end,
        loss=float(losses.total),
        focal=float(losses.focal),
        smooth_l1=float(losses.smooth_l1),
        seconds_left=(end - done) * pace_s,
    )
