"""HTTP with limits on what a client may send and how long it may take."""

import asyncio
import json
import sys

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from textgen.serving.refusals import RequestError

_LONGEST_HEAD = 65_536  # bytes of a request line and headers
_HEAD_SECONDS = 10.0  # for them to arrive
_READ_SECONDS = 60.0  # for a client to read _LEAST_READ of what was sent, or all of it
_LEAST_READ = 32_768  # bytes
_OTHER_FILES = 256  # that may be open besides connections, or are about to be accepted


class GuardedProtocol(HttpToolsProtocol):
    """Closes connections of clients that send too much before a body, or send or read too slowly.

    The application bounds the size and the time of a body. A client that sends a request before it
    has the answer to the last one must send it again on another connection.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        if len(self.connections) > _most_connections():
            self.transport.abort()  # asyncio would log an error for each that it cannot accept
        self._head_size = 0  # bytes; trailers count, too
        self._unparsed = 0  # bytes since the parser has found something
        self._repeats_head = False
        self._ignores_rest = False
        self._head_timer = self.loop.call_later(_HEAD_SECONDS, self._give_up)
        self._read_timer: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_timer.cancel()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._ignores_rest:  # reading goes on, so that the end of the connection is noticed
            return
        self._unset_keepalive_if_required()
        self._unparsed += len(data)
        refusal = None
        try:
            self._parse(data)
        except httptools.HttpParserError:
            refusal = RequestError(400, "this is not a request of HTTP/1.1")
        if max(self._head_size, self._unparsed) > _LONGEST_HEAD:
            refusal = RequestError(431, f"the headers are larger than {_LONGEST_HEAD:,} bytes")
        if refusal:
            self._refuse_rest(refusal)

    def on_message_begin(self) -> None:
        if self._repeats_head:
            return
        if self._is_answering():
            raise ValueError("a request before the answer to the last one")  # stops the parser
        super().on_message_begin()
        self._head_size = 0
        self._await_head(_HEAD_SECONDS)

    def on_url(self, url: bytes) -> None:
        if not self._repeats_head:
            self._count_head(len(url))
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._repeats_head:
            self._count_head(len(name) + len(value) + 4)  # with the colon and the line's end
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if not self._repeats_head:
            self._unparsed = 0
            self._head_timer.cancel()
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unparsed = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unparsed = 0
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # The next head or the rest of a body that the application has not read.
        idle = 0 if self.cycle.more_body else self.timeout_keep_alive
        self._await_head(idle + _HEAD_SECONDS)

    def shutdown(self) -> None:
        super().shutdown()
        if self._is_answering() and self.cycle.more_body:
            self.transport.abort()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None
        super().resume_writing()

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # A server may answer as if it had not been asked to change the protocol; Java's client
            # asks each time. The parser takes no body then, so another parser goes on.
            framing = (b"content-length", b"transfer-encoding")
            head = [b": ".join(header) for header in self.headers if header[0] in framing]
            self.parser = httptools.HttpRequestParser(self)
            self._repeats_head = True
            self.parser.feed_data(b"\r\n".join([b"POST / HTTP/1.1", *head, b"", b""]))
            self._repeats_head = False
            self.parser.feed_data(data[upgrade.args[0] :])

    def _count_head(self, size: int) -> None:
        self._unparsed = 0
        self._head_size += size
        if self._head_size > _LONGEST_HEAD:
            raise ValueError("the headers are too large")  # stops the parser

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse_rest(self, refusal: RequestError) -> None:
        """Refuse what the client sends, and ignore it from now on."""
        self._ignores_rest = True
        if self._is_answering():
            if not self.cycle.more_body:  # another request; the answer to the last one is the end
                self.cycle.keep_alive = False
                return
            if self.cycle.response_started:
                self.transport.abort()
                return
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        body = json.dumps(refusal.body).encode()
        head = (
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(STATUS_LINE[refusal.status] + head.encode() + body)
        # A socket that is closed before all is read may lose the answer.
        self.transport.write_eof()
        self.flow.resume_reading()
        self._await_head(_HEAD_SECONDS)

    def _await_head(self, seconds: float) -> None:
        """Close the connection unless a head arrives in time."""
        self._head_timer.cancel()
        self._head_timer = self.loop.call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        if self.flow.write_paused:  # the client still reads the last answer
            self._await_head(_HEAD_SECONDS)
        else:
            self.transport.abort()

    def _await_reader(self) -> None:
        """Close the connection unless the client reads enough in time."""
        left = self.transport.get_write_buffer_size()
        self._read_timer = self.loop.call_later(_READ_SECONDS, self._check_reader, left)

    def _check_reader(self, before: int) -> None:
        if before - self.transport.get_write_buffer_size() < _LEAST_READ:
            self.transport.abort()
        else:
            self._await_reader()


def _most_connections() -> int:
    """Return how many connections the system's limit of open files allows."""
    if sys.platform == "win32":
        return 512
    import resource

    return max(resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _OTHER_FILES, 16)
