"""What README and docs show is run, and what they name exists."""

import re
import shutil
from pathlib import Path

import pytest
from helpers import make_book

from textgen.cli import main
from textgen.model import Model

ROOT = Path(__file__).parents[1]
FOLDERS = (".", "benchmarks", "checkpoints", "corpora", "docs")
DOCUMENTS = [path for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.md"))]


def identify(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_are_documents() -> None:
    assert len(DOCUMENTS) > 5


@pytest.mark.parametrize("document", DOCUMENTS, ids=identify)
def test_python_that_is_shown_runs(document: Path, model: Model) -> None:
    Path("book.txt").write_text("It was the first evening of the winter.\n" * 99 + make_book())
    shutil.copytree(model.path, "checkpoints/book")
    code = "\n".join(re.findall(r"```python\n(.*?)```", document.read_text("utf-8"), re.DOTALL))
    code = re.sub(r"minutes=\d+", "minutes=0.05, force=True, quiet=True", code)
    exec(compile(code, str(document), "exec"), {})


@pytest.mark.parametrize("document", DOCUMENTS, ids=identify)
def test_options_that_are_named_exist(document: Path) -> None:
    known = {
        flag
        for command in main.commands.values()
        for p in command.params
        for flag in (*p.opts, *p.secondary_opts)
    }
    others = r"`python [^`]*`|^#SBATCH .*$"  # have options of their own
    text = re.sub(others, "", document.read_text("utf-8"), flags=re.MULTILINE)
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
    assert named <= known | {"--help"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=identify)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text("utf-8")):
        assert (document.parent / target).exists(), target


def test_every_option_is_documented() -> None:
    text = " ".join(path.read_text("utf-8") for path in DOCUMENTS)
    for name, command in main.commands.items():
        assert f"textgen {name}" in text
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert any(f in text for f in (*parameter.opts, *parameter.secondary_opts)), (
                    name,
                    parameter.opts,
                )
