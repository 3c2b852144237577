"""CUDA graphs: work on a stream recorded once, and started again by a single call.

pycuda does not support them, so `cuda.bindings` records them on the handle of pycuda's stream.
**Never run on a GPU yet** (docs/tensorrt.md).
"""

from collections.abc import Callable
from typing import Any


class GraphError(Exception):
    """CUDA cannot record this work, or failed while doing so."""


class CudaGraph:
    """Recorded work, which uses the same memory as when it was recorded."""

    def __init__(self, driver: Any, stream: int, work: Callable[[], None]) -> None:  # noqa: ANN401
        """Record what `work` enqueues, without running it.

        Args:
            driver: the module `cuda.bindings.driver`.
            stream: handle of the stream that `work` enqueues on.
            work: must neither wait for the GPU nor allocate memory.

        Raises:
            GraphError: it cannot be recorded; the stream is as it was.
        """
        self._driver, self._stream = driver, stream
        self._started: Any = None
        # Only of this thread: other lanes may allocate memory meanwhile.
        mode = driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
        self._call(driver.cuStreamBeginCapture, stream, mode)
        try:
            work()
        except BaseException:
            self._drop(driver.cuStreamEndCapture(stream)[1:])
            raise
        graph = self._call(driver.cuStreamEndCapture, stream)
        try:
            self._started = self._call(driver.cuGraphInstantiate, graph, 0)
        finally:
            driver.cuGraphDestroy(graph)

    def launch(self) -> None:
        """Enqueue the recorded work on its stream.

        Raises:
            GraphError: CUDA failed.
        """
        self._call(self._driver.cuGraphLaunch, self._started, self._stream)

    def close(self) -> None:
        """Free it; may be called again."""
        if self._started is not None:
            started, self._started = self._started, None
            self._driver.cuGraphExecDestroy(started)

    def _drop(self, found: tuple[Any, ...]) -> None:
        """Free what a failed recording left behind."""
        for graph in found:
            if graph is not None and int(graph):
                self._driver.cuGraphDestroy(graph)

    def _call(self, function: Callable[..., tuple[Any, ...]], *given: Any) -> Any:  # noqa: ANN401
        try:
            status, *found = function(*given)
        except RuntimeError as error:  # the driver lacks this function
            raise GraphError(f"{function.__name__}: {error}") from error
        if int(status):
            raise GraphError(f"{function.__name__}: {status.name}")
        return found[0] if found else None
