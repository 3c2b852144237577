"""The child process in which TensorRT builds a plan: request on stdin, JSON lines on stdout.

TensorRT aborts its process for some faults, and leaks memory. So it never runs in the process of
the command. Only engines.conversion.tensorrt runs it, as `python -m
engines.conversion.tensorrt_process`.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.backends.tensorrt.api import PlanBackend, load_tensorrt
from engines.backends.tensorrt.plugin import PlanPlugins
from engines.errors import BackendError, EngineError
from engines.files import write_atomic

THIS_GPU = "this-gpu"
_MOST_ERRORS = 5


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What to build."""

    graph: str  # path of an ONNX file
    plan: str  # path to write
    backend: PlanBackend
    target: str  # this-gpu, or an architecture as nvcc names it: sm_89
    batches: tuple[int, int, int]  # smallest, usual, largest
    frame: tuple[int, int, int]  # H, W, C
    plugins: int  # plugin layers that the network must hold
    timing_cache: str | None = None  # path of the timing cache, if TensorRT times anything


def main() -> None:
    """Build the plan requested on stdin."""
    fields = json.loads(sys.stdin.read())
    request = BuildRequest(**{name: _tupled(value) for name, value in fields.items()})
    try:
        _say(done=build(request, _say))
    except EngineError as error:
        _say(error=str(error))


def build(request: BuildRequest, say: Callable[..., None]) -> str:
    """Parse, check, build and write; return the version of TensorRT.

    Raises:
        BackendError: TensorRT refuses the graph or the target.
    """
    trt = load_tensorrt(request.backend)
    log = _log_type(trt)()
    plugins = PlanPlugins(trt)
    builder = trt.Builder(log)
    typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(typed)
    _parse(trt, network, log, request)
    config = make_config(trt, builder, request, say)
    profile = builder.create_optimization_profile()
    least, usual, most = ((batch, *request.frame) for batch in request.batches)
    profile.set_shape("frames", least, usual, most)
    config.add_optimization_profile(profile)
    cache = _timing_cache(config, request)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise BackendError(f"{request.backend} built no plan: {log.last()}")
    write_atomic(Path(request.plan), bytes(plan))
    if cache is not None and request.timing_cache:
        write_atomic(Path(request.timing_cache), bytes(cache.serialize()))
    plugins.close()
    return str(trt.__version__)


def make_config(trt: Any, builder: Any, request: BuildRequest, say: Callable[..., None]) -> Any:  # noqa: ANN401
    """Build TensorRT's settings, without the profile.

    Raises:
        BackendError: this TensorRT cannot build for the target.
    """
    config, flags = builder.create_builder_config(), trt.BuilderFlag
    # TF32 is on by default and multiplies float32 with a fraction of only 10 bits. The graph
    # decides which layers may do so; an fp32 plan is the way out if 10 bits are too few.
    config.clear_flag(flags.TF32)
    config.set_flag(flags.STRICT_NANS)  # NaN must not be optimised away: it is reported
    config.set_flag(flags.DISTRIBUTIVE_INDEPENDENCE)  # same operations in every slot of a batch
    if "REQUIRE_USER_ALLOCATION" in flags.__members__:  # else TensorRT-RTX allocates at run time
        config.set_flag(flags.REQUIRE_USER_ALLOCATION)
    config.progress_monitor = _monitor_type(trt)(say)
    _aim(trt, config, request)
    return config


def _parse(trt: Any, network: Any, log: Any, request: BuildRequest) -> None:  # noqa: ANN401
    parser = trt.OnnxParser(network, log)
    if not parser.parse(Path(request.graph).read_bytes()):
        errors = [parser.get_error(place) for place in range(min(parser.num_errors, _MOST_ERRORS))]
        text = "; ".join(
            f"{error.node_operator()} {error.node_name()}: {error.desc().splitlines()[0]}"
            for error in errors
        )
        raise BackendError(f"{request.backend} cannot parse the graph: {text or log.last()}")
    layers = (network.get_layer(place) for place in range(network.num_layers))
    plugins = sum(layer.type == trt.LayerType.PLUGIN_V3 for layer in layers)
    if plugins != request.plugins:
        raise BackendError(
            f"{request.backend} made {plugins} plugin layers from {request.plugins} nodes of the "
            "prototype residual: the rest would run as separate operators, so nothing is built"
        )


def _aim(trt: Any, config: Any, request: BuildRequest) -> None:  # noqa: ANN401
    """Set the architecture to build for, if it is not this machine's."""
    if request.target == THIS_GPU:
        return
    known = getattr(getattr(trt, "ComputeCapability", None), "__members__", {})
    able = sorted(f"sm_{name[2:]}" for name in known if name.startswith("SM"))
    name = request.target.replace("sm_", "SM")
    if name not in known:
        can = f"it can build for {', '.join(able)}" if able else "it builds for the GPU it runs on"
        raise BackendError(
            f"{request.backend} {trt.__version__} cannot build for {request.target}: {can}"
        )
    config.num_compute_capabilities = 1
    config.set_compute_capability(known[name], 0)


def _timing_cache(config: Any, request: BuildRequest) -> Any:  # noqa: ANN401
    """Return the timing cache, or None if nothing is timed."""
    if request.timing_cache is None:
        return None
    path = Path(request.timing_cache)
    cache = config.create_timing_cache(path.read_bytes() if path.is_file() else b"")
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        raise BackendError(
            f"{path} is not a timing cache of this {request.backend} and GPU: remove it"
        )
    return cache


def _log_type(trt: Any) -> Any:  # noqa: ANN401
    class Log(trt.ILogger):  # type: ignore[misc]  # known only when it is imported
        """Keeps TensorRT's complaints."""

        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:  # noqa: ANN401
            if severity in (self.INTERNAL_ERROR, self.ERROR):
                self.errors.append(message)

        def last(self) -> str:
            return self.errors[-1] if self.errors else "no reason given"

    return Log


def _monitor_type(trt: Any) -> Any:  # noqa: ANN401
    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]  # known only when it is imported
        """Reports the phases of a build."""

        def __init__(self, say: Callable[..., None]) -> None:
            super().__init__()
            self._say = say

        def phase_start(self, name: str, parent: str | None, total: int) -> None:
            del parent, total
            self._say(phase=name)

        def step_complete(self, name: str, step: int) -> bool:
            del name, step
            return True  # go on

        def phase_finish(self, name: str) -> None:
            pass

    return Monitor


def _tupled(value: Any) -> Any:  # noqa: ANN401  # of JSON
    return tuple(value) if isinstance(value, list) else value


def _say(**fields: object) -> None:
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
