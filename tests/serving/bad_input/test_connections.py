"""What is no HTTP, too slow, too large or too much, and clients that go away."""

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Sequence

import httpx
import pytest
from clients import GET, LONG, Connect, Connection, head, refusal, request, slots_used
from helpers import wait_for

from textgen.runs.folder import Run
from textgen.sampling.novel import Guard
from textgen.serving import application, messages, protocol, server
from textgen.serving.server import listen


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9,  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /health HTTP/7.0\r\nHost: localhost\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://localhost HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n",
        head(Content_Length="-1"),
        head(Content_Length="9" * 30),
        head(Content_Length="5", Transfer_Encoding="chunked") + b"0\r\n\r\n",
        head(Transfer_Encoding="chunked") + b"xyz\r\n",
    ],
)
def test_what_is_no_http(connect: Connect, data: bytes) -> None:
    connection = connect(data)
    assert "HTTP" in refusal(connection.answer(), 400)
    assert connection.is_closed()


@pytest.mark.parametrize(
    "lines",
    [
        b"GET /health HTTP/1.1\r\nX: " + b"a" * 400_000,
        b"GET /health HTTP/1.1\r\n" + b"X: y\r\n" * 20_000,
        b"GET /" + b"a" * 70_000,
        b"\r\n" * 40_000,
        head(Transfer_Encoding="chunked") + b"0\r\n" + b"X: y\r\n" * 20_000,
        head(Transfer_Encoding="chunked") + b"0\r\nX: " + b"y" * 400_000,
        head(Transfer_Encoding="chunked") + b"1;" + b"y" * 400_000,
    ],
    ids=["long", "many", "address", "blank", "trailers", "trailer", "extension"],
)
def test_headers_that_are_too_large(connect: Connect, lines: bytes) -> None:
    connection = connect(b"")
    with contextlib.suppress(OSError):
        connection.send(lines)
    assert "65,536" in refusal(connection.answer(), 431)


