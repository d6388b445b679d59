"""The way the parts may depend on each other, and documents that stay true."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "textgen"

# A module may import those to the right of it, and its own kind.
ORDER = [
    ("textgen.cli", "textgen.__main__"),
    ("textgen.runs.lifecycle",),
    ("textgen.runs.initial",),
    ("textgen.training",),
    ("textgen.model",),
    ("textgen.analysis",),
    ("textgen.sampling",),
    ("textgen.runs",),
    ("textgen.preprocess",),
    ("textgen.options",),
    ("textgen.cluster",),
    ("textgen.errors", "textgen.system"),
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
        assert module == "textgen"  # the front door, which all may be reached through
        return
    for other in imports(modules()[module]):
        there = rank(other)
        assert there is None or there >= here, f"{module} imports {other}"


@pytest.mark.parametrize("module", modules())
def test_only_training_imports_tensorflow(module: str) -> None:
    heavy = {name.partition(".")[0] for name in imports(modules()[module])}
    assert module.startswith("textgen.training") or not heavy & {"tensorflow", "keras"}


def test_no_module_is_left_out_of_the_order() -> None:
    assert [m for m in modules() if rank(m) is None] == ["textgen"]
