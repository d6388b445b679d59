"""Whatever a client sends gets an answer in the error form, or a closed connection.

A property test tries few bodies; `pytest --hypothesis-profile=many` tries thousands.
"""

import base64
import contextlib
import http.client
import io
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from helpers import fabricate, make_book
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from textgen.runs.folder import Run
from textgen.serving import application, messages, protocol, server
from textgen.serving.server import listen

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "invalid_request_error",
    413: "invalid_request_error",
    431: "invalid_request_error",
}
LEVELS = ("char", "word", "byte")
GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
LONG = {"model": "char", "max_tokens": 100_000}


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
    made = {level: fabricate(folder / level, books[0], level=level) for level in LEVELS}
    return made | {"docs": fabricate(folder / "docs", *books)}


@pytest.fixture(scope="module")
def url(serve: Callable[..., str], runs: dict[str, Run]) -> str:
    return serve(*(run.path for run in runs.values()), slots=4, max_body=0.1, max_prompt=2000)


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=30) as client:
        yield client


def refusal(answer: httpx.Response, status: int, param: str | None = None) -> str:
    """Check that an answer has the error form; return its message."""
    assert answer.status_code == status, answer.text
    assert list(answer.json()) == ["error"]
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (error["type"], error["param"]) == (TYPES[status], param)
    assert 0 < len(error["message"]) < 1100
    assert "Traceback" not in error["message"]
    return error["message"]


def refuse(client: httpx.Client, param: str | None = None, **fields: Any) -> str:
    """Send a request for a completion that is refused; return the message."""
    body = json.dumps({"model": "char"} | fields)
    return refusal(client.post("/v1/completions", content=body), 400, param)


