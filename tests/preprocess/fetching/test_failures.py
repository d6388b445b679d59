"""Downloads that fail leave nothing, and overwrite nothing."""

import resource
import socket
import sys
import threading
from pathlib import Path

import pytest
from sites import HALF, OTHER, TEXT, Page, Site, found, name

from textgen.errors import FetchError
from textgen.preprocess.fetching import fetch

FETCHING = sys.modules[fetch.__module__]


def test_a_wrong_sum(site: Site, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    url = site.at("a.txt")
    name(monkeypatch, url, OTHER)
    with pytest.raises(FetchError, match=f"SHA-256 of known.*unchecked with: textgen fetch {url}$"):
        fetch("known")
    assert found() == {}
    page.body = OTHER
    assert fetch("known").read_bytes() == OTHER


@pytest.mark.parametrize("source", ["known", "address"])
def test_nothing_is_overwritten(
    site: Site, page: Page, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name(monkeypatch, site.at("a.txt"))
    Path("corpora").mkdir()
    file = Path("corpora", "known.txt" if source == "known" else "a.txt")
    file.write_text("mine")
    with pytest.raises(FetchError, match=f"{file} exists already; remove it"):
        fetch(source if source == "known" else site.at("a.txt"))
    assert found() == {file.name: b"mine"}
    assert not site.asked


def test_a_file_that_comes_meanwhile_is_not_overwritten(site: Site, page: Page) -> None:
    page.first = lambda: Path("corpora/a.txt").write_text("mine")
    with pytest.raises(FetchError, match="exists already"):
        fetch(site.at("a.txt"))
    assert Path("corpora/a.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("tinyshakespeare", "did you mean tiny-shakespeare"),
        ("nothing-like-it", "no text named 'nothing-like-it'; give one of tiny-shakespeare, "),
        ("www.example.org/a.txt", "begins with https://"),
        ("", "begins with https://"),
        ("file:///etc/hostname", "not a web address"),
        ("ftp://127.0.0.1/a.txt", "not a web address"),
        ("data:text/plain,abc", "not a web address"),
        ("http:a.txt", "not a web address"),
        ("https://[a.txt", "not a web address"),
        ("http://127.0.0.1:port/a.txt", "cannot reach"),
        ("http://127.0.0.1", "does not name a file"),
        ("http://127.0.0.1/..", "does not name a file"),
        ("http://127.0.0.1/%2E%2E%2F", "does not name a file"),
    ],
)
def test_what_is_neither_name_nor_address(source: str, message: str) -> None:
    with pytest.raises(FetchError, match=message) as error:
        fetch(source)
    assert "\n" not in str(error.value)
    assert not list(Path().rglob("*.txt*"))


def test_a_page_that_is_not_there(site: Site) -> None:
    with pytest.raises(FetchError, match="says: 404 Not Found; check the address"):
        fetch(site.at("a.txt"))
    assert found() == {}


@pytest.mark.parametrize("status", [204, 206, 416, 503])
def test_answers_that_were_not_asked_for(site: Site, page: Page, status: int) -> None:
    page.status = status
    with pytest.raises(FetchError, match=f"says: {status}"):
        fetch(site.at("a.txt"))
    assert found() == {}


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("file:///etc/hostname", "not allowed"),
        ("ftp://127.0.0.1/a.txt", "unknown url type: ftp"),
        ("/old.txt", "infinite loop"),
    ],
)
def test_redirections_that_are_not_followed(site: Site, location: str, message: str) -> None:
    site.pages["/old.txt"] = Page(status=302, location=location)
    with pytest.raises(FetchError, match=message) as error:
        fetch(site.at("old.txt"))
    assert "\n" not in str(error.value)
    assert found() == {}


def test_no_server() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("no_proxy", "*")
            with pytest.raises(FetchError, match="Connection refused; check the address"):
                fetch(f"http://127.0.0.1:{unused.getsockname()[1]}/a.txt")


def test_no_address_in_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with pytest.raises(FetchError, match=r"cannot reach http://nowhere\.invalid/a\.txt: "):
        fetch("http://nowhere.invalid/a.txt")


def test_a_server_that_falls_silent(
    site: Site, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FETCHING, "_TIMEOUT", 0.2)
    page.then, page.stop = threading.Event(), HALF
    with pytest.raises(FetchError, match="was interrupted: timed out; resume with"):
        fetch(site.at("a.txt"))
    page.then.set()


def test_a_full_disk(site: Site, page: Page) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, limits[1]))
    try:
        with pytest.raises(FetchError, match=r"cannot write corpora/a\.txt: File too large"):
            fetch(site.at("a.txt"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not Path("corpora/a.txt").exists()
    assert fetch(site.at("a.txt")).read_bytes() == TEXT


def test_a_folder_that_is_none(site: Site, page: Page) -> None:
    Path("corpora").write_text("a file")
    with pytest.raises(FetchError, match="cannot write corpora: "):
        fetch(site.at("a.txt"))
