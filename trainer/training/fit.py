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
from trainer.training.batches import Generator, made_ahead
from trainer.training.checkpoint import (
    CONTENT,
    Check,
    Configuration,
    Progress,
    read_checkpoint,
    write_checkpoint,
)
from trainer.training.schedule import Budget, Schedule, time_steps
from trainer.training.training_step import Losses, Method, Trainee
from trainer.training.validation import HeldOut, held_out_loss, says_stop


@dataclass(frozen=True, slots=True)
class Rhythm:
    """What happens every so many steps."""

    save_every: int = 100
    check_every: int = 100
    patience: int = 5  # checks clearly worse than the best, after which the training ends
    cool_down_share: float = 0.1  # of all steps, to end with once it was decided to stop


@dataclass(frozen=True, slots=True)
class Course:
    """How a network is trained."""

    method: Method
    budget: Budget
    rhythm: Rhythm = Rhythm()
    ahead: int = 1  # batches that are made while one is learned, each by a thread
    until: float | None = None  # on the clock: by then it has cooled down, whatever was planned


@dataclass(frozen=True, slots=True)
class Keep:
    """Where a training leaves its checkpoint, and what must be the same to go on from it."""

    path: Path
    configuration: Configuration  # all that decides the result besides the course, which is added
    contents: Mapping[str, str] = field(default_factory=dict)  # hashes of what is learned, by name


@dataclass(frozen=True, slots=True)
class Step:
    """What a training tells about a step that it did."""

    done: int  # steps
    end: int  # steps
    loss: float
    focal: float
    smooth_l1: float
    seconds_left: float  # by the steps since this process began


@dataclass(frozen=True, slots=True)
class Fitted:
    """How a training went; the network itself holds the averaged weights."""

    steps: int
    planned: int
    stopped_early: bool
    checks: tuple[Check, ...]


def fit(
    network: PRN,
    normals: Normals,
    generator: Generator,
    held: HeldOut | None,
    course: Course,
    keep: Keep,
    clock: Callable[[], float],
    on_step: Callable[[Step], None] = lambda _: None,
) -> Fitted:
    """Train `network` in place; it ends in evaluation mode with its averaged weights.

    Args:
        network: with prototypes of `normals`.
        normals: what each of a batch's pictures was made from.
        generator: makes batches.
        held: says when to stop; None: the budget alone does.
        course: how.
        keep: checkpoint to go on from, if it is there, and to leave behind.
        clock: monotonic seconds.
        on_step: told of each step.

    Raises:
        CheckpointError: the checkpoint is of another configuration, or unreadable.
    """
    trainee, progress = _begun(network, normals, generator, held, course, keep, clock)
    schedule = _schedule(progress, course.rhythm)
    first, started = progress.step, clock()
    with made_ahead(generator, first, schedule.end, course.ahead) as batches:
        for batch in batches:
            losses = trainee.step(batch, schedule.share(progress.step), progress.step)
            progress = replace(progress, step=progress.step + 1)
            now = clock()
            pace = (now - started) / (progress.step - first)
            if progress.cut is None and _is_late(course.until, now, pace * schedule.cool_down):
                progress = replace(progress, cut=progress.step)
                schedule = _schedule(progress, course.rhythm)
            if held is not None and progress.step % course.rhythm.check_every == 0:
                progress = _checked(progress, trainee, held, course.rhythm)
                schedule = _schedule(progress, course.rhythm)
            if progress.step % course.rhythm.save_every == 0 or progress.step >= schedule.end:
                write_checkpoint(keep.path, trainee.tensors(), progress)
            on_step(_told(progress.step, schedule.end, losses, pace))
            if progress.step >= schedule.end:
                break
    trainee.write_average(network.head)
    network.eval()
    return Fitted(progress.step, progress.total, progress.cut is not None, progress.checks)


def _begun(
    network: PRN,
    normals: Normals,
    generator: Generator,
    held: HeldOut | None,
    course: Course,
    keep: Keep,
    clock: Callable[[], float],
) -> tuple[Trainee, Progress]:
    """Go on from the checkpoint, or plan a new training."""
    configuration = {
        **keep.configuration,
        **asdict(course.method),
        **asdict(course.budget),
        **asdict(course.rhythm),
        **{CONTENT + name: sha for name, sha in keep.contents.items()},
    }
    found = read_checkpoint(keep.path, configuration)
    if found is not None:
        trainee = Trainee(network, normals, course.method)
        trainee.restore(found[0])
        return trainee, found[1]

    def seconds_per_step() -> float:
        thrown_away = Trainee(copy.deepcopy(network), normals, course.method)
        # the number itself, or a GPU would still be at it
        step_s = time_steps(
            lambda step: float(thrown_away.step(generator.batch(step), 1.0, step).total), clock
        )
        if held is None:
            return step_s
        started = clock()
        held_out_loss(thrown_away.averaged(), held)
        return step_s + (clock() - started) / course.rhythm.check_every

    total = course.budget.steps(seconds_per_step)
    progress = Progress(configuration, step=0, total=total, cut=None, checks=())
    trainee = Trainee(network, normals, course.method)
    write_checkpoint(keep.path, trainee.tensors(), progress)  # so that the plan outlives a kill
    return trainee, progress


def _checked(progress: Progress, trainee: Trainee, held: HeldOut, rhythm: Rhythm) -> Progress:
    """Ask the held-out pictures; decide to stop where they say so."""
    check = Check(progress.step, held_out_loss(trainee.averaged(), held))
    checks = (*progress.checks, check)
    stops = progress.cut is None and says_stop(checks, rhythm.patience)
    return replace(progress, checks=checks, cut=progress.step if stops else progress.cut)


def _is_late(until: float | None, now: float, cool_down_s: float) -> bool:
    """Whether there is only time left to cool down."""
    return until is not None and now + cool_down_s >= until


def _schedule(progress: Progress, rhythm: Rhythm) -> Schedule:
    cool_down = max(1, round(rhythm.cool_down_share * progress.total))
    return Schedule(progress.total, cool_down, progress.cut)


def _told(done: int, end: int, losses: Losses, pace_s: float) -> Step:
    return Step(
        done=done,
        end=end,
        loss=float(losses.total),
        focal=float(losses.focal),
        smooth_l1=float(losses.smooth_l1),
        seconds_left=(end - done) * pace_s,
    )
