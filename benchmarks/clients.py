"""Clients of the server that ask without pause, for serve.py.

The machine has few cores: what a client does with an answer would slow the server down.
"""

import asyncio
import json
import random
import re
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

PLAY = Path(__file__).parents[1] / "corpora" / "the_lamp_at_harrow.txt"
PROMPT = "a few words"
TOKENS = 500
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """A connection that is kept alive, and reads no more of an answer than it needs to."""

    def __init__(self) -> None:
        self.first = 0.0  # when the first piece came
        self._parts: list[bytes] = []
        self._left: int | None = None  # bytes to come; None: chunks to come
        self._begun = False
        self._answer: asyncio.Future[bytes] | None = None
        self._began: asyncio.Future[None] | None = None
        self._transport: asyncio.WriteTransport | None = None

    def ask(self, request: bytes) -> "asyncio.Future[bytes]":
        """Send a request; return the answer to come."""
        assert self._transport is not None
        loop = asyncio.get_running_loop()
        self._parts, self._begun = [], False
        self._answer, self._began = loop.create_future(), loop.create_future()
        self._transport.write(request)
        return self._answer

    async def begun(self) -> None:
        """Wait for the first piece of the answer."""
        assert self._began is not None
        await self._began

    def close(self) -> None:
        if self._answer is not None:
            self._answer.cancel()
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, _: Exception | None) -> None:
        for future in (self._answer, self._began):
            if future is not None and not future.done():
                future.set_exception(ConnectionError("the server closed the connection"))
                future.exception()  # not everyone waits for both

    def data_received(self, data: bytes) -> None:
        assert self._answer is not None
        assert self._began is not None
        if self._answer.done():
            return
        if not self._begun:
            head, _, data = data.partition(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200 "):
                self._answer.set_exception(ConnectionError((head + data).decode()))
                return
            length = _LENGTH.search(head)
            self._left = int(length[1]) if length else None
            self._begun = True
        if not data:
            return
        if not self._parts:
            self.first = time.perf_counter()
            self._began.set_result(None)
        self._parts.append(data)
        if self._left is not None:
            self._left -= len(data)
            if not self._left:
                self._answer.set_result(b"".join(self._parts))
        elif b"".join(self._parts[-5:])[-5:] == b"0\r\n\r\n":  # the last chunk
            self._answer.set_result(b"".join(self._parts))


def make_request(model: str, **fields: Any) -> bytes:
    """Return the bytes of a request for a completion."""
    given = {"model": model, "prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0.8, **fields}
    body = json.dumps(given).encode()
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def connect(port: int) -> Connection:
    _, connection = await asyncio.get_running_loop().create_connection(
        Connection, "127.0.0.1", port
    )
    return connection


def check_answer(answer: bytes) -> None:
    """Stop if an answer does not have all tokens."""
    if answer.startswith(b"{"):
        complete = json.loads(answer)["usage"]["completion_tokens"] == TOKENS
    else:  # events, and the lengths of the chunks between them
        complete = re.search(rb'"finish_reason": ?"length"', answer) is not None
    if not complete:
        raise ValueError(f"an answer is not complete: {answer.decode()}")


class Clients:
    """Clients that are spread over servers, and ask all the time."""

    def __init__(
        self,
        ports: Sequence[int],
        model: str,
        count: int,
        streamed: bool = False,
        seeds: bool = False,
        prompts: bool = False,
    ) -> None:
        """Prepare the requests, with seeds and prompts of their own if asked for."""
        self._ports = [ports[i % len(ports)] for i in range(count)]
        words = PLAY.read_text("utf-8").split()
        rng = random.Random(0)

        def request() -> bytes:
            fields: dict[str, Any] = {"stream": streamed}
            if seeds:
                fields["seed"] = rng.getrandbits(32)
            if prompts:
                fields["prompt"] = " ".join(rng.choices(words, k=3))
            return make_request(model, **fields)

        self._requests = [request() for _ in range(1000 if seeds or prompts else 1)]
        self._sent = 0

    def steps(self, count: int) -> float:
        """Let each client ask `count` times."""
        return asyncio.run(self._turn(count))

    async def _turn(self, count: int) -> float:
        # A server closes connections that wait for a turn.
        connections = [await connect(port) for port in self._ports]
        start = time.perf_counter()
        answers = await asyncio.gather(*(self._client(each, count) for each in connections))
        seconds = time.perf_counter() - start
        for answer, connection in zip(answers, connections, strict=True):
            connection.close()
            check_answer(answer)
        return seconds

    async def _client(self, connection: Connection, count: int) -> bytes:
        answer = b""
        for _ in range(count):
            self._sent += 1
            answer = await connection.ask(self._requests[self._sent % len(self._requests)])
        return answer


class FirstPiece:
    """The time from a request to the first piece of its text, while other texts are streamed."""

    def __init__(self, port: int, model: str, others: int) -> None:
        self._port = port
        self._others = others
        self._request = make_request(model, stream=True, max_tokens=100)
        self._long = make_request(model, stream=True, max_tokens=50_000)

    def steps(self, count: int) -> float:
        """Return the median seconds of `count` requests, one after another."""
        return asyncio.run(self._turn(count))

    async def _turn(self, count: int) -> float:
        others = [await connect(self._port) for _ in range(self._others)]
        for other in others:
            other.ask(self._long)
        for other in others:
            await other.begun()
        probe, seconds = await connect(self._port), []
        for _ in range(count):
            await asyncio.sleep(random.uniform(0.01, 0.05))  # at any moment of the other streams
            start = time.perf_counter()
            await probe.ask(self._request)
            seconds.append(probe.first - start)
        for connection in [probe, *others]:
            connection.close()
        return median(seconds)
