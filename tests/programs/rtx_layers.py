"""Build a graph with TensorRT-RTX and write what the layers of its engine compute in, as JSON.

An engine can be inspected on a GPU only; but the builder logs each of its layers. Run as a program,
in the environment of `loadable_libraries`: python rtx_layers.py GRAPH HEIGHT WIDTH
"""

import json
import re
import sys
from pathlib import Path

import tensorrt_rtx as trt

from engines.backends.tensorrt.plugin import PlanPlugins
from engines.conversion.tensorrt_process import BuildRequest, make_config

_LAYER = re.compile(
    r"Name: (?P<name>\S+), LayerType: (?P<kind>\w+), Inputs: \[(?P<inputs>.*?)\],? C"
)
_TYPE = re.compile(r"Datatype: (\w+)")


class _Log(trt.ILogger):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def log(self, severity: object, message: str) -> None:
        del severity
        self.lines.extend(message.splitlines())


def main() -> None:
    graph, height, width = sys.argv[1:]
    log = _Log()
    plugins = PlanPlugins(trt)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    assert parser.parse(Path(graph).read_bytes()), log.lines[-1]
    request = BuildRequest("", "", "tensorrt_rtx", "sm_89", (1, 4, 16), (0, 0, 3), plugins=1)
    config = make_config(trt, builder, request, lambda **_: None)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    profile = builder.create_optimization_profile()
    profile.set_shape("frames", *((batch, int(height), int(width), 3) for batch in (1, 4, 16)))
    config.add_optimization_profile(profile)
    assert builder.build_serialized_network(network, config) is not None, log.lines[-1]
    plugins.close()
    found = [_LAYER.search(line) for line in log.lines]
    layers = [
        {"name": each["name"], "kind": each["kind"], "inputs": _TYPE.findall(each["inputs"])}
        for each in found
        if each
    ]
    sys.stdout.write(json.dumps(layers))


if __name__ == "__main__":
    main()
