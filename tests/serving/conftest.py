"""A server of three models."""

from collections.abc import Callable

import pytest

from textgen.model import Model


@pytest.fixture(scope="module")
def url(serve: Callable[..., str], models: dict[str, Model]) -> str:
    """Serve models of characters, words and bytes; return the address."""
    return serve(*(model.path for model in models.values()))
