"""Static scans of the source: log events, error messages, help texts, other literals, constants.

They depend neither on where a file lies nor on the names of variables, functions and classes: an
expression in an f-string becomes `{}`, with its conversion and format, as in `{!r:.80}`.
"""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGES = ("engines", "pipeline", "trainer")
_LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
_EVENT = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)+")
_MODULE = re.compile(r"(engines|pipeline|trainer)(\.[A-Za-z_][A-Za-z0-9_]*)*(:\w+)?")
_DEFINITIONS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_NAMED_TYPES = {"TypeVar", "NewType", "NamedTuple", "cast"}


def capture(root: Path) -> dict[str, dict[str, int]]:
    """Return what every scan found."""
    scans = (constants, field_texts, log_events, messages, texts)
    return {scan.__name__: scan(root) for scan in scans}


@cache
def trees(root: Path) -> tuple[ast.Module, ...]:
    """Return the syntax tree of each source file."""
    paths = [path for package in PACKAGES for path in (root / package).rglob("*.py")]
    return tuple(ast.parse(path.read_text("utf-8")) for path in sorted(paths))


def log_events(root: Path) -> dict[str, int]:
    """Return "level event: fields" of every log call, with how often it stands in the source.

    A field `**` stands for fields that only a run can tell.
    """
    return _counted(event for tree in trees(root) for event in _Events(root, tree).found())


def messages(root: Path) -> dict[str, int]:
    """Return the texts in every `raise X(...)`, with how often each stands in the source."""
    return _counted(
        text
        for tree in trees(root)
        for node in ast.walk(tree)
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
        for argument in [*node.exc.args, *(word.value for word in node.exc.keywords)]
        for text in _texts_in(argument)
    )


def field_texts(root: Path) -> dict[str, int]:
    """Return the texts given as `description=` or `help=`, with how often each stands there."""
    return _counted(
        text
        for tree in trees(root)
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg in {"description", "help"}
        for text in _texts_in(node.value)
    )


def constants(root: Path) -> dict[str, int]:
    """Return the number of each module-level constant, with how many constants have it.

    Exit statuses and limits are among them.
    """
    return _counted(
        ast.unparse(node.value)
        for tree in trees(root)
        for node in tree.body
        if isinstance(node, ast.Assign) and _is_constant(node)
    )


def _is_constant(node: ast.Assign) -> bool:
    named = all(isinstance(name, ast.Name) and name.id.isupper() for name in node.targets)
    parts = list(ast.walk(node.value))
    allowed = (ast.Constant, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop)
    numbers = [part.value for part in parts if isinstance(part, ast.Constant)]
    of_numbers = all(isinstance(number, int | float) for number in numbers)
    return named and of_numbers and all(isinstance(part, allowed) for part in parts)


def texts(root: Path) -> dict[str, int]:
    """Return every string literal of the source once.

    Left out are docstrings, `__all__`, names of modules, types written as strings, and the help
    texts that `field_texts` returns.
    """
    found: set[str] = set()
    for tree in trees(root):
        skipped = set(_skipped(tree))
        found.update(_literals(tree, skipped))
    return {text: 1 for text in sorted(found) if not _MODULE.fullmatch(text)}


def _counted(found: Iterator[str]) -> dict[str, int]:
    return dict(sorted(Counter(found).items()))


def template(node: ast.expr) -> str | None:
    """Return the text of a literal, an f-string or a sum of them; None for anything else."""
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=values):
            return "".join(_piece(value) for value in values)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            first, second = template(left), template(right)
            if first is None and second is None:
                return None
            return ("{}" if first is None else first) + ("{}" if second is None else second)
    return None


def _piece(node: ast.expr) -> str:
    if not isinstance(node, ast.FormattedValue):
        return template(node) or ""
    conversion = f"!{chr(node.conversion)}" if node.conversion > 0 else ""
    form = f":{template(node.format_spec)}" if node.format_spec else ""
    return "{" + conversion + form + "}"


def _texts_in(node: ast.expr) -> Iterator[str]:
    """Yield the whole texts of an expression, those inside a placeholder left out."""
    text = template(node)
    if text is not None:
        yield text
        return
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            yield from _texts_in(child)


def _literals(tree: ast.AST, skipped: set[ast.AST]) -> Iterator[str]:
    """Yield every text of a tree, those inside placeholders too."""
    if tree in skipped:
        return
    text = template(tree) if isinstance(tree, ast.expr) else None
    if text is not None:
        yield text
    for child in _children(tree) if text is not None else ast.iter_child_nodes(tree):
        yield from _literals(child, skipped)


