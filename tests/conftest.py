"""What several tests share: small books and a run trained on one of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import settings

import textgen
from textgen.cli import main
from textgen.model import Model

SMALL = {
    "units": 16,
    "embedding": 8,
    "dropout": 0.0,
    "weight_decay": 0.0,
    "batch_size": 4,
    "chunk_length": 8,
    "quiet": True,
}


settings.register_profile("few", deadline=None)
# pytest --hypothesis-profile=many: thousands of cases, each of which may take 5 s.
settings.register_profile("many", max_examples=4000, deadline=5000)
settings.load_profile("few")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=4, help="how often training is killed")


def snapshot(folder: Path) -> dict[str, bytes]:
    """What the files of a run hold; its lock holds nothing."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and p.name != ".lock")
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test in a folder of its own."""
    monkeypatch.chdir(tmp_path)


def make_book(words: int = 400, seed: int = 0) -> str:
    """A text with words, capitals, quotation marks and paragraphs."""
    rng = np.random.default_rng(seed)
    nouns = ["lamp", "ferry", "goose", "storm", "café"]
    lines = []
    for _ in range(words // 5):
        a, b = rng.choice(nouns, 2)
        lines.append(rng.choice([f"The {a} saw the {b}.", f"“{a}!” said the {b}.", ""]))
    return "\n".join(lines) + "\n"


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_text(make_book(), "utf-8")
    return path


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """A small trained model for each level."""
    folder = tmp_path_factory.mktemp("models")
    path = folder / "book.txt"
    path.write_text(make_book(), "utf-8")
    return {
        level: textgen.train(path, out=folder / level, level=level, epochs=2, **SMALL)
        for level in ("char", "word", "byte")
    }


@pytest.fixture
def model(models: dict[str, Model]) -> Model:
    return models["char"]


@pytest.fixture
def command() -> Callable[..., Result]:
    """Run a command line in this process."""
    return lambda *arguments, **settings: CliRunner().invoke(
        main, [str(a) for a in arguments], **settings
    )
