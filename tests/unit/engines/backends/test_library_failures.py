"""What the engines do when the library under them fails."""

import numpy as np
import openvino
import pytest

from engines.backends.onnxruntime import _explain
from engines.backends.openvino import _infer


class Request:
    """Stands where an OpenVINO request would; one fails while waited for, one on its start."""

    def __init__(self, place: int, fails_at: int, refuses_at: int) -> None:
        self.place = place
        self.fails = place == fails_at
        self.refuses = place == refuses_at
        self.running = False

    def set_tensor(self, name: str, tensor: openvino.Tensor) -> None:
        assert name == "frames"
        assert tensor.data[0, 0, 0, 0] == self.place

    def start_async(self) -> None:
        if self.refuses:
            raise RuntimeError(f"request {self.place} is refused")
        self.running = True

    def wait(self) -> None:
        self.running = False
        if self.fails:
            raise RuntimeError(f"request {self.place} failed")


@pytest.mark.parametrize(
    ("fails_at", "refuses_at", "says"),
    [(1, -1, "1 failed"), (0, -1, "0 failed"), (-1, 2, "2 is refused"), (-1, 0, "0 is refused")],
)
def test_a_failing_request_leaves_no_other_reading_the_callers_frames(
    fails_at: int, refuses_at: int, says: str
) -> None:
    requests = [Request(place, fails_at, refuses_at) for place in range(4)]
    frames = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    with pytest.raises(RuntimeError, match=says):
        _infer(requests, frames)
    assert not any(request.running for request in requests)


@pytest.mark.parametrize(
    ("message", "count", "says"),
    [
        ("Failed to allocate memory for requested buffer of size 9", 8, "largest batch of 4"),
        ("CUDA failure 2: out of memory", 3, "largest batch of 1"),
        ("std::bad_alloc", 1, "a single frame"),
        ("cuDNN error 3", 8, "failed on 8 frames: cuDNN error 3"),
    ],
)
def test_memory_that_ran_out_is_told_with_the_batch_that_may_fit(
    message: str, count: int, says: str
) -> None:
    assert says in _explain(RuntimeError(message), count)
