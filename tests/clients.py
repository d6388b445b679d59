"""What tests of the server share: checks of refusals, and a client that sends any bytes."""

import contextlib
import http.client
import io
import json
import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx

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
GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
LONG = {"model": "char", "max_tokens": 100_000}


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


def error_of(answer: httpx.Response) -> tuple[int, str | None, str | None]:
    """Return the status of an error, the field and the code."""
    error = answer.json()["error"]
    return answer.status_code, error["param"], error["code"]


def refuse(client: httpx.Client, param: str | None = None, **fields: Any) -> str:
    """Send a request for a completion that is refused; return the message."""
    body = json.dumps({"model": "char"} | fields)
    return refusal(client.post("/v1/completions", content=body), 400, param)


def slots_used(url: str) -> int:
    return sum(slot["is_processing"] for slot in httpx.get(f"{url}/slots").json())


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


Connect = Callable[[bytes], Connection]


def head(**headers: str) -> bytes:
    lines = ["POST /v1/completions HTTP/1.1"]
    headers = {"Host": "localhost"} | headers
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def request(headers: dict[str, str] | None = None, **fields: Any) -> bytes:
    body = json.dumps(fields).encode()
    return head(Content_Length=str(len(body)), **(headers or {})) + body
