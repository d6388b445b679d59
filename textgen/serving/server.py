"""The server: an application behind a socket, until a signal ends it."""

import asyncio
import errno
import logging
import socket
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from types import FrameType

import uvicorn
from starlette.applications import Starlette

from textgen.errors import OptionError
from textgen.options.serving import ServingOptions
from textgen.runs.lifecycle import CHECKPOINTS
from textgen.serving.protocol import GuardedProtocol
from textgen.serving.routes import make_application
from textgen.serving.service import Service
from textgen.system.terminal import show

_GRACE = 10.0  # seconds for requests at hand after a signal
_LAST_SECONDS = 2.0  # for answers to be read after that
_KEEP_ALIVE = 75  # seconds; clients and proxies close unused connections earlier
_BACKLOG = 128  # connections that wait to be accepted; asyncio accepts as many in a row


class Server(uvicorn.Server):
    """A server that lets requests at hand finish when a signal ends it."""

    def __init__(self, app: Starlette, ready: Callable[[], None]) -> None:
        """Serve an application; call `ready` when requests are accepted."""
        config = uvicorn.Config(
            app,
            http=GuardedProtocol,
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=int(_GRACE) + 5,
        )
        super().__init__(config)
        self._service: Service = app.state.service
        self._ready = ready
        # Without handlers, Python prints warnings and errors on standard error. A client can cause
        # any number of warnings.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self.force_exit:  # the second Ctrl-C
            self._service.hurry()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        stopping = asyncio.ensure_future(self._stop_service())
        await super().shutdown(sockets)
        await stopping

    async def _stop_service(self) -> None:
        """Let requests at hand finish, and leave those whose clients do not read the answer."""
        await self._service.stop(_GRACE)
        end = time.monotonic() + _LAST_SECONDS
        while self.server_state.connections and time.monotonic() < end:
            await asyncio.sleep(0.02)
        for connection in list(self.server_state.connections):
            connection.transport.abort()


def serve_runs(
    runs: Sequence[Path], host: str, port: int, options: ServingOptions, quiet: bool
) -> None:
    """Serve runs until a signal; see `textgen.serve`."""
    app = make_application(runs, CHECKPOINTS, options, host)
    with listen(host, port) as listener:
        address = address_of(listener)

        def ready() -> None:
            if quiet:
                return
            show(f"open {address} in a browser; Ctrl-C stops", err=True)
            if options.api_key is None and not ip_address(listener.getsockname()[0]).is_loopback:
                show(
                    "warning: anyone who reaches this address can use it; give --api-key", err=True
                )

        Server(app, ready).run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; raise OptionError if it cannot."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
        # Otherwise a short answer waits until the client has acknowledged its headers: 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except (socket.gaierror, ValueError):  # ValueError: the name cannot be encoded
        raise OptionError("host", f"is not an address of this computer: {host}") from None
    except OverflowError:
        raise OptionError("port", "must be from 0 to 65535") from None
    except PermissionError:
        raise OptionError("port", f"{port} needs more rights; choose one above 1023") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise OptionError("port", f"{port} is in use; choose another") from None
        raise OptionError("host", f"{host} cannot be served: {error.strerror}") from None


def address_of(listener: socket.socket) -> str:
    """Return the address of a listening socket, for a browser on this computer."""
    host, port = listener.getsockname()[:2]
    if ip_address(host).is_unspecified:  # every address of this computer
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
