"""A server in this process that can misbehave, and downloads from it."""

import hashlib
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from textgen.errors import FetchError
from textgen.preprocess.fetching import SOURCES, Source, fetch

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
