"""The files of the page, and the options that it shows."""

import contextlib
import gzip
import http.client
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient

from textgen.errors import OptionError
from textgen.model import Model
from textgen.serving import application, pages
from textgen.serving.server import address_of, listen

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; font-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
MOST_BYTES = 200_000
REFERENCE = re.compile(
    r"""(?:src|href)="(?!data:)([^"]+)"|(?:from|import|import\()\s*"([^"]+)"|url\(["']?([^)"']+)"""
)


def loaded(url: str) -> dict[str, httpx.Response]:
    """Return the answers for the page and all that it refers to, by address."""
    answers, waiting = dict[str, httpx.Response](), [f"{url}/"]
    with httpx.Client(headers={"Accept-Encoding": "gzip"}) as client:
        while waiting:
            address = waiting.pop()
            if address not in answers:
                answers[address] = answer = client.get(address)
                for groups in REFERENCE.findall(re.sub(r"(?m)^\s*(//|/?\*).*$", "", answer.text)):
                    waiting.append(urljoin(address, "".join(groups)))
    return answers


def test_the_page_loads_what_is_there_and_little_of_it(url: str) -> None:
    answers = loaded(url)
    assert {urlsplit(address).netloc for address in answers} == {urlsplit(url).netloc}
    assert {address: a.status_code for address, a in answers.items() if a.status_code != 200} == {}
    types = {Path(urlsplit(address).path).suffix for address in answers}
    assert {"", ".js", ".css"} <= types
    heads = sum(len(a.headers.raw) * 60 for a in answers.values())
    assert sum(a.num_bytes_downloaded for a in answers.values()) + heads < MOST_BYTES


def test_the_page_says_what_a_browser_may_do(url: str) -> None:
    for address in ("/", "/page/index.html", "/page/main.js", "/page/style.css"):
        answer = httpx.get(url + address)
        kind = {".js": "javascript", ".css": "css"}.get(Path(address).suffix, "html")
        assert answer.headers["Content-Type"] == f"text/{kind}; charset=utf-8"
        assert answer.headers["Content-Security-Policy"] == POLICY
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-cache"
        head = httpx.head(url + address)
        assert (head.status_code, head.content) == (200, b"")
        assert {**head.headers, "date": ""} == {**answer.headers, "date": ""}
        assert httpx.post(url + address).status_code == 405


