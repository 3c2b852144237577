"""Training, from a sample store to a promoted engine: what is said, and every file that it leaves.

Measured times and floating-point figures are left out of the files, their names and places stay.
"""

import json
import re
from pathlib import Path
from typing import Any

import onnx
from journey_samples import DEFECTS, NORMALS, SIDE, fill_store
from shell import Shell, shell, wait_until
from shown import hashed

_WHERE = ("--store", "store", "--registry", "registry", "--runs", "runs")
_RECIPE = ("--model", "protoad", "--size", str(SIDE), "--prototypes-only")
_DRAWN = {".png", ".jpg", ".jpeg"}  # pictures for people
_VARIES = {"facts", "machine", "peak_memory_mb", "revision", "seconds", "sha256"}
_RUN = re.compile(r"\b\d{8}-\d{6}(-[0-9a-f]{8})?\b")
_VERSION = re.compile(r"\bprotoad-[0-9a-f]{12}\b")
_STORED = re.compile(r"\b[0-9a-f]{12}-(?=[a-z]+\.)")
_NUMBER = re.compile(r"-?\d+\.\d+(e[+-]?\d+)?%?")
_DRAWING = re.compile(r"data:image/\w+;base64,[A-Za-z0-9+/=]+")
_MACHINE = re.compile(r"admitted on [^\n\"]*")
_STREAMS = re.compile(r"\b\d+ streams?\b")
_SHOWN_NAMES = 30
_SHORT = 5  # characters of a number that somebody chose; what is measured has more
_MANY = 8  # values in a row


def capture(root: Path) -> dict[str, Any]:
    """Return what each command said, the files of the run, and another network's checkpoint."""
    with shell(root) as opened:
        fill_store(opened.folder / "store", NORMALS, DEFECTS)
        said = _retrain(opened)
        return {"said": said, "files": _files(opened), "checkpoint": _checkpoint(opened)}


def _retrain(opened: Shell) -> dict[str, Any]:
    said: dict[str, Any] = {}

    def ask(name: str, *arguments: str) -> None:
        step = _general(f"{len(said):02} {name} {' '.join(arguments)}")
        ended = opened.run(name, *arguments)
        said[step] = {
            part: _general(_without_bars(ended[part])) for part in ("status", "out", "err")
        }

    ask("trainer-retrain", *_WHERE, "--json", "--collect-only")
    ask("trainer-retrain", *_WHERE, *_RECIPE, "--json", "--allow-ungated")
    ask("trainer-retrain", *_WHERE, *_RECIPE)
    ask("trainer-retrain", *_WHERE, "--line", "line-1")
    ask("trainer-samples", "export", "data", "--store", "store")
    engine = next((opened.folder / "runs").glob("*/engine/protoad.onnx"))
    evaluate = ("--engine", str(engine.relative_to(opened.folder)), "--data", "data")
    ask("trainer-evaluate", *evaluate, "--json")
    ask("trainer-evaluate", *evaluate)
    return said


def _without_bars(text: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if "\u2501" not in line)


def _general(text: str) -> str:
    """Return a text without names and figures that differ from run to run."""
    for pattern, shown in (
        (_DRAWING, "<drawing>"),
        (_MACHINE, "admitted on <machine>"),
        (_STREAMS, "<some> streams"),
        (_RUN, "<run>"),
        (_VERSION, "<version>"),
        (_STORED, "<hash>-"),
        (_NUMBER, "<number>"),
    ):
        text = pattern.sub(shown, text)
    return text


def _files(opened: Shell) -> dict[str, Any]:
    """Return every file of the registry and of the run; of equal ones the first."""
    folder = opened.folder
    found = (path for part in ("registry", "runs") for path in (folder / part).rglob("*"))
    names: dict[str, str] = {}
    files: dict[str, Any] = {}
    for path in sorted(path for path in found if path.is_file()):
        name = _general(path.relative_to(folder).as_posix())
        content = _file(opened, path)
        first = names.setdefault(json.dumps(content), name)
        files[name] = content if first == name else f"as {first}"
    return files


