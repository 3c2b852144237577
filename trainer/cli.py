"""The entry points of this package's commands, one function each."""

from engines.commandline.run import run_command
from engines.commandline.signals import FORCED_STATUS, ended_by_sigterm
from engines.errors import EngineError
from pipeline.errors import PipelineError
from trainer.errors import TrainerError
from trainer.retrain_settings import GateSettings, RetrainSettings
from trainer.settings import (
    AnomaliesSettings,
    EvaluateSettings,
    ReproduceSettings,
    SamplesSettings,
    TrainSettings,
)

_EXPECTED = (EngineError, TrainerError)


def train() -> None:
    """`trainer-train`: train a network and write its engine file."""
    run_command("trainer-train", TrainSettings, _train, _EXPECTED)


def evaluate() -> None:
    """`trainer-evaluate`: measure how good an engine file is."""
    run_command("trainer-evaluate", EvaluateSettings, _evaluate, _EXPECTED)


def anomalies() -> None:
    """`trainer-anomalies`: draw what a network would be trained with."""
    run_command("trainer-anomalies", AnomaliesSettings, _anomalies, _EXPECTED)


def reproduce() -> None:
    """`trainer-reproduce`: make a table of the paper again."""
    run_command("trainer-reproduce", ReproduceSettings, _reproduce, _EXPECTED)


def samples() -> None:
    """`trainer-samples`: keep the pictures that a line learns from."""
    run_command("trainer-samples", SamplesSettings, _samples, _EXPECTED)


def gate() -> None:
    """`trainer-gate`: compare a candidate engine with the one in force."""
    run_command("trainer-gate", GateSettings, _gate, _EXPECTED)


def retrain() -> None:
    """`trainer-retrain`: learn from the day's labels, promote what proved better."""
    with ended_by_sigterm(FORCED_STATUS):  # an interrupted run is not a success
        run_command("trainer-retrain", RetrainSettings, _retrain, (*_EXPECTED, PipelineError))


def _train(settings: TrainSettings) -> None:
    from trainer.commands.train import train as run  # noqa: PLC0415  # torch: help stays fast

    run(settings)


def _evaluate(settings: EvaluateSettings) -> None:
    from trainer.commands.evaluate import evaluate as run  # noqa: PLC0415

    run(settings)


def _anomalies(settings: AnomaliesSettings) -> None:
    from trainer.commands.anomalies import draw_sheet as run  # noqa: PLC0415

    run(settings)


def _reproduce(settings: ReproduceSettings) -> None:
    from trainer.commands.reproduce import reproduce as run  # noqa: PLC0415

    run(settings)


def _gate(settings: GateSettings) -> int:
    from trainer.commands.gate import gate as run  # noqa: PLC0415

    return run(settings)


def _retrain(settings: RetrainSettings) -> int:
    from trainer.commands.retrain import retrain as run  # noqa: PLC0415

    return run(settings)


def _samples(settings: SamplesSettings) -> int:
    from trainer.commands.samples import run  # noqa: PLC0415

    return run(settings)
