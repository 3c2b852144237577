"""The folder of one retrain: what it is about, what each stage found, its log and its pictures.

RUNS/.lock                      held by the process that retrains; holds its number
RUNS/20261126-031500-1a2b3c4d/run.json         what it is about
stages/NAME.json  written last: the stage is done
worked.json       seconds spent so far, by all its processes
finished.json     how it ended
retrain.log
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from engines.files import read_file, write_atomic
from trainer.errors import RetrainBusyError, StageError
from trainer.lock import folder_locked
from trainer.retrain_settings import CandidateRecipe

# of a stage: its work is done, or what it found is kept as well
StageEvent = Literal["worked", "kept"]
STAGES = (
    "collect",
    "snapshot",
    "prototypes",
    "fit",
    "calibrate",
    "export",
    "build",
    "admit",
    "gate",
    "register",
    "promote",
    "announce",
)
MAX_FILE_BYTES = 64 << 20
_RUN, _FINISHED, _WORKED = "run.json", "finished.json", "worked.json"
_LOG = "retrain.log"
Value = str | int | float | bool | None
Outcome = dict[str, Any]


class RunDescription(BaseModel):
    """What a run is about: another snapshot or other settings are another run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    snapshot: str
    normals: int
    defects: int
    settings: dict[str, Value]
    incumbent: str | None  # the version in force when it began
    started: str


class Finished(BaseModel):
    """How a run ended."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    result: Literal["promoted", "refused"]
    why: str
    version: str | None = None  # of the registry
    seconds: float


class RunFolder:
    """One run on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.description = RunDescription.model_validate_json(_read(folder / _RUN))

    @classmethod
    def begin(cls, runs: Path, description: RunDescription) -> "RunFolder":
        """Make the folder of a new run."""
        stamp = datetime.fromisoformat(description.started).strftime("%Y%m%d-%H%M%S")
        folder = runs / f"{stamp}-{description.snapshot[:8]}"
        (folder / "stages").mkdir(parents=True, exist_ok=True)
        write_atomic(folder / _RUN, (description.model_dump_json(indent=2) + "\n").encode())
        return cls(folder)

    @property
    def name(self) -> str:
        """What the run is called."""
        return self.folder.name

    def outcome(self, stage: str) -> dict[str, Any] | None:
        """Return what a stage found; None where it is not done."""
        path = self._stage_path(stage)
        if not path.is_file():
            return None
        found: dict[str, Any] = json.loads(_read(path))
        return found

    def keep(self, stage: str, outcome: dict[str, Any]) -> None:
        """Write what a stage found; with that it is done."""
        content = json.dumps(outcome, indent=2, allow_nan=False) + "\n"
        write_atomic(self._stage_path(stage), content.encode())

    def forget_from(self, stage: str) -> None:
        """Let a stage and all after it be done again.

        The last one goes first: a kill in between must not leave a stage without those before it.
        """
        for each in reversed(STAGES[STAGES.index(stage) :]):
            self._stage_path(each).unlink(missing_ok=True)

    @property
    def finished(self) -> Finished | None:
        """How it ended; None where it did not."""
        path = self.folder / _FINISHED
        return Finished.model_validate_json(_read(path)) if path.is_file() else None

    def finish(self, finished: Finished) -> None:
        """Say how it ended."""
        write_atomic(self.folder / _FINISHED, (finished.model_dump_json(indent=2) + "\n").encode())

    def reopen(self) -> None:
        """Let a run that ended go on."""
        (self.folder / _FINISHED).unlink(missing_ok=True)

    @property
    def worked_s(self) -> float:
        """Seconds that its processes have spent on it."""
        path = self.folder / _WORKED
        return float(json.loads(_read(path))["seconds"]) if path.is_file() else 0.0

    def note_worked(self, seconds: float) -> None:
        """Remember how many seconds were spent."""
        write_atomic(self.folder / _WORKED, json.dumps({"seconds": round(seconds, 3)}).encode())

    def log(self, text: str) -> None:
        """Add a line to the log; one that a full disk does not take is no reason to stop."""
        stamp = datetime.now(UTC).isoformat(timespec="seconds")
        with suppress(OSError), (self.folder / _LOG).open("a", encoding="utf-8") as file:
            file.write(f"{stamp} {text}\n")

    def _stage_path(self, stage: str) -> Path:
        return self.folder / "stages" / f"{stage}.json"


def recipe_values(recipe: CandidateRecipe) -> dict[str, Value]:
    """Return a recipe as plain values, by which a run that was killed is recognised."""
    values = recipe.model_dump(mode="json", include=set(CandidateRecipe.model_fields))
    start, plan = values.pop("start"), values.pop("plan")
    if values["clustering"] == "finch":  # the only one for runs that earlier releases began
        del values["clustering"]
    named = {"fit_steps" if name == "steps" else name: value for name, value in values.items()}
    return {**named, "start": start, "plan": plan}


def past_runs(runs: Path) -> list[RunFolder]:
    """Find all runs, the newest first; a folder without a readable run.json is none."""
    found = []
    for path in sorted(runs.glob(f"*/{_RUN}"), reverse=True):
        with suppress(ValidationError, OSError, ValueError):
            found.append(RunFolder(path.parent))
    return found


@contextmanager
def exclusive_run(runs: Path) -> Iterator[None]:
    """Keep every other retrain with the same runs out; a killed one keeps nobody out.

    Raises:
        RetrainBusyError: another is at work.
    """
    runs.mkdir(parents=True, exist_ok=True)

    def busy(holder: str) -> RetrainBusyError:
        return RetrainBusyError(
            f"process {holder} retrains with {runs} already: wait for it, or give other --runs"
        )

    with folder_locked(runs, busy):
        yield


def _read(path: Path) -> bytes:
    try:
        return read_file(path, MAX_FILE_BYTES)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StageError(f"{path}: {error.strerror or error}: move it away") from error


class Stages:
    """Does the stages of one run, which this process began at `started` on the clock, seconds."""

    def __init__(
        self,
        run: RunFolder,
        say: Callable[[str], None],
        reached: Callable[[str, StageEvent], None],
        started: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.run = run
        self.say = say
        self._reached = reached
        self._clock = clock
        self._before_s = run.worked_s
        self._started = started

    @property
    def worked_s(self) -> float:
        """Seconds spent on this run, by earlier processes too."""
        return self._before_s + self._clock() - self._started

    def note_worked(self) -> None:
        """Remember the time spent, so that a process that goes on keeps the budget."""
        self.run.note_worked(self.worked_s)

    def do(self, name: str, work: Callable[[], Outcome]) -> Outcome:
        """Do a stage, or give what it found before.

        Raises:
            StageError: it could not write or read.
        """
        found = self.run.outcome(name)
        if found is not None:
            self.say(f"{name}: done before")
            return found
        started = self._clock()
        try:
            outcome = work()
            self._reached(name, "worked")
            outcome = {**outcome, "seconds": round(self._clock() - started, 3)}
            self.run.keep(name, outcome)
            self.note_worked()
        except OSError as error:
            raise StageError(
                f"stage {name}: {error}; the stages before it are kept in {self.run.folder}: make "
                "room or mend it, then start trainer-retrain again, it goes on from there"
            ) from error
        self.say(f"{name}: {outcome.get('said', 'done')}")
        self._reached(name, "kept")
        return outcome
