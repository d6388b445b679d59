"""What several tests share: small books and a run trained on one of them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from helpers import SMALL, make_book
from hypothesis import settings

import textgen
from textgen.cli import main
from textgen.model import Model

settings.register_profile("few", deadline=None)
# pytest --hypothesis-profile=many: thousands of cases, each of which may take 5 s.
settings.register_profile("many", max_examples=4000, deadline=5000)
settings.load_profile("few")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=4, help="how often training is killed")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run every test in a folder of its own."""
    monkeypatch.chdir(tmp_path)


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
