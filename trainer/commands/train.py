"""`trainer-train`: choose the model."""

from trainer.commands.train_prn import train_prn
from trainer.commands.train_protoad import train_protoad
from trainer.settings import TrainSettings


def train(settings: TrainSettings) -> None:
    """Train the model that --model names."""
    if settings.model == "protoad":
        train_protoad(settings)
    else:
        train_prn(settings, settings.model)
