"""A server that is sent bad input. Whatever comes gets a refusal, or a closed connection."""

import logging
from collections.abc import Callable, Iterator

import httpx
import pytest
from clients import Connect, Connection
from helpers import fabricate, make_book

from textgen.runs.folder import Run


@pytest.fixture(scope="module", autouse=True)
def errors() -> Iterator[list[str]]:
    """Collect what is logged as an error or with a traceback; nothing may be."""
    found = list[str]()

    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.levelno >= logging.ERROR or record.exc_info:
                found.append(self.format(record))

    collector = Collector()
    logging.getLogger().addHandler(collector)
    yield found
    logging.getLogger().removeHandler(collector)
    assert found == []


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    folder = tmp_path_factory.mktemp("runs")
    books = [folder / "book.txt", folder / "another.txt"]
    for seed, path in enumerate(books):
        path.write_text(make_book(seed=seed), "utf-8")
    made = {
        level: fabricate(folder / level, books[0], level=level)
        for level in ("char", "word", "byte")
    }
    return made | {"docs": fabricate(folder / "docs", *books)}


@pytest.fixture(scope="module")
def url(serve: Callable[..., str], runs: dict[str, Run]) -> str:
    return serve(*(run.path for run in runs.values()), slots=4, max_body=0.1, max_prompt=2000)


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=30) as client:
        yield client


@pytest.fixture
def connect(url: str) -> Iterator[Connect]:
    """Return a function that connects and sends something."""
    opened = list[Connection]()

    def connect(data: bytes) -> Connection:
        opened.append(Connection(url))
        opened[-1].send(data)
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()
