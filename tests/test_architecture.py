"""The house's order: every room imports only from the rooms before it."""

import ast
import sys
from pathlib import Path

import pytest

import tinyyolo3

PACKAGE = Path(tinyyolo3.__file__).parent

#: Rooms in the order in which they may import: only from their own level's own room, or from
#: levels above. A dotted name is a module that belongs to an earlier level than its package.
LEVELS = [
    ["errors", "arrays", "activations"],
    ["atomic", "blas", "cache", "filelock", "policy"],
    ["parallel"],
    ["cuda"],
    ["darknet", "image", "layers.shapes", "layers.arguments"],
    ["layers"],
    ["boxes"],
    ["network"],
    ["backends"],
    ["engine"],
    ["stages"],
    ["detections", "selection"],
    ["pipeline"],
    ["detector", "models"],
    ["loading"],
    ["charts"],
    ["data"],
    ["anchors"],
    ["evaluate"],
    ["train"],
    ["testing"],
    ["selftest"],
    ["cli"],
]
#: `tinyyolo3/__init__.py` gathers names from everywhere; `__main__` starts the command line.
ENTRANCES = {"__init__.py", "__main__.py"}
FILES = sorted(p for p in PACKAGE.rglob("*.py") if str(p.relative_to(PACKAGE)) not in ENTRANCES)


def room_of(module: str) -> tuple[int, str]:
    """Return the level and room of a module named inside the package, such as 'layers.yolo'."""
    best: tuple[int, str] | None = None
    for level, rooms in enumerate(LEVELS):
        for room in rooms:
            inside = module == room or module.startswith(room + ".")
            if inside and (best is None or len(room) > len(best[1])):
                best = (level, room)
    assert best is not None, f"{module} has no room: add it to LEVELS where it belongs"
    return best


def imported_modules(file: Path) -> set[str]:
    """Return every module of the package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute here"
            # `from package import module` imports the module, not only the package.
            full = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if is_module(name) else str(node.module) for name in full]
        else:
            continue
        found |= {name.removeprefix("tinyyolo3.") for name in names if name.startswith("tinyyolo3")}
    return found


def is_module(name: str) -> bool:
    place = PACKAGE.parent.joinpath(*name.split("."))
    return place.is_dir() or place.with_suffix(".py").is_file()


def module_name(file: Path) -> str:
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_imports_go_one_way(file: Path) -> None:
    level, room = room_of(module_name(file))
    for imported in imported_modules(file):
        if imported == "tinyyolo3":  # the package's face is for those at the end of the order
            assert level == len(LEVELS) - 1, f"{file} imports the whole package"
            continue
        other_level, other_room = room_of(imported)
        assert other_room == room or other_level < level, f"{room} may not import {imported}"


def test_network_knows_shapes_and_no_layer_code() -> None:
    for file in (PACKAGE / "network").glob("*.py"):
        layers = {name for name in imported_modules(file) if name.startswith("layers")}
        assert layers <= {"layers.shapes"}, file


@pytest.mark.parametrize("file", FILES, ids=module_name)
def test_no_hidden_dependency(file: Path) -> None:
    """NumPy, Numba and Pillow are all that the package imports; Hypothesis in its testing room."""
    allowed = {"numpy", "numba", "PIL", "tinyyolo3"}
    if module_name(file).startswith(("engine.cpu", "testing.assembly")):
        allowed.add("llvmlite")  # Numba's own
    if module_name(file).startswith("testing"):
        allowed.add("hypothesis")
    if module_name(file).startswith("charts"):
        allowed.add("matplotlib")  # inside functions: it is an optional extra
    if module_name(file).startswith("cuda"):
        allowed |= {"cupy", "cupyx", "cuda"}  # inside functions, see test_packaging.py
    for node in ast.walk(ast.parse(file.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            top = name.split(".")[0]
            assert top in allowed or top in sys.stdlib_module_names, (file, name)