def test_a_new_version_of_a_file_is_seen(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_PAGE_FOLDER", tmp_path)
    (tmp_path / "deep").mkdir()
    path, address = tmp_path / "deep/new.js", f"{url}/page/deep/new.js"
    assert httpx.get(address).status_code == 404
    path.write_text("export const é = 1;\n" * 500, "utf-8")
    plain = httpx.get(address, headers={"Accept-Encoding": "identity"})
    assert plain.content == path.read_bytes()
    assert "Content-Encoding" not in plain.headers
    with httpx.stream("GET", address, headers={"Accept-Encoding": "br, gzip"}) as packed:
        assert gzip.decompress(b"".join(packed.iter_raw())) == plain.content
        assert packed.headers["Vary"] == plain.headers["Vary"] == "Accept-Encoding"
        assert int(packed.headers["Content-Length"]) < 200
    tag = plain.headers["ETag"]
    for known in (tag, f'"other", {tag}'):
        same = httpx.get(address, headers={"If-None-Match": known})
        assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", tag)
        assert same.headers["Content-Security-Policy"] == POLICY
    before = path.stat()
    path.write_text("export const è = 1;\n" * 500, "utf-8")  # of the same length
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    new = httpx.get(address, headers={"If-None-Match": tag})
    assert (new.status_code, new.content) == (200, path.read_bytes())
    assert new.headers["ETag"] != tag


@pytest.mark.parametrize(
    "path",
    [
        *("", ".", "..", "main", "main.js/", "/main.js", "./main.js", "vendor", "vendor/"),
        *("../pages.py", "..%2fpages.py", "%2e%2e/pages.py", "vendor/../main.js", "..\\pages.py"),
        *("main.js%00", "%00", "%ff", "main.py", "MAIN.JS.", "/etc/passwd", "C:/x.js", "~/x.js"),
    ],
)
def test_only_files_of_the_page_are_sent(url: str, path: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    with contextlib.closing(connection):
        connection.putrequest("GET", f"/page/{path}", skip_accept_encoding=True)
        connection.endheaders()
        answer = connection.getresponse()
        body = answer.read()
    assert answer.status == 404
    assert json.loads(body)["error"]["type"] == "not_found_error"


def test_the_page_needs_no_key_and_nothing_else_goes_without(
    serve: Callable[..., str], models: dict[str, Model]
) -> None:
    url = serve(models["char"].path, api_key="secret")
    for path in ("/", "/page/index.html", "/page/main.js"):
        assert httpx.get(url + path).status_code == 200
    assert httpx.get(f"{url}/page/none.js").status_code == 404
    others = ("/v1/runs", "/v1/runs/char/metrics", "/v1/runs/char/events", "/v1/options", "/page")
    for path in others:
        assert httpx.get(url + path).status_code == 401
    assert httpx.post(f"{url}/v1/passages", json={"text": ""}).status_code == 401
    assert httpx.get(f"{url}/v1/runs", headers={"Authorization": "Bearer secret"}).is_success


def test_the_page_works_in_another_application(models: dict[str, Model]) -> None:
    texts = application(models["char"].path, api_key="secret")
    with TestClient(
        Starlette(routes=[Mount("/texts", texts)]), base_url="http://localhost"
    ) as client:
        page = client.get("/texts/")
        assert page.headers["Content-Security-Policy"] == POLICY
        assert not re.search(r'(?:src|href)="/', page.text)
        for path in ("/texts/page/main.js", "/texts/health"):
            assert client.get(path).status_code == 200
        for path in ("/texts/v1/runs", "/texts/page"):
            assert client.get(path).status_code == 401


@pytest.mark.parametrize(
    ("host", "shown"), [("0.0.0.0", "http://localhost"), ("127.0.0.1", "http://127.0.0.1")]
)
def test_the_address_that_is_shown_can_be_opened(host: str, shown: str) -> None:
    with listen(host, 0) as listener:
        assert address_of(listener) == f"{shown}:{listener.getsockname()[1]}"


@pytest.mark.parametrize("host", [".local", "a..b", "x" * 64])
def test_hosts_that_are_none(host: str) -> None:
    with pytest.raises(OptionError, match="host is not an address of this computer"):
        listen(host, 0)


def test_options_are_those_of_requests(serve: Callable[..., str], models: dict[str, Model]) -> None:
    url = serve(models["char"].path, max_tokens=300)
    options = {option["name"]: option for option in httpx.get(f"{url}/v1/options").json()}
    assert list(options)[:2] == ["temperature", "max_tokens"]
    assert options["temperature"] == {
        "name": "temperature",
        "type": "schedule",
        "default": 0.8,
        "least": 0,
        "least_allowed": True,
        "most": None,
        "help": options["temperature"]["help"],
    }
    limits = {name: (o["type"], o["default"], o["least"], o["most"]) for name, o in options.items()}
    assert limits["max_tokens"] == ("integer", 300, 1, 300)
    assert limits["top_p"] == ("number", None, 0, 1)
    assert limits["stop"] == ("texts", [], None, None)
    assert limits["until_sentence"] == ("boolean", False, None, None)
    assert "beam" not in options
    assert all(option["help"].endswith(".") for option in options.values())

    client = httpx.Client()

    def status(**fields: Any) -> int:
        body = {"prompt": "The ", "max_tokens": 2, "repetition_penalty": 1.1} | fields
        return client.post(f"{url}/v1/completions", json=body).status_code

    assert status(**{name: option["default"] for name, option in options.items()}) == 200
    for name, option in options.items():
        if (least := option["least"]) is not None:
            assert status(**{name: least}) == (200 if option["least_allowed"] else 400)
            assert status(**{name: least - 1}) == (200 if name == "top_k" else 400)
        if (most := option["most"]) is not None:
            assert status(**{name: most}) == 200
            assert status(**{name: most + 1}) == 400
