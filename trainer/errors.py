"""The errors of this package, one class for each reaction of the caller.

TrainerError
├── WeightsError     the backbone has no weights that fit: exit, say how to get them
├── DatasetError     these folders give nothing to learn from or to judge by: exit
│   └── MaskError    the mask of this picture cannot be used: name it, do without it
├── DeviceError      there is no such GPU: exit, say what there is
├── CheckpointError  this training cannot go on from what it left: exit, say what differs
├── ExportError      the file does not compute what was learned: exit, do not ship it
├── RetrainBusyError another process retrains with these runs: wait for it
├── StageError       a stage of a retrain could not write or read: mend it, the next run goes on
├── BudgetError      the minutes do not suffice to train: give more
├── StoreError       the sample store cannot be read or written: exit, make room, repeat
│   └── StoreBusy    another process writes to it: wait, then repeat
└── SampleError      this picture or label cannot be a sample: name it, go on without it
"""


class TrainerError(Exception):
    """Anything that goes wrong in this package."""


class WeightsError(TrainerError):
    """The backbone has no weights that fit: exit and say how to get them."""


class DatasetError(TrainerError):
    """These folders give nothing to learn from or to judge by: exit with the reason."""


class MaskError(DatasetError):
    """The mask of this picture cannot be used: name it, do without it where it may be absent."""


class DeviceError(TrainerError):
    """There is no such GPU here, or torch cannot use it: exit and say what there is."""


class CheckpointError(TrainerError):
    """A training cannot go on from this checkpoint: exit and say what differs."""


class ExportError(TrainerError):
    """The file that was written does not compute what was learned: do not ship it."""


class RetrainBusyError(TrainerError):
    """Another process retrains with the same runs: wait for it."""


class StageError(TrainerError):
    """A stage of a retrain could not do its work; those before it are kept: mend it, run again."""


class BudgetError(TrainerError):
    """The minutes given do not suffice to train: give more, or ask for prototypes only."""


class StoreError(TrainerError):
    """The sample store cannot be read or written; what was stored before is whole: exit, repeat."""


class StoreBusy(StoreError):  # noqa: N818  # the established name
    """Another process writes to the sample store: wait, then repeat."""


class SampleError(TrainerError):
    """This picture or label cannot be a sample: name it and go on without it."""
