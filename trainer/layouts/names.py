"""What folders and labels are called: which spellings mean a good part, training or test."""

from engines.pictures.files import letters, without_noun
from trainer.errors import DatasetError

DEFECT = "defect"  # the kind where a layout tells no kinds apart
GOOD_SPELLINGS = frozenset(
    {
        "good", "goods", "goodparts", "ok", "okay", "oks", "io", "normal", "normals", "nominal",
        "accept", "accepted", "pass", "passed", "gut", "clean", "flawless", "faultless", "intact",
        "undamaged", "healthy", "perfect", "defectfree", "nodefect", "nodefects", "nondefect",
        "nondefective", "notdefective", "anomalyfree", "faultfree",
    }
)  # fmt: skip
_UNCLEAR_SPELLINGS = frozenset(
    {
        "0", "1", "true", "false", "yes", "no", "positive", "negative", "pos", "neg", "unknown",
        "unlabeled", "unlabelled", "unsure", "undecided", "unclassified", "mixed",
    }
)  # fmt: skip
_GOOD_STARTS = ("good", "ok", "normal", "defectfree")
_TRAINING = frozenset({"train", "training", "trainset", "trainingset"})
_VALIDATION = frozenset({"validation", "valid", "val", "validationset"})
_TEST = frozenset({"test", "testing", "testset", "testpublic"})
_WITHOUT_LABELS = frozenset({"testprivate", "testprivatemixed"})
_GENERAL_DEFECTS = frozenset({"ko"})  # of BTAD


def is_good(name: str) -> bool:
    """Return whether a folder or label of this name means a good part, in any usual spelling."""
    return without_noun(letters(name)) in GOOD_SPELLINGS


def is_training(name: str) -> bool:
    """Return whether a folder of this name holds the training part."""
    return letters(name) in _TRAINING


def is_validation(name: str) -> bool:
    """Return whether a folder of this name holds pictures to calibrate with."""
    return letters(name) in _VALIDATION


def is_test(name: str) -> bool:
    """Return whether a folder of this name holds the test part."""
    return letters(name) in _TEST


def is_without_labels(name: str) -> bool:
    """Return whether a folder of this name holds test pictures whose labels are not published."""
    return letters(name) in _WITHOUT_LABELS


def kind_of(name: str, where: str) -> str:
    """Return the kind of defect that a folder's name says.

    Raises:
        DatasetError: the name may mean a good part too.
    """
    plain = letters(name)
    tail = name.casefold().lstrip(" _-.")
    begins_good = any(
        tail.startswith(start) and not tail[len(start) :][:1].isalnum() for start in _GOOD_STARTS
    )
    if plain in _UNCLEAR_SPELLINGS or begins_good:
        raise DatasetError(
            f"{where}: the name {name!r} does not say whether its parts are good: rename it to "
            "good, or to the name of the defect"
        )
    return DEFECT if plain in _GENERAL_DEFECTS else name
