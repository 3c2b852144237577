"""Run a model of another project unchanged, on frames that show what its outputs are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from engines.conversion.foreign.form import (
    Answers,
    InputForm,
    MapForm,
    ScoreForm,
    as_fed,
    map_planes,
)
from engines.conversion.foreign.source import one_sentence
from engines.engine import Pixels
from engines.errors import ManifestError

_SILENT = 4  # ONNX Runtime's log level: its error comes as an exception anyway


@dataclass(frozen=True, slots=True)
class Judged:
    """A model's answers for N frames."""

    scores: NDArray[np.float64]  # [N]
    maps: NDArray[np.float32]  # [N, h, w]

    @property
    def map_values(self) -> tuple[float, float]:
        """Lowest and highest finite value of the maps; NaN if there is none."""
        finite = self.maps[np.isfinite(self.maps)]
        return (float(finite.min()), float(finite.max())) if finite.size else (np.nan, np.nan)


class Trial:
    """An open session of the unchanged model."""

    def __init__(self, content: bytes, name: str, form: InputForm) -> None:
        self._name = name
        self._form = form
        self._session = open_session(content, name)
        self._outputs = [each.name for each in self._session.get_outputs()]

    def run(self, frame: Pixels) -> Answers:
        """Return all outputs for one frame, uint8 [1, H, W, 3].

        Raises:
            ManifestError: the model fails on the frame.
        """
        fed = {self._form.name: as_fed(frame, self._form)}
        answers = run_session(self._session, self._outputs, fed, self._name)
        return {name: values[:1] if values.ndim else values for name, values in answers.items()}

    def judge(self, frames: Pixels, score: ScoreForm, of_map: MapForm) -> Judged:
        """Score frames, uint8 [N, H, W, 3], one by one."""
        scores, maps = [], []
        for place in range(len(frames)):
            answers = self.run(frames[place : place + 1])
            maps.append(map_planes(answers[of_map.name], of_map)[0])
            raw = maps[-1].max() if score.name is None else answers[score.name].reshape(-1)[0]
            scores.append(float(raw))
        return Judged(np.array(scores), np.stack(maps))


def open_session(content: bytes, name: str) -> onnxruntime.InferenceSession:
    """Open a model on the CPU without logging.

    Raises:
        ManifestError: it does not open.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _SILENT
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors share no base class but Exception
        raise ManifestError(f"{name} does not run: {one_sentence(error)}") from error


def run_session(
    session: onnxruntime.InferenceSession,
    outputs: Sequence[str],
    feed: dict[str, NDArray[np.generic]],
    name: str,
) -> dict[str, NDArray[np.generic]]:
    """Return the outputs by name.

    Raises:
        ManifestError: the model fails on the frames.
    """
    try:
        answers = session.run(list(outputs), feed)
    except Exception as error:  # its errors share no base class but Exception
        raise ManifestError(f"{name} does not run: {one_sentence(error)}") from error
    # a line cannot use a sequence or a map of tensors
    return {
        each: values
        for each, values in zip(outputs, answers, strict=True)
        if isinstance(values, np.ndarray)
    }
