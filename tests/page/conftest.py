"""Servers for the tests of the page."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reciter import ALPHABET, recite

from textgen.model import Model


@pytest.fixture(scope="module")
def url(
    serve: Callable[..., str], models: dict[str, Model], tmp_path_factory: pytest.TempPathFactory
) -> str:
    """Serve a network that recites the alphabet, and models of characters, words and bytes."""
    run = recite(tmp_path_factory.mktemp("runs") / "alphabet", ALPHABET)
    return serve(run.path, *(model.path for model in models.values()))


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


@pytest.fixture
def learn(page: Any, serve: Callable[..., str], runs: Path) -> Callable[..., None]:
    """Start a server and open the view."""

    def start(place: str = "", **options: Any) -> None:
        page.goto(f"{serve(folder=runs, **options)}/#learn{place}")

    return start
