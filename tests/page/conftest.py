"""A server for the tests of the page."""

from collections.abc import Callable

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