def _children(node: ast.AST) -> Iterator[ast.AST]:
    """Yield what stands inside the placeholders of a text."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FormattedValue):
            yield child.value
        elif isinstance(child, ast.expr) and template(child) is not None:
            yield from _children(child)
        elif isinstance(child, ast.expr):
            yield child


def _skipped(tree: ast.Module) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, _DEFINITIONS) and ast.get_docstring(node) is not None:
            yield node.body[0]
        if isinstance(node, ast.Assign) and _assigns_all(node):
            yield node.value
        yield from _no_texts_of(node)


def _assigns_all(node: ast.Assign) -> bool:
    return any(isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets)


def _no_texts_of(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.AnnAssign(annotation=ast.Name(id="TypeAlias"), value=ast.expr() as value):
            yield value
        case ast.Call(func=ast.Name(id=name), args=[first, *_]) if name in _NAMED_TYPES:
            yield first
        case ast.keyword(arg="description" | "help", value=value):
            yield value
        case ast.arg(annotation=ast.Constant() as annotation):
            yield annotation
        case ast.FunctionDef(returns=ast.Constant() as annotation):
            yield annotation


class _Events:
    """The log calls of one file."""

    def __init__(self, root: Path, tree: ast.Module) -> None:
        self._functions = _functions_by_name(root)
        self._tree = tree

    def found(self) -> Iterator[str]:
        """Yield "level event: fields" of each call."""
        yield from self._within(self._tree, self._tree)

    def _within(self, node: ast.AST, scope: ast.AST) -> Iterator[str]:
        inner = node if isinstance(node, _FUNCTIONS) else scope
        if isinstance(node, ast.Call):
            yield from self._event(node, inner)
        for child in ast.iter_child_nodes(node):
            yield from self._within(child, inner)

    def _event(self, call: ast.Call, scope: ast.AST) -> Iterator[str]:
        if not isinstance(call.func, ast.Attribute) or call.func.attr not in _LEVELS:
            return
        level = call.func.attr
        arguments = call.args[1:] if level == "log" else call.args
        for event in _texts_in(arguments[0]) if arguments else ():
            if _EVENT.fullmatch(event):
                fields = sorted(set(self._fields(call, scope)))
                yield f"{level} {event}: {', '.join(fields)}".strip()

    def _fields(self, call: ast.Call, scope: ast.AST) -> Iterator[str]:
        for word in call.keywords:
            if word.arg == "extra":
                yield from self._keys(word.value, scope)
            elif word.arg != "exc_info":
                yield word.arg or "**"

    def _keys(self, value: ast.expr, scope: ast.AST) -> Iterator[str]:
        """Yield the keys of a mapping: written there, in a local variable or in a function."""
        match value:
            case ast.Dict(keys=keys, values=values):
                for key, part in zip(keys, values, strict=True):
                    if key is None:
                        yield from self._keys(part, scope)
                    else:
                        yield template(key) or "**"
            case ast.Name(id=name):
                yield from self._assigned(name, scope)
            case ast.BinOp(left=left, right=right):
                yield from self._keys(left, scope)
                yield from self._keys(right, scope)
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                yield from self._returned(name)
            case _:
                yield "**"

    def _assigned(self, name: str, scope: ast.AST) -> Iterator[str]:
        found = [value for value in _values_of(name, scope) if not _names(value, name)]
        for value in found:
            yield from self._keys(value, scope)
        if not found:
            yield "**"

    def _returned(self, name: str) -> Iterator[str]:
        found = self._functions.get(name, [])
        if len(found) != 1:
            yield "**"
            return
        for node in ast.walk(found[0]):
            if isinstance(node, ast.Return) and node.value is not None:
                yield from self._keys(node.value, found[0])


@cache
def _functions_by_name(root: Path) -> dict[str, list[ast.AST]]:
    functions: dict[str, list[ast.AST]] = {}
    for tree in trees(root):
        for node in ast.walk(tree):
            if isinstance(node, _FUNCTIONS):
                functions.setdefault(node.name, []).append(node)
    return functions


def _values_of(name: str, scope: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(scope):
        match node:
            case ast.Assign(targets=[ast.Name(id=found)], value=value) if found == name:
                yield value
            case ast.AnnAssign(target=ast.Name(id=found), value=ast.expr() as value) if (
                found == name
            ):
                yield value
            case ast.AugAssign(target=ast.Name(id=found), value=value) if found == name:
                yield value


def _names(value: ast.expr, name: str) -> bool:
    return isinstance(value, ast.Name) and value.id == name
