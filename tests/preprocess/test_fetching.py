"""Download texts from a server in this process that can misbehave."""

import hashlib
import io
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.errors import FetchError
from textgen.preprocess.fetching import SOURCES, Source, fetch

FETCHING = sys.modules[fetch.__module__]
TEXT = bytes(range(256)) * 1000
OTHER = TEXT[::-1]
HALF = len(TEXT) // 2


@dataclass
class Page:
    """The content of an address, and how the server behaves there."""

    body: bytes = TEXT
    etag: str | None = None
    modified: str | None = "Mon, 01 Jan 2024 00:00:00 GMT"
    status: int = 200
    location: str | None = None
    ranges: bool = True  # supports Range
    if_range: bool = True  # supports If-Range
    shift: int = 0  # added to the start in Content-Range
    length: int | None = None  # a false Content-Length
    chunked: bool = False
    first: Callable[[], object] | None = None  # called before anything is sent
    stop: int | None = None  # number of bytes of the body to send
    then: threading.Event | None = None  # wait for this before closing the connection


@dataclass
class Site:
    pages: dict[str, Page] = field(default_factory=dict)
    asked: list[Message] = field(default_factory=list)  # the headers of every request
    url: str = ""

    def at(self, path: str) -> str:
        return self.url + path

    def ranges(self) -> list[str | None]:
        return [headers["Range"] for headers in self.asked]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, site: Site, *arguments: object) -> None:
        self._site = site
        super().__init__(*arguments)

    def do_GET(self) -> None:
        self._site.asked.append(self.headers)
        self.close_connection = True
        page = self._site.pages.get(self.path.partition("?")[0])
        if page is None:
            self.send_error(404)
            return
        if page.first is not None:
            page.first()
        start, status = self._start(page), page.status
        if start is not None:
            status = 206 if start < len(page.body) else 416
        body = page.body[start or 0 :]
        self.send_response(status)
        if page.etag:
            self.send_header("ETag", page.etag)
        if page.modified:
            self.send_header("Last-Modified", page.modified)
        if page.location:
            self.send_header("Location", page.location)
        if status == 206:
            place = f"{(start or 0) + page.shift}-{len(page.body) - 1}"
            self.send_header("Content-Range", f"bytes {place}/{len(page.body)}")
        if status == 416:
            self.send_header("Content-Range", f"bytes */{len(page.body)}")
        if page.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(page.length or len(body)))
        self.end_headers()
        sent = body if page.stop is None else body[: max(page.stop - (start or 0), 0)]
        with suppress(OSError):  # the client may be gone
            if page.chunked:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(sent), sent))
                self.wfile.write(b"0\r\n\r\n" if page.stop is None else b"")
            else:
                self.wfile.write(sent)
            self.wfile.flush()
        if page.then is not None:
            page.then.wait(30)

    def _start(self, page: Page) -> int | None:
        """Return the start of the requested range; None to send the whole body."""
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        same = self.headers["If-Range"] in (None, page.etag or page.modified)
        return int(asked[1]) if asked and page.ranges and (same or not page.if_range) else None

    def log_message(self, *_: object) -> None:
        pass


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


def name(
    monkeypatch: pytest.MonkeyPatch, url: str, data: bytes = TEXT, member: str | None = None
) -> None:
    """Add the source `known`, with the expected content `data` at `url`."""
    digest = hashlib.sha256(data).hexdigest()
    monkeypatch.setitem(SOURCES, "known", Source(url, digest, len(data), "", "", member))


def break_off(page: Page, url: str, at: int = HALF) -> None:
    """Interrupt the download of a page after `at` bytes."""
    page.stop = at
    with pytest.raises(FetchError, match=r"was interrupted.*; resume with: textgen fetch"):
        fetch(url)
    page.stop = None


def found(folder: str = "corpora") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


# Whole files


def test_an_address(site: Site, page: Page, capfd: pytest.CaptureFixture[str]) -> None:
    assert fetch(site.at("a.txt?as=it#is")) == Path("corpora/a.txt")
    assert found() == {"a.txt": TEXT}
    assert site.asked[0]["User-Agent"].startswith("textgen/")
    assert capfd.readouterr() == ("", "")


