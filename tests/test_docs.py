"""What README and docs show is run, and what they name exists."""

import json
import re
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers import fabricate, make_book

import textgen
from textgen.analysis.authors import Authors, Authorship
from textgen.analysis.evaluation import Evaluation
from textgen.analysis.novelty import Novelty
from textgen.cli import main
from textgen.model import Model
from textgen.preprocess.tokenizers import ByteTokenizer
from textgen.reporting.inspection import Inspection
from textgen.runs.folder import RUN_FILES
from textgen.runs.history import TEMPERED
from textgen.sampling.generation import Generation
from textgen.sampling.network import LayerTrace
from textgen.sampling.writer import Writer

ROOT = Path(__file__).parents[1]
FOLDERS = (".", "benchmarks", "checkpoints", "corpora", "docs")
DOCUMENTS = [path for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.md"))]


def identify(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_are_documents() -> None:
    assert len(DOCUMENTS) > 5


@pytest.mark.parametrize("document", DOCUMENTS, ids=identify)
def test_python_that_is_shown_runs(document: Path, model: Model, serve: Callable[..., str]) -> None:
    Path("book.txt").write_text("It was the first evening of the winter.\n" * 99 + make_book())
    fabricate("checkpoints/book", "book.txt")
    shutil.copy(model.path / "metrics.jsonl", "checkpoints/book")
    for name in ("gaskell", "wilde"):
        shutil.copytree("checkpoints/book", f"checkpoints/{name}")
    blocks = re.findall(r"```python\n(.*?)```", document.read_text("utf-8"), re.DOTALL)
    torch = find_spec("torch")
    code = "\n".join(block for block in blocks if torch or "import torch" not in block)
    code = re.sub(r"minutes=\d+", "minutes=0.05, quiet=True", code)
    if "http://127.0.0.1:8000" in code:
        code = code.replace("http://127.0.0.1:8000", serve("checkpoints/book"))
    exec(compile(code, str(document), "exec"), {})


@pytest.mark.parametrize("document", DOCUMENTS, ids=identify)
def test_options_that_are_named_exist(document: Path) -> None:
    known = {
        flag
        for command in main.commands.values()
        for p in command.params
        for flag in (*p.opts, *p.secondary_opts)
    }
    # These have options of their own.
    others = r"`(?:python|systemctl) [^`]*`|^#SBATCH .*$|^\$ (?:lm_eval|tensorboard) .*$"
    text = re.sub(others, "", document.read_text("utf-8"), flags=re.MULTILINE)
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
    assert named <= known | {"--help"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=identify)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text("utf-8")):
        assert (document.parent / target).exists(), target


def section(document: str, heading: str) -> str:
    """Return the text under a heading, up to the next one."""
    text = (ROOT / "docs" / document).read_text("utf-8")
    found = re.findall(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", text, re.DOTALL | re.MULTILINE)
    assert len(found) == 1, f"docs/{document} needs one section {heading}"
    return str(found[0])


def rows(document: str, heading: str) -> dict[str, list[str]]:
    """Return the other cells of each row of a table by the names in its first cell."""
    table = {}
    for line in section(document, heading).splitlines():
        if line.startswith("| `"):
            first, *others = (cell.strip() for cell in line.strip("|").split(" |"))
            table |= dict.fromkeys(re.findall(r"`([^`(]+)[^`]*`", first), others)
    return table


@pytest.mark.parametrize("name", main.commands)
def test_each_option_stands_in_the_table_of_its_command(name: str) -> None:
    options = [p for p in main.commands[name].params if p.param_type_name == "option"]
    table = rows("commands.md", f"textgen {name}")
    flags = {flag for option in options for flag in (*option.opts, *option.secondary_opts)}
    assert set(table) == flags
    for option in options:
        default, meaning = table[option.opts[-1]]
        assert meaning
        shown = re.search(r"\[default: ([^]]+)\]", getattr(option, "help", ""))
        if shown and " " not in shown[1]:
            assert default.strip("`") == shown[1], option.opts


def test_each_public_name_stands_in_its_place() -> None:
    functions = {"authors", "fetch", "load", "prepare", "serve", "train"}
    errors = {name for name in textgen.__all__ if name.endswith("Error")}
    assert all(section("library.md", f"textgen.{name}") for name in functions)
    assert set(rows("library.md", "Errors")) == errors
    classes = set(textgen.__all__) - functions - errors
    assert all(f"`textgen.{name}`" in section("library.md", name) for name in classes)


@pytest.mark.parametrize(
    "kind",
    [
        *(Model, Generation, Writer, Evaluation, Novelty, Inspection, LayerTrace),
        *(Authors, Authorship),
    ],
)
def test_each_public_attribute_stands_in_its_table(kind: type, model: Model) -> None:
    public = {name for name in dir(kind) if not name.startswith("_")}
    public |= set(getattr(kind, "__dataclass_fields__", ()))
    if kind is Model:
        public |= {name for name in vars(model) if not name.startswith("_")}
        public -= {"checked_ids", "engine", "opening", "request"}  # used by the server
        public -= {"guards", "last_guard"}
    if kind is Generation:
        public |= {name for name in vars(model.stream()) if not name.startswith("_")}
        public -= {"add", "end", "ready"}  # called by the engine and the server
    if kind is LayerTrace:
        public -= {"count", "index"}  # of every tuple
    assert set(rows("library.md", kind.__name__)) == public


def test_each_key_of_a_run_stands_in_the_table_of_its_file(model: Model) -> None:
    config = json.loads((model.path / "config.json").read_text("utf-8"))
    documented = set(rows("files.md", "config.json"))
    assert documented == set(config) | set(config["options"])
    assert set(rows("files.md", "tokenizer.json")) == {*ByteTokenizer(documents=True).to_json()}
    metrics = (model.path / "metrics.jsonl").read_text("utf-8").splitlines()
    assert set(rows("files.md", "metrics.jsonl")) == {*json.loads(metrics[0]), *TEMPERED}
    assert set(rows("files.md", "The run folder")) == {*RUN_FILES} - {"corpus"} | {"corpus/"}
