"""Bodies of requests and answers: read what clients send, and send JSON or events."""

import io
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Any

import anyio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from textgen.serving.refusals import RequestError

BYTES_OF_A_MB = 1_000_000

_BODY_SECONDS = 30.0  # for a JSON body to arrive


class Gone(Exception):  # noqa: N818 - it is no error
    """The client went away."""


async def read_json(request: Request, most: float) -> dict[str, Any]:
    """Return the JSON object in a body of at most `most` MB; raise RequestError for others."""
    body = bytearray()
    with anyio.move_on_after(_BODY_SECONDS) as scope:
        async for part in parts_of(request, most):
            body += part
    if scope.cancelled_caught:
        raise RequestError(408, f"the body took more than {_BODY_SECONDS:g} seconds to arrive")
    try:
        found = json.loads(body.decode("utf-8"))
    except UnicodeDecodeError:
        raise RequestError(400, "the body is not UTF-8") from None
    except RecursionError:
        raise RequestError(400, "the body is nested too deeply") from None
    except ValueError as error:
        raise RequestError(400, f"the body is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise RequestError(400, "the body must be a JSON object")
    return found


async def parts_of(request: Request, most: float) -> AsyncIterator[bytes]:
    """Yield the parts of a body; raise RequestError if they are more than `most` MB.

    Raises Gone if the client goes away.
    """
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > most * BYTES_OF_A_MB:
                raise RequestError(413, f"the body is larger than {most:g} MB")
            yield part
    except ClientDisconnect:
        raise Gone from None


class Json(Response):
    """A JSON document in ASCII, so that it can hold any text."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json.dumps(content).encode()


class LargeJson(Json):
    """A JSON document that is made in a thread, beside which other threads go on.

    `json.dumps` holds them up until it is done, `json.dump` does not. It takes several times as
    long.
    """

    def render(self, content: Any) -> bytes:
        text = io.StringIO()
        json.dump(content, text)
        return text.getvalue().encode()


async def disconnected(receive: Receive) -> None:
    """Wait until the client goes away."""
    while (await receive())["type"] != "http.disconnect":
        pass


def refuse(refusal: RequestError) -> Response:
    """Return the answer to a refused request."""
    return Json(refusal.body, refusal.status, refusal.headers)


class EventStream(Response):
    """Server-sent events."""

    media_type = "text/event-stream"

    def __init__(self, parts: AsyncIterator[bytes], first: bytes = b"") -> None:
        """Send `first` and then each of `parts`, until they end or the client goes away."""
        # The last one keeps nginx from gathering events.
        super().__init__(headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"})
        del self.headers["content-length"]
        self._parts = parts
        self._first = first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": self.status_code,
                "headers": self.raw_headers,
            }
        )
        async with aclosing(self._parts) as parts:  # type: ignore[type-var]
            await send(_body_part(self._first))
            with suppress(Gone):
                async for part in parts:
                    await send(_body_part(part))
        await send(_body_part(b"", more=False))


def _body_part(body: bytes, more: bool = True) -> dict[str, Any]:
    return {"type": "http.response.body", "body": body, "more_body": more}


def event(data: Any, name: str | None = None) -> bytes:
    """Return a server-sent event with JSON data, and a name if given."""
    start = f"event: {name}\n" if name else ""
    return f"{start}data: {json.dumps(data)}\n\n".encode()