def test_a_name(site: Site, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    name(monkeypatch, site.at("a.txt"))
    assert fetch("known", "deep/folder") == Path("deep/folder/known.txt")
    assert found("deep/folder") == {"known.txt": TEXT}


@pytest.mark.parametrize("data", [b"", b"a", TEXT])
@pytest.mark.parametrize("chunked", [False, True])
def test_any_length_told_or_not(site: Site, page: Page, data: bytes, chunked: bool) -> None:
    page.body, page.chunked = data, chunked
    assert fetch(site.at("a.txt")).read_bytes() == data


def test_a_redirection(site: Site, page: Page) -> None:
    site.pages["/old.txt"] = Page(status=301, location="/a.txt")
    assert fetch(site.at("old.txt")) == Path("corpora/old.txt")
    assert found() == {"old.txt": TEXT}


def test_a_member_of_a_zip_archive(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../out.txt", "elsewhere")
        archive.writestr("raw/wiki.train", TEXT)
    site.pages["/a.zip"] = Page(packed.getvalue())
    name(monkeypatch, site.at("a.zip"), packed.getvalue(), "raw/wiki.train")
    assert fetch("known") == Path("corpora/known.txt")
    assert found() == {"known.txt": TEXT}
    assert [path.name for path in Path().iterdir()] == ["corpora"]
    assert fetch(site.at("a.zip")).read_bytes() == packed.getvalue()  # unchanged


@pytest.mark.parametrize(
    ("address", "file"),
    [
        ("a/b.txt", "b.txt"),
        ("a/b.txt/", "b.txt"),
        ("caf%C3%A9.txt", "café.txt"),
        ("café 1.txt", "café 1.txt"),
        ("a%2F..%2F..%2Fb.txt", "b.txt"),
        ("a%5C..%5Cb.txt", "a_.._b.txt"),
        (".bashrc", "bashrc"),
        ("a%00%1B%5B2J%0A.txt", "a___2J_.txt"),
    ],
)
def test_the_name_of_the_file(site: Site, address: str, file: str) -> None:
    asked = address.replace("é", "%C3%A9").replace(" ", "%20")
    site.pages["/" + asked] = Page()
    assert fetch(site.at(address)) == Path("corpora", file)
    assert found() == {file: TEXT}


@given(st.text(max_size=20))
def test_no_address_leads_out_of_the_folder(text: str) -> None:
    with suppress(FetchError):
        file = FETCHING._file_name(FETCHING._address("http://a/" + text))
        assert Path("corpora", file).resolve().parent == Path("corpora").resolve()
        assert not file.startswith(".")
        assert file.isprintable()


@pytest.mark.parametrize("quiet", [False, True])
def test_a_bar_on_a_terminal(
    site: Site, page: Page, quiet: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    fetch(site.at("a.txt"), quiet=quiet)
    assert ("a.txt" in terminal.getvalue() and "256k" in terminal.getvalue()) != quiet


def test_a_bar_goes_on_too(site: Site, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    break_off(page, site.at("a.txt"))
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    fetch(site.at("a.txt"))
    assert "50%" in terminal.getvalue()
    assert " 0%" not in terminal.getvalue()


def test_no_standard_error(site: Site, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert fetch(site.at("a.txt")).read_bytes() == TEXT


# Resume


@pytest.mark.parametrize("etag", [None, '"1"'])
def test_only_the_rest_is_asked_for(site: Site, page: Page, etag: str | None) -> None:
    page.etag = etag
    break_off(page, site.at("a.txt"))
    assert not Path("corpora/a.txt").exists()
    assert Path("corpora/a.txt.part").read_bytes() == TEXT[:HALF]
    assert fetch(site.at("a.txt")).read_bytes() == TEXT
    assert site.ranges() == [None, f"bytes={HALF}-"]
    assert site.asked[1]["If-Range"] == (etag or page.modified)
    assert found() == {"a.txt": TEXT}


def test_a_named_text_is_checked_as_a_whole(
    site: Site, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    name(monkeypatch, site.at("a.txt"))
    break_off(page, "known")
    assert fetch("known").read_bytes() == TEXT
    assert site.ranges() == [None, f"bytes={HALF}-"]


@pytest.mark.parametrize("heeded", [True, False])
@pytest.mark.parametrize("etags", [('"1"', '"2"'), (None, None), (None, '"1"')])
def test_a_file_that_has_changed_is_begun_anew(
    site: Site, page: Page, heeded: bool, etags: tuple[str | None, str | None]
) -> None:
    page.if_range, page.etag = heeded, etags[0]
    break_off(page, site.at("a.txt"))
    page.body, page.etag, page.modified = OTHER, etags[1], "Tue, 02 Jan 2024 00:00:00 GMT"
    assert fetch(site.at("a.txt")).read_bytes() == OTHER


@pytest.mark.parametrize("etag", [None, 'W/"1"'])
def test_a_server_that_does_not_tell_versions_apart(
    site: Site, page: Page, etag: str | None
) -> None:
    page.modified, page.etag = None, etag
    break_off(page, site.at("a.txt"))
    page.body = OTHER
    assert fetch(site.at("a.txt")).read_bytes() == OTHER
    assert site.ranges() == [None, None]


def test_a_server_without_ranges(site: Site, page: Page) -> None:
    page.ranges = False
    break_off(page, site.at("a.txt"))
    assert fetch(site.at("a.txt")).read_bytes() == TEXT
    assert len(site.asked) == 2


def test_a_server_that_sends_another_part(site: Site, page: Page) -> None:
    break_off(page, site.at("a.txt"))
    page.shift = 1
    assert fetch(site.at("a.txt")).read_bytes() == TEXT
    assert site.ranges() == [None, f"bytes={HALF}-", None]


def test_a_part_of_another_address(site: Site, page: Page) -> None:
    site.pages["/other/a.txt"] = Page(OTHER)
    break_off(page, site.at("a.txt"))
    assert fetch(site.at("other/a.txt")).read_bytes() == OTHER


def test_a_part_that_is_whole(site: Site, page: Page) -> None:
    page.length = len(TEXT) + 1  # so the download seems interrupted
    break_off(page, site.at("a.txt"), len(TEXT))
    page.length = None
    assert fetch(site.at("a.txt")).read_bytes() == TEXT
    assert site.ranges() == [None, f"bytes={len(TEXT)}-"]


def test_a_part_that_is_longer_than_the_file(site: Site, page: Page) -> None:
    break_off(page, site.at("a.txt"))
    page.body = b"short"
    assert fetch(site.at("a.txt")).read_bytes() == b"short"


def test_a_part_that_nothing_is_known_of(site: Site, page: Page) -> None:
    Path("corpora").mkdir()
    Path("corpora/a.txt.part").write_bytes(b"anything")
    assert fetch(site.at("a.txt")).read_bytes() == TEXT
    assert found() == {"a.txt": TEXT}


def test_chunks_that_break_off(site: Site, page: Page) -> None:
    page.chunked = True
    break_off(page, site.at("a.txt"))
    assert fetch(site.at("a.txt")).read_bytes() == TEXT


@given(
    data=st.binary(min_size=1, max_size=60),
    etags=st.booleans(),
    dates=st.booleans(),
    ranges=st.booleans(),
    steps=st.lists(st.tuples(st.integers(0, 70), st.booleans()), max_size=6),
)
def test_versions_are_never_mixed(
    server: Site,
    data: bytes,
    etags: bool,
    dates: bool,
    ranges: bool,
    steps: list[tuple[int, bool]],
) -> None:
    version, page = 0, Page(ranges=ranges)
    server.pages["/b.txt"] = page
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "*")
        patch.setattr(FETCHING, "_RECEIVED_AT_ONCE", 7)
        for stop, changes in [*steps, (100, False)]:
            version += changes
            page.stop, page.body = stop, bytes((byte + version) % 256 for byte in data)
            page.etag = f'"{version}"' if etags else None
            page.modified = f"Mon, 01 Jan 2024 00:00:{version:02} GMT" if dates else None
            try:
                path = fetch(server.at("b.txt"))
            except FetchError:
                assert stop < len(data)
                continue
            assert path.read_bytes() == page.body
            path.unlink()


def test_ctrl_c_keeps_the_part(site: Site, page: Page) -> None:
    page.stop, page.then = HALF, threading.Event()
    threading.Thread(target=interrupt_when, args=(Path("corpora/a.txt.part"),)).start()
    url = site.at("a.txt")
    with pytest.raises(KeyboardInterrupt) as stopped:
        fetch(url)
    page.then.set()
    assert str(stopped.value) == f"stopped; resume with: textgen fetch {url}"
    kept = Path("corpora/a.txt.part").read_bytes()
    assert kept
    assert TEXT.startswith(kept)
    page.stop = page.then = None
    assert fetch(url).read_bytes() == TEXT
    assert site.ranges() == [None, f"bytes={len(kept)}-"]


def interrupt_when(part: Path) -> None:
    if holds_something(part):
        os.kill(os.getpid(), signal.SIGINT)


def holds_something(part: Path) -> bool:
    for _ in range(1000):
        if part.exists() and part.stat().st_size:
            return True
        time.sleep(0.01)
    return False


def test_what_to_type_names_the_folder(
    site: Site, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    name(monkeypatch, site.at("a.txt"))
    page.stop = HALF
    with pytest.raises(FetchError, match=r"textgen fetch known --folder 'my texts'$"):
        fetch("known", "my texts")


def test_a_process_that_is_killed(site: Site, page: Page) -> None:
    page.stop, page.then = HALF, threading.Event()
    url, part = site.at("a.txt"), Path("corpora/a.txt.part")
    script = f"from {fetch.__module__} import fetch; fetch({url!r})"
    process = subprocess.Popen([sys.executable, "-c", script])
    assert holds_something(part)
    with pytest.raises(FetchError, match="being fetched by another process"):
        fetch(url)
    process.kill()
    process.wait()
    page.then.set()
    kept = part.stat().st_size
    page.stop = page.then = None
    assert fetch(url).read_bytes() == TEXT
    assert site.ranges() == [None, f"bytes={kept}-"]
    assert found() == {"a.txt": TEXT}


# Failures


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


def test_the_sources_are_well_formed() -> None:
    for key, source in SOURCES.items():
        assert source.url.startswith("https://")
        assert re.fullmatch("[0-9a-f]{64}", source.sha256)
        assert FETCHING._file_name(f"{source.url}/{key}.txt") == f"{key}.txt"
        assert source.url.endswith(".zip") == (source.member is not None)
        assert source.size > 1_000_000
        assert source.license
        assert source.description
