"""A server in a thread, for tests that speak HTTP."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from textgen.options.serving import ServingOptions
from textgen.serving.routes import make_application
from textgen.serving.server import Server, address_of, listen


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., str]]:
    """Start a server for runs; return its address. All stop at the end of the module."""
    running: list[tuple[Server, threading.Thread]] = []

    def start(*runs: Path, folder: str | Path = "checkpoints", **options: Any) -> str:
        ready = threading.Event()
        app = make_application(list(runs), Path(folder), ServingOptions(**options))
        listener = listen("127.0.0.1", 0)
        server = Server(app, ready.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        running.append((server, thread))
        assert ready.wait(10)
        return address_of(listener)

    yield start
    for server, _ in running:
        server.should_exit = True
    for _, thread in running:
        thread.join(20)
        assert not thread.is_alive()
