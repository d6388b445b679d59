"""Who may use the server: hosts, pages of other origins, and keys."""

import hmac
import ipaddress
import os
import socket

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from textgen.options.serving import ServingOptions
from textgen.serving.messages import refuse
from textgen.serving.refusals import RequestError

_OPEN = ("/", "/health")  # paths that need no key, and those of the page
_PAGE = "/page/"
_LOCAL = ("localhost", "127.0.0.1", "::1")


class RequestGuard:
    """Refuses requests before they reach the application.

    A page of a stranger can send requests to a server on the reader's computer. Such requests
    have the page's origin, or the stranger's host name, which then resolves to this computer (DNS
    rebinding). An address instead of a name cannot be rebound.
    """

    def __init__(self, app: ASGIApp, options: ServingOptions, host: str) -> None:
        self._app = app
        # The command line decodes an option's bytes, and this encodes them again.
        self._key = None if options.api_key is None else os.fsencode(options.api_key)
        self._origins = options.cors_origin
        self._hosts = {*_LOCAL, *options.allow_host, host.lower(), socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            self._check_host(headers)
            self._check_origin(headers)
            if not _is_open(scope) and scope["method"] != "OPTIONS":
                self._check_key(headers)
        except RequestError as refusal:
            await refuse(refusal)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _check_host(self, headers: Headers) -> None:
        name = _host_name(headers.get("host", ""))
        if name not in self._hosts and not _is_ip_address(name):
            raise RequestError(
                403,
                "this host name is not served; start the server with --allow-host and the name",
                code="host_not_allowed",
            )

    def _check_origin(self, headers: Headers) -> None:
        origin = headers.get("origin")
        if origin is None or origin in self._origins or "*" in self._origins:
            return
        if origin.partition("://")[2].lower() != headers.get("host", "").lower():
            raise RequestError(
                403,
                "pages of this origin may not use the server; start it with --cors-origin and the "
                "origin",
                code="origin_not_allowed",
            )

    def _check_key(self, headers: Headers) -> None:
        if self._key is None:
            return
        scheme, _, key = headers.get("authorization", "").partition(" ")
        given = key.encode("latin-1").strip()  # in UTF-8, à ends with Latin-1's hard space
        if scheme.lower() != "bearer" or not hmac.compare_digest(given, self._key):
            raise RequestError(
                401, "give the key as: Authorization: Bearer KEY", code="invalid_api_key"
            )


def _is_open(scope: Scope) -> bool:
    path = scope["path"].removeprefix(scope.get("root_path", ""))  # of an application it is in
    return path in _OPEN or path.startswith(_PAGE)


def _host_name(host: str) -> str:
    """Return the name in a Host header, without its port and brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _is_ip_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