def _file(opened: Shell, path: Path) -> Any:  # noqa: ANN401  # JSON
    match path.suffix:
        case ".json":
            figures = _figures(json.loads(path.read_text("utf-8")), opened)
            return json.dumps(figures, indent=1, ensure_ascii=False)
        case ".safetensors":
            return _tensors(path, opened)
        case ".onnx":
            return _graph(path)
        case suffix if suffix in _DRAWN or path.name.endswith(".lock"):
            return "is there"
    return _general(opened.shown.text(path.read_text("utf-8")))


def _figures(value: Any, opened: Shell) -> Any:  # noqa: ANN401  # JSON
    """Return values of JSON, in their order, with every measured figure left out."""
    match value:
        case dict():
            return {_general(name): _field(name, part, opened) for name, part in value.items()}
        case [*numbers] if len(numbers) > _MANY and all(
            isinstance(n, int | float) for n in numbers
        ):
            return f"<{len(numbers)} numbers>"
        case list():
            shown = [_figures(part, opened) for part in value[:_MANY]]
            return shown if len(value) <= _MANY else [*shown, f"<{len(value)} in all>"]
        case float():
            return value if len(repr(value)) <= _SHORT else "<number>"
        case str():
            return _general(opened.shown.text(value))
    return value


def _field(name: str, value: Any, opened: Shell) -> Any:  # noqa: ANN401  # JSON
    of_a_file = name == "size" and isinstance(value, int)
    measured = name in _VARIES or name.endswith("_ms")
    return "<varies>" if measured or of_a_file else _figures(value, opened)


def _graph(path: Path) -> dict[str, Any]:
    """Return what a runtime sees of an ONNX file: its inputs and outputs, and its operators."""
    model = onnx.load(path)
    graph = model.graph
    return {
        "inputs": [_tensor(value) for value in graph.input],
        "outputs": [_tensor(value) for value in graph.output],
        "operators": sorted({node.op_type for node in graph.node}),
        "nodes": len(graph.node),
        "opsets": [(opset.domain, opset.version) for opset in model.opset_import],
        "metadata": sorted((entry.key, entry.value) for entry in model.metadata_props),
    }


def _tensor(value: onnx.ValueInfoProto) -> list[Any]:
    kind = value.type.tensor_type
    shape = [size.dim_param or size.dim_value for size in kind.shape.dim]
    return [value.name, onnx.TensorProto.DataType.Name(kind.elem_type), shape]


def _tensors(path: Path, opened: Shell) -> dict[str, Any]:
    """Return the metadata of a file of tensors, and its tensors by the first part of their names.

    The names are those of the networks' own parts: a file of an earlier release must still fit.
    """
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    metadata = {
        name: _metadata(text, opened) for name, text in header.pop("__metadata__", {}).items()
    }
    groups: dict[str, list[str]] = {}
    for name, tensor in sorted(header.items()):
        group, _, rest = name.partition("/")
        groups.setdefault(group, []).append(f"{rest} {tensor['dtype']} {tensor['shape']}")
    return {"metadata": metadata, "tensors": {name: _listed(groups[name]) for name in groups}}


def _metadata(text: str, opened: Shell) -> Any:  # noqa: ANN401  # JSON
    try:
        return json.dumps(_figures(json.loads(text), opened), indent=1, ensure_ascii=False)
    except ValueError:
        return _general(text)


def _listed(names: list[str]) -> list[str]:
    """Return the first names, and a hash of them all."""
    if len(names) <= _SHOWN_NAMES:
        return names
    return [*names[:_SHOWN_NAMES], f"{len(names)} in all, {hashed(chr(10).join(names).encode())}"]


def _checkpoint(opened: Shell) -> dict[str, Any]:
    """Train the other network for one step; return what is there before it is exported."""
    out = opened.folder / "prn"
    checkpoint = out / "checkpoint.safetensors"
    recipe = ("--model", "prn-s", "--size", str(SIDE), "--steps", "1", "--seen", "2")
    flags = ("--precision", "fp32", "--batch-size", "4")
    with opened.beside("trainer-train", "--data", "data", "--out", out, *recipe, *flags):
        wait_until(lambda: checkpoint.exists() and (out / "seen.json").exists(), "a checkpoint")
    return {path.name: _file(opened, path) for path in sorted(out.iterdir())}