@pytest.mark.parametrize("size", [100_001, 5_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large(client: httpx.Client, size: int, chunked: bool) -> None:
    body = b"x" * size
    parts = (body[i : i + 50_000] for i in range(0, size, 50_000))
    answer = client.post("/v1/completions", content=parts if chunked else body)
    assert "0.1 MB" in refusal(answer, 413)


def test_a_refused_body_is_read_to_its_end(connect: Connect) -> None:
    """Many clients send all before they look for an answer."""
    connection = connect(head(Content_Length="5000000") + b"x" * 5_000_000 + GET)
    refusal(connection.answer(), 413)
    assert connection.answer().status_code == 200


def test_a_slow_head(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_HEAD_SECONDS", 0.3)
    start = time.monotonic()
    nothing, connection = connect(b""), connect(b"")
    with contextlib.suppress(OSError):
        for byte in head():
            connection.send(bytes([byte]))
            time.sleep(0.02)
    assert connection.is_closed()
    assert nothing.is_closed()
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    ("message", "rest"),
    [(GET, b"\r\n"), (GET, b"GET / HT"), (head(Content_Length="9", Host="evil.org"), b"x")],
    ids=["blank", "head", "body"],
)
def test_a_slow_rest(
    serve: Callable[..., str],
    runs: dict[str, Run],
    monkeypatch: pytest.MonkeyPatch,
    message: bytes,
    rest: bytes,
) -> None:
    """A byte after an answer does not keep the connection open for ever."""
    monkeypatch.setattr(protocol, "_HEAD_SECONDS", 0.3)
    monkeypatch.setattr(server, "_KEEP_ALIVE", 0.2)
    connection = Connection(serve(runs["char"].path))
    connection.send(message)
    connection.answer()
    connection.send(rest)
    assert connection.is_closed()


def test_a_slow_body(connect: Connect, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "_BODY_SECONDS", 0.2)
    connection = connect(head(Content_Length="1000") + b"{")
    assert "0.2 seconds" in refusal(connection.answer(), 408)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_does_not_read(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    monkeypatch.setattr(protocol, "_READ_SECONDS", 0.3)
    closed, connection_lost = threading.Event(), protocol.GuardedProtocol.connection_lost

    def noticed(self: protocol.GuardedProtocol, exc: Exception | None) -> None:
        if self.flow.write_paused:
            closed.set()
        connection_lost(self, exc)

    monkeypatch.setattr(protocol.GuardedProtocol, "connection_lost", noticed)
    # 12 MB, more than the system's buffers hold.
    fields = {"prompt": "e" * 2000, "n": 100, "echo": True, "logprobs": 0, "max_tokens": 1}
    connect(request(model="char", stream=stream, **fields))
    assert closed.wait(10)


def test_a_client_that_goes_away(connect: Connect, url: str) -> None:
    """In the head, in the body, while it waits, while it reads, and while it is in the queue."""
    for data in (b"POST /v1", head(Content_Length="1000"), head(Content_Length="1000") + b"{"):
        connect(data).close()
    for stream in (False, True):
        clients = [connect(request(stream=stream, **LONG)) for _ in range(8)]
        wait_for(lambda: slots_used(url) == 4, 10)
        for client in clients:
            client.close()
        wait_for(lambda: slots_used(url) == 0, 10)
    figures = httpx.get(f"{url}/metrics").text
    assert "textgen_queued_requests 0.0" in figures
    assert httpx.post(f"{url}/v1/completions", json={"model": "char"}).status_code == 200


def test_the_server_stops_whatever_clients_do(
    runs: dict[str, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_GRACE", "_LAST_SECONDS"):
        monkeypatch.setattr(server, name, 0.3)
    ready = threading.Event()
    app = application(runs["char"].path, max_prompt=2000)
    stopping, listener = server.Server(app, ready.set), listen("127.0.0.1", 0)
    thread = threading.Thread(target=stopping.run, kwargs={"sockets": [listener]})
    thread.start()
    assert ready.wait(10)
    unread = {"prompt": "e" * 2000, "n": 50, "echo": True, "logprobs": 0, "stream": True}
    clients = [Connection(server.address_of(listener)) for _ in range(6)]
    for client, data in zip(
        clients,
        [
            *(b"", b"GET /", GET, head(Content_Length="9") + b"{"),
            *(request(**unread), request(stream=True, **LONG)),
        ],
        strict=True,
    ):
        client.send(data)
    assert clients[-1].answer_begins()
    stopping.should_exit = True
    thread.join(10)
    assert not thread.is_alive()
    for client in clients:
        client.close()


def test_a_second_request_before_the_first_answer(connect: Connect, url: str) -> None:
    """It is not answered; clients send it again."""
    connection = connect(request(model="char", max_tokens=3) + request(**LONG) + GET * 2000)
    assert connection.answer().json()["usage"]["completion_tokens"] == 3
    assert connection.is_closed()
    assert slots_used(url) == 0


def test_a_client_that_goes_away_after_a_second_request(connect: Connect, url: str) -> None:
    connection = connect(request(**LONG) + GET)
    wait_for(lambda: slots_used(url) == 1, 10)
    connection.send(GET + b"nonsense")
    connection.close()
    wait_for(lambda: slots_used(url) == 0, 10)


def test_requests_one_after_another(connect: Connect) -> None:
    connection = connect(b"")
    for _ in range(3):
        for data in (GET, request(model="char"), request(model="nobody"), GET):
            connection.send(b"\r\n" + data)
            assert connection.answer().status_code in (200, 404)


def test_too_many_values_of_novel(
    connect: Connect, client: httpx.Client, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each needs a table of the whole training text."""
    made = list[int]()

    def make(texts: Sequence[str], length: int) -> Guard:
        made.append(length)
        return Guard(texts, length)

    monkeypatch.setattr("textgen.sampling.sampler.Guard", make)
    values = [20, 21] * 6 + [*range(22, 29)]
    waiting = [connect(request(novel=value, **LONG)) for value in values]
    busy = waiting[-1].answer()
    assert (busy.status_code, busy.headers["retry-after"]) == (503, "10")
    assert made == [*range(20, 28)]
    without = connect(request(model="char"))
    for connection in waiting:
        connection.close()
    wait_for(lambda: slots_used(url) == 0, 10)
    assert without.answer().status_code == 200
    answer = client.post("/v1/completions", json={"model": "char", "novel": 30})
    assert answer.status_code == 200


@pytest.mark.parametrize("chunked", [False, True])
def test_a_request_that_asks_for_another_protocol(connect: Connect, chunked: bool) -> None:
    """As Java's client does. It may be answered as if it had not asked."""
    body = json.dumps({"model": "char", "max_tokens": 3}).encode()
    ask = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2_Settings": "AAMAAABk"}
    if chunked:
        data = head(Transfer_Encoding="chunked", **ask) + b"%x\r\n%b\r\n0\r\n\r\n" % (
            len(body),
            body,
        )
    else:
        data = head(Content_Length=str(len(body)), **ask) + body
    for cut in (len(data), len(data) - 20, data.index(b"\r\n\r\n") + 4, 60):
        connection = connect(data[:cut])
        time.sleep(0.02)
        connection.send(data[cut:])
        assert connection.answer().json()["usage"]["completion_tokens"] == 3
        connection.send(GET)
        assert connection.answer().json() == {"status": "ok"}


def test_http_1_0(connect: Connect) -> None:
    connection = connect(b"GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n")
    assert connection.answer().json() == {"status": "ok"}
    assert connection.is_closed()


def test_too_many_connections(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_most_connections", lambda: 20)
    opened = [connect(b"") for _ in range(30)]
    assert opened[-1].is_closed()
    for connection in opened:
        connection.close()

    def is_answered() -> bool:
        with contextlib.suppress(OSError, http.client.HTTPException):
            return connect(GET).answer().status_code == 200
        return False

    wait_for(is_answered, 10)


def test_answers_do_not_wait_for_acknowledgements() -> None:
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "//v1/models", 404),
        ("GET", "/V1/models", 404),
        ("GET", "/v1/models/a/b", 404),
        ("GET", "/v1/../etc/passwd", 404),
        ("GET", "/%00%0a%ff", 404),
        ("GET", "/v1/completions", 405),
        ("PUT", "/v1/completions", 405),
        ("DELETE", "/v1/models/char", 405),
        ("OPTIONS", "/v1/completions", 405),
        ("TRACE", "/health", 405),
        ("POST", "/v1/runs", 405),
        ("DELETE", "/v1/runs/char/training", 404),
    ],
)
def test_odd_methods_and_paths(connect: Connect, method: str, path: str, status: int) -> None:
    answer = connect(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()).answer()
    refusal(answer, status)
    assert ("allow" in answer.headers) == (status == 405)
