"""Hosts, origins and keys: who may ask."""

import base64
from collections.abc import Callable

import httpx
import pytest
from clients import Connection, refusal

from textgen.runs.folder import Run


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST:99",
        "127.0.0.1",
        "127.0.0.1:1",
        "10.0.0.7:8000",
        "[::1]:1",
        "[fe80::1]",
    ],
)
def test_a_host_that_is_served(client: httpx.Client, host: str) -> None:
    assert client.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.org",
        "localhost.evil.org",
        "127.0.0.1.evil.org",
        "evil.org:8000",
        "[evil.org]",
        "",
        "a b",
    ],
)
def test_a_host_that_is_not_served(client: httpx.Client, host: str) -> None:
    """Another's name may lead to this computer."""
    assert "--allow-host" in refusal(client.get("/health", headers={"Host": host}), 403)


@pytest.mark.parametrize(
    "origin", ["https://evil.org", "null", "http://localhost:1", "file://", ""]
)
def test_a_page_of_another_origin(client: httpx.Client, origin: str) -> None:
    answer = client.post("/v1/completions", json={}, headers={"Origin": origin})
    assert "--cors-origin" in refusal(answer, 403)
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_page_of_this_server(client: httpx.Client, url: str) -> None:
    answer = client.post("/v1/completions", json={"model": "char"}, headers={"Origin": url})
    assert answer.status_code == 200


def test_pages_that_are_allowed(serve: Callable[..., str], runs: dict[str, Run]) -> None:
    page = "https://example.org"
    url = serve(runs["char"].path, cors_origin=page, api_key="secret", allow_host="box")
    ask = {
        "Origin": page,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    preflight = httpx.options(f"{url}/v1/completions", headers=ask)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == page
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    headers = {"Origin": page, "Host": "box:1"}
    refused = httpx.post(f"{url}/v1/completions", json={}, headers=headers)
    refusal(refused, 401)
    assert refused.headers["access-control-allow-origin"] == page
    headers["Authorization"] = "Bearer secret"
    answer = httpx.post(f"{url}/v1/completions", json={}, headers=headers)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, page)
    stranger = httpx.options(f"{url}/v1/completions", headers=ask | {"Origin": "https://evil.org"})
    assert stranger.status_code == 400
    assert "access-control-allow-origin" not in stranger.headers


@pytest.mark.parametrize("key", ["secret", "voilà", "ключ", "a b", "Å\udcff"], ids=ascii)
def test_keys(serve: Callable[..., str], runs: dict[str, Run], key: str) -> None:
    url = serve(runs["char"].path, api_key=key)
    sent = key.encode("utf-8", "surrogateescape")

    def ask(authorization: bytes | None, path: str = "/v1/models") -> httpx.Response:
        line = b"" if authorization is None else b"Authorization: " + authorization + b"\r\n"
        connection = Connection(url)
        connection.send(b"GET %b HTTP/1.1\r\nHost: localhost\r\n%b\r\n" % (path.encode(), line))
        answer = connection.answer()
        connection.close()
        return answer

    basic = b"Basic " + base64.b64encode(b"user:" + sent)
    for wrong in (None, b"", b"Bearer", b"Bearer ", b"Bearer x" + sent, sent, basic, b"\xff"):
        answer = ask(wrong)
        refusal(answer, 401)
        assert answer.headers["www-authenticate"] == "Bearer"
    for path in ("/slots", "/metrics", "/nothing", "/v1/models/char", "/tokenizer_info"):
        refusal(ask(None, path), 401)
    assert ask(None, "/health").status_code == 200
    for right in (b"Bearer " + sent, b"bearer  " + sent + b" "):
        assert ask(right).status_code == 200
