"""Download texts from a server in this process that can misbehave."""

import threading
from collections.abc import Iterator
from functools import partial
from http.server import ThreadingHTTPServer

import pytest
from sites import Handler, Page, Site


@pytest.fixture(scope="module")
def server() -> Iterator[Site]:
    site = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, site))
    site.url = f"http://127.0.0.1:{server.server_port}/"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield site
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def site(server: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("no_proxy", "*")
    server.pages.clear()
    server.asked.clear()
    return server


@pytest.fixture
def page(site: Site) -> Page:
    """The page at /a.txt."""
    site.pages["/a.txt"] = Page()
    return site.pages["/a.txt"]
