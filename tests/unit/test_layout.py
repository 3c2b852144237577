"""The limits of docs/decisions/0001-layout.md."""

import ast
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("engines", "pipeline", "trainer")
MODULES = {
    path: ast.parse(path.read_text("utf-8"))
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
NAMES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in MODULES
}
MOST_FILES, MOST_FILES_ON_TOP = 20, 16
MOST_SINGLE_IMPORTERS = 0.25  # of all modules; 71 of 308 when this was written


def imported_modules(tree: ast.Module) -> set[str]:
    """Return which of our modules a module imports when it is loaded."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & NAMES.keys()
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & NAMES.keys()
            found |= inner or ({node.module} & NAMES.keys())
    return found


def test_no_folder_holds_more_python_files_than_a_reader_can_take_in() -> None:
    files = Counter(
        path.parent.relative_to(ROOT).as_posix()
        for top in (*PACKAGES, "tests")
        for path in (ROOT / top).rglob("*.py")
    )
    assert {folder: count for folder, count in files.items() if count > MOST_FILES} == {}
    assert files["pipeline"] <= MOST_FILES_ON_TOP


def test_a_public_class_name_stands_in_one_module() -> None:
    where = defaultdict(set)
    for path, tree in MODULES.items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                where[node.name].add(path.relative_to(ROOT).as_posix())
    shared = {name: sorted(paths) for name, paths in where.items() if len(paths) > 1}
    assert shared == {}


def test_few_modules_have_a_single_importer() -> None:
    importers = defaultdict(set)
    for path, tree in MODULES.items():
        for name in imported_modules(tree):
            importers[name].add(path)
    single = sorted(
        name
        for name, paths in importers.items()
        if len(paths) == 1 and NAMES[name].stem != "__init__"
    )
    assert len(single) <= MOST_SINGLE_IMPORTERS * len(MODULES), single