def slots_used(url: str) -> int:
    return sum(slot["is_processing"] for slot in httpx.get(f"{url}/slots").json())


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# Bodies


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"{'model': 'char'}", "not JSON"),
        (b'{"model": "char"} {}', "not JSON"),
        (b'{"n": ' + b"9" * 5000 + b"}", "not JSON"),
        ('{"model": "char"}'.encode("utf-16"), "not UTF-8"),
        (b'{"prompt": "\xff"}', "not UTF-8"),
        (b'{"prompt": "caf\xc3"}', "not UTF-8"),
        (b'\xef\xbb\xbf{"model": "char"}', "not JSON"),
        (b"[" * 90_000, "nested too deeply"),
        (b'{"a":' * 20_000, "nested too deeply"),
        (b"[]", "JSON object"),
        (b"null", "JSON object"),
        (b'"model"', "JSON object"),
        (b"1", "JSON object"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/completions", "/tokenize", "/detokenize"])
def test_a_body_that_is_no_json_object(
    client: httpx.Client, path: str, body: bytes, message: str
) -> None:
    assert message in refusal(client.post(path, content=body), 400)


@pytest.mark.parametrize("field", ["temperature", "stop", "ban", "prompt", "top_k", "model"])
def test_no_depth_of_nesting_is_an_error_of_the_server(client: httpx.Client, field: str) -> None:
    """A value that can just be read may be too deep to be shown in a message."""
    for depth in range(850, 1000):
        body = f'{{"{field}": {"[" * depth}{"]" * depth}}}'
        assert client.post("/v1/completions", content=body).status_code == 400, depth


NUMBERS = ["", "1", [1], {}, True]
WRONG = {
    "max_tokens": [*NUMBERS, 1.5, 1e400, float("nan"), -1, 10**30],
    "n": [*NUMBERS, 0, -1, 10_000, 1.0, 2**70],
    "logprobs": [*NUMBERS, -1, 101, 1_000_000, 0.5],
    "seed": [*NUMBERS, -2, 2**64, 1.5],
    "stream": ["yes", 1, 0, []],
    "echo": ["yes", 1, 0, {}],
    "stream_options": ["usage", [], True],
    "temperature": ["hot", "", [], {}, True, [True], -1, float("nan"), 1e400, "1:2:3", 10**400],
    "top_p": ["", [], True, 0, -1, 1.1, float("nan")],
    "top_k": ["", [], -2, 1.5, 2**70],
    "min_p": ["", [], True, -1, 1.1, float("nan")],
    "repetition_penalty": ["", [], True, 0, -1, 101, float("nan"), 1e400],
    "repeat_last_n": ["", 0, -1, 5],
    "novel": ["", 1, -1, [], 1.5],
    "until_sentence": ["", 1, []],
    "stop": [1, "", [""], ["a", 1], [[]], {}, True, ["a"] * 65, "a" * 10_001],
    "ban": [1, "", [""], ["a", 1], {}, ["a"] * 1001, ["no such token"]],
    "logit_bias": [
        *(1, "a", [[1, 2]], {"1": "a"}, {"1": 101}, {"1": None}, {"1": True}),
        *({"1": float("nan")}, {"1": 10**400}, {"a": 1}, {"-1": 1}, {"": 1}, {"²": 1}),
        *({"999999": 1}, {"9" * 40: 1}, {str(i): 1 for i in range(1025)}),
    ],
    "prompt": [
        1,
        True,
        {},
        [],
        [None],
        ["a", 1],
        [["a"]],
        [[1], "a"],
        [1.5],
        [True],
        [-1],
        [10**6],
    ],
    "model": [1, True, [], {}],
    "suffix": ["end", 1, []],
    "best_of": [2, "1", 0],
    "frequency_penalty": [1, "0", float("nan")],
    "presence_penalty": [0.5, []],
    "beam": [2, 0],
    "length": [10],
}


@pytest.mark.parametrize(
    ("field", "value"),
    [(field, value) for field, values in WRONG.items() for value in values],
    ids=lambda value: ascii(value)[:30],
)
def test_a_field_that_is_wrong_is_named(client: httpx.Client, field: str, value: Any) -> None:
    refuse(client, field, **{field: value})


def test_a_list_of_too_many_prompts(client: httpx.Client) -> None:
    assert "128" in refuse(client, "n", prompt=["The "] * 129)
    assert "128" in refuse(client, "n", prompt=["The "] * 2, n=65)


def test_a_prompt_that_is_too_long(client: httpx.Client) -> None:
    for prompt in ("e" * 2001, [1] * 2001, ["e", "e" * 2001]):
        assert "2,001" in refuse(client, "prompt", prompt=prompt)
    assert "2,000" in refuse(client, "prompt", model="word", prompt="The ferry " * 1001)


def test_unknown_characters_are_named(client: httpx.Client) -> None:
    for prompt, shown in (("A snowman: ☃", "'☃'"), ("\0", r"'\x00'"), ("\ud800", r"'\ud800'")):
        assert shown in refuse(client, "prompt", prompt=prompt)
        answer = client.post("/tokenize", content=json.dumps({"model": "char", "prompt": prompt}))
        assert shown in refusal(answer, 400, "prompt")


@pytest.mark.parametrize("level", ["word", "byte"])
def test_half_a_pair_of_surrogates_is_text_to_words_and_bytes(
    client: httpx.Client, level: str
) -> None:
    fields = {"model": level, "prompt": "\ud800 a", "echo": True, "logprobs": 2}
    answer = client.post("/v1/completions", content=json.dumps(fields))
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["text"].startswith("\ud800 a")


@pytest.mark.parametrize(
    "name",
    [
        "nobody",
        "",
        ".",
        "..",
        "../char",
        "/etc/passwd",
        "char/",
        "CHAR",
        "char\0",
        "\ud800",
        "é" * 9999,
    ],
    ids=ascii,
)
def test_a_model_that_does_not_exist(client: httpx.Client, name: str) -> None:
    for path in ("/v1/completions", "/tokenize", "/detokenize"):
        answer = client.post(path, content=json.dumps({"model": name, "prompt": "", "tokens": []}))
        refusal(answer, 404, "model")
        assert answer.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("path", ["..%2F..%2Fetc%2Fpasswd", "%00", "a%2Fb", "%FF", "a" * 9999, "*"])
def test_a_path_to_a_model_that_does_not_exist(client: httpx.Client, path: str) -> None:
    answer = client.get(f"/v1/models/{path}")
    refusal(answer, 404, "model" if "model_not_found" in answer.text else None)
    refusal(client.get(f"/tokenizer_info?model={path}"), 404, "model")


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": 1}, "prompt"),
        ("/tokenize", {"prompt": ["a"]}, "prompt"),
        ("/tokenize", {"prompt": "", "model": []}, "model"),
        ("/detokenize", {}, "tokens"),
        ("/detokenize", {"tokens": "a"}, "tokens"),
        ("/detokenize", {"tokens": ["a"]}, "tokens"),
        ("/detokenize", {"tokens": [True]}, "tokens"),
        ("/detokenize", {"tokens": [-1]}, "tokens"),
        ("/detokenize", {"tokens": [10**400]}, "tokens"),
        ("/detokenize", {"tokens": [[]]}, "tokens"),
    ],
)
def test_what_cannot_be_tokenized(
    client: httpx.Client, path: str, fields: dict[str, Any], param: str
) -> None:
    refusal(client.post(path, json=fields), 400, param)


