"""The structure of the package: which modules may import which, and unique names."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "textgen"

# A module may import modules of its own group and of the groups below it.
ORDER = [
    ("textgen.cli", "textgen.__main__"),
    ("textgen.model",),
    ("textgen.serving",),
    ("textgen.exporting",),
    ("textgen.reporting",),
    ("textgen.training",),
    ("textgen.analysis",),
    ("textgen.sampling",),
    ("textgen.runs",),
    ("textgen.preprocess",),
    ("textgen.options",),
    ("textgen.kernels",),
    ("textgen.system",),
    ("textgen.errors",),
]


def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted(PACKAGE.rglob("*.py"))
    }


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def rank(module: str) -> int | None:
    return next((i for i, names in enumerate(ORDER) if module.startswith(names)), None)


@pytest.mark.parametrize("module", modules())
def test_imports_point_one_way(module: str) -> None:
    here = rank(module)
    if here is None:
        assert module == "textgen"
        return
    for other in imports(modules()[module]):
        there = rank(other)
        assert there is None or there >= here, f"{module} imports {other}"


@pytest.mark.parametrize("module", modules())
def test_tensorflow_is_imported_in_one_place(module: str) -> None:
    heavy = {name.partition(".")[0] for name in imports(modules()[module])}
    assert module == "textgen.training.backend" or not heavy & {"tensorflow", "keras"}


def test_no_module_is_left_out_of_the_order() -> None:
    assert [m for m in modules() if rank(m) is None] == ["textgen"]


def test_only_the_front_door_and_the_errors_stand_alone() -> None:
    loose = {path.stem for path in PACKAGE.glob("*.py")}
    assert loose == {"__init__", "__main__", "errors", "model"}


def test_names_are_unique() -> None:
    places: dict[str, set[str]] = {}
    for module, path in modules().items():
        for node in ast.parse(path.read_text("utf-8")).body:
            names = [getattr(node, "name", "")]
            if isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)]
            for name in names:
                places.setdefault(name.lstrip("_"), set()).add(module)
    twice = {name: sorted(found) for name, found in places.items() if name and len(found) > 1}
    # Each command is the twin of a function of the library.
    twins = {"train", "prepare", "fetch", "evaluate", "serve", "getattr__", "all__"}
    assert {name: found for name, found in twice.items() if name not in twins} == {}