def test_messages_are_short(client: httpx.Client) -> None:
    for field in ("temperature", "stop", "model", "top_k"):
        answer = client.post(
            "/v1/completions", json={field: [1] if field == "stop" else "é" * 9999}
        )
        assert len(answer.content) < 10_000
    assert len(client.post("/detokenize", json={"tokens": ["x" * 9999]}).content) < 2000


def test_an_answer_that_would_need_too_much_memory(
    serve: Callable[..., str], runs: dict[str, Run]
) -> None:
    """A log-probability takes a hundred times the memory of a character of the prompt."""
    url = serve(runs["char"].path, max_prompt=100, max_tokens=100)
    with httpx.Client(base_url=url) as client:
        refuse(client, "logprobs", prompt="e" * 100, echo=True, logprobs=5, max_tokens=0)
        refuse(client, "logprobs", logprobs=20, max_tokens=100)
        refuse(client, "logprobs", logprobs=0, max_tokens=100, n=8)
        refuse(client, "logprobs", logprobs=1, max_tokens=99, until_sentence=True, n=2)
        refuse(client, "echo", prompt="e" * 100, echo=True, n=8)
        most = {"prompt": "e" * 100, "echo": True, "logprobs": 1, "max_tokens": 100}
        assert client.post("/v1/completions", json=most).status_code == 200
        many = {"prompt": "e" * 100, "max_tokens": 100, "n": 8}
        assert client.post("/v1/completions", json=many).status_code == 200


def test_a_token_has_one_bias(client: httpx.Client) -> None:
    def text(**bias: float) -> str:
        fields = {"model": "char", "seed": 1, "logit_bias": bias}
        return client.post("/v1/completions", json=fields).json()["choices"][0]["text"]

    assert text(**{"3": 2}) == text(**{"3": 2, "03": 2, "003": 2})


@pytest.mark.parametrize("model", ["char", "word", "byte", "docs"])
@pytest.mark.parametrize("prompt", ["", [[]], "The cafe\u0301 saw", "The café saw "])
def test_lists_of_log_probabilities_are_equally_long(
    client: httpx.Client, model: str, prompt: Any
) -> None:
    fields = {"model": model, "prompt": prompt, "echo": True, "logprobs": 2, "max_tokens": 3}
    [choice] = client.post("/v1/completions", json=fields).json()["choices"]
    found = choice["logprobs"]
    assert len({len(values) for values in found.values()}) == 1
    assert found["token_logprobs"][0] is found["top_logprobs"][0] is None
    assert None not in found["token_logprobs"][1:]


def test_messages_do_not_tell_where_files_are(serve: Callable[..., str], tmp_path: Path) -> None:
    Path("book.txt").write_text(make_book(), "utf-8")
    fabricate("checkpoints/bad", "book.txt")
    url = serve(folder=tmp_path / "checkpoints")
    for name in ("model.safetensors", "tokenizer.json"):
        Path("checkpoints/bad", name).write_bytes(b"damaged")
        answer = httpx.post(f"{url}/v1/completions", json={"model": "bad"})
        message = refusal(answer, 404, "model")
        assert f"bad/{name}" in message
        assert str(tmp_path) not in message


# Connections


class _Stream(io.BufferedReader):
    """What a socket receives, for several answers; one that is read may hold the next, too."""

    def close(self) -> None:
        """Stay open for the next answer."""


class Connection:
    """A socket to a server, for what HTTP clients do not send."""

    def __init__(self, url: str) -> None:
        port = int(url.rsplit(":", 1)[1])
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._stream = _Stream(socket.SocketIO(self.socket, "r"))

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self) -> httpx.Response:
        """Read an answer."""
        answer = http.client.HTTPResponse(SimpleNamespace(makefile=lambda _: self._stream))
        answer.begin()
        return httpx.Response(answer.status, headers=answer.getheaders(), content=answer.read())

    def answer_begins(self) -> bool:
        """Wait for the first bytes of an answer; return whether there are any."""
        return self.socket.recv(1) != b""

    def is_closed(self) -> bool:
        """Wait until the server closes the connection; return whether it has sent nothing more."""
        with contextlib.suppress(ConnectionResetError):
            return self.socket.recv(1000) == b""
        return True

    def close(self) -> None:
        self.socket.close()


@pytest.fixture
def connect(url: str) -> Iterator[Callable[[bytes], Connection]]:
    """Return a function that connects and sends something."""
    opened = list[Connection]()

    def connect(data: bytes) -> Connection:
        opened.append(Connection(url))
        opened[-1].send(data)
        return opened[-1]

    yield connect
    for connection in opened:
        connection.close()


def head(**headers: str) -> bytes:
    lines = ["POST /v1/completions HTTP/1.1"]
    headers = {"Host": "localhost"} | headers
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def request(headers: dict[str, str] | None = None, **fields: Any) -> bytes:
    body = json.dumps(fields).encode()
    return head(Content_Length=str(len(body)), **(headers or {})) + body


Connect = Callable[[bytes], Connection]


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
        wait_until(lambda: slots_used(url) == 4)
        for client in clients:
            client.close()
        wait_until(lambda: slots_used(url) == 0)
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
    wait_until(lambda: slots_used(url) == 1)
    connection.send(GET + b"nonsense")
    connection.close()
    wait_until(lambda: slots_used(url) == 0)


def test_requests_one_after_another(connect: Connect) -> None:
    connection = connect(b"")
    for _ in range(3):
        for data in (GET, request(model="char"), request(model="nobody"), GET):
            connection.send(b"\r\n" + data)
            assert connection.answer().status_code in (200, 404)


def test_too_many_values_of_novel(connect: Connect, client: httpx.Client, url: str) -> None:
    """Each needs a table of the whole training text."""
    waiting = [connect(request(novel=20 + i, **LONG)) for i in range(9)]
    busy = waiting[-1].answer()
    assert (busy.status_code, busy.headers["retry-after"]) == (503, "10")
    without = connect(request(model="char"))
    for connection in waiting:
        connection.close()
    wait_until(lambda: slots_used(url) == 0)
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

    wait_until(is_answered)


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


# Who may ask


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


# Any body

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 1 << 70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)
GOOD = {
    "model": st.sampled_from([*LEVELS, "docs"]),
    "prompt": st.sampled_from(["", "The ", "The ferry saw", ["The ", "“"], [1, 2], [[1], [2, 3]]])
    | st.text("The ferry.\n", max_size=80),
    "max_tokens": st.integers(0, 20),
    "n": st.integers(1, 3),
    "seed": st.integers(-1, 1 << 63),
    "temperature": st.sampled_from([0, 1e-300, 0.5, 2, 1e299, "0.5,1", "1.2:0.6", [0, 1]]),
    "top_k": st.integers(-1, 100),
    "top_p": st.floats(0, 1),
    "min_p": st.floats(0, 1),
    "repetition_penalty": st.floats(0.01, 100),
    "repeat_last_n": st.integers(1, 99),
    "ban": st.sampled_from(["e", ["e", "T"], " ", "ferry"]),
    "novel": st.integers(2, 30),
    "stop": st.sampled_from(["e", ["er", "\n"], ["a"] * 5]) | st.text("The fry", max_size=3),
    "until_sentence": st.booleans(),
    "stream": st.booleans(),
    "stream_options": st.just({"include_usage": True}),
    "echo": st.booleans(),
    "logprobs": st.integers(0, 100),
    "logit_bias": st.dictionaries(st.integers(0, 30).map(str), st.floats(-100, 100), max_size=3),
    "best_of": st.integers(1, 3),
    "suffix": st.none(),
    "user": st.text(max_size=5),
    "content": st.text(max_size=5),
    "tokens": st.lists(st.integers(-1, 30), max_size=5),
}
PATHS = st.sampled_from(["/v1/completions"] * 8 + ["/tokenize", "/detokenize"])
relaxed = settings(suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def ask(
    serve: Callable[..., str], runs: dict[str, Run], errors: list[str]
) -> Iterator[Callable[[str, bytes], None]]:
    """Send a body; check that the answer is a good one, or a refusal."""
    url = serve(*(run.path for run in runs.values()), slots=4, max_tokens=30, max_prompt=100)
    with httpx.Client(base_url=url, timeout=30) as client:

        def ask(path: str, body: bytes) -> None:
            answer = client.post(path, content=body)
            if answer.status_code == 200:
                check_answer(path, answer)
            else:
                assert answer.status_code in (400, 404), answer.text
                refusal(answer, answer.status_code, answer.json()["error"]["param"])
            assert errors == []

        yield ask
        assert slots_used(url) == 0


def check_answer(path: str, answer: httpx.Response) -> None:
    if answer.headers["content-type"].startswith("application/json"):
        found = json.loads(answer.content, parse_constant=no_constant)
        assert "choices" in found or "tokens" in found or "prompt" in found
        for choice in found.get("choices", []):
            assert choice["finish_reason"] in ("stop", "length")
        return
    *events, done, end = answer.content.split(b"\n\n")
    assert (done, end) == (b"data: [DONE]", b"")
    for event in events:
        assert "choices" in json.loads(event.removeprefix(b"data: "), parse_constant=no_constant)


def no_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


@relaxed
@given(PATHS, st.data())
def test_any_value_in_a_field(
    ask: Callable[[str, bytes], None], path: str, data: st.DataObject
) -> None:
    names = data.draw(st.sets(st.sampled_from(sorted(GOOD)), max_size=8))
    fields = {name: data.draw(GOOD[name]) for name in sorted(names)}
    for name in data.draw(st.lists(st.sampled_from(sorted(GOOD)), max_size=2)):
        fields[name] = data.draw(VALUES)
    ask(path, json.dumps(fields).encode())


@relaxed
@given(PATHS, VALUES | st.dictionaries(st.sampled_from(sorted(GOOD)), VALUES))
def test_any_json(ask: Callable[[str, bytes], None], path: str, value: Any) -> None:
    ask(path, json.dumps(value).encode())


@relaxed
@given(PATHS, st.data())
def test_any_bytes(ask: Callable[[str, bytes], None], path: str, data: st.DataObject) -> None:
    body = json.dumps({"model": "char", "prompt": "The ", "max_tokens": 5, "stop": ["é"]}).encode()
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(body)))
        end = data.draw(st.integers(start, len(body)))
        body = body[:start] + data.draw(st.binary(max_size=9)) + body[end:]
    ask(path, body)
