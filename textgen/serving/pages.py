"""The page: files for a browser, with rules for what they may load and do there."""

import gzip
import hashlib
from functools import lru_cache
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from textgen.reporting.markup import BASE_STYLE

_PAGE_FOLDER = Path(__file__).with_name("page")
_START_FILE = "index.html"
# Python's own table depends on the system, and browsers run no script of a wrong type.
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".svg": "image/svg+xml; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; font-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # ask each time, so that a new version is seen at once
    "Vary": "Accept-Encoding",
}


async def show_page(request: Request) -> Response:
    """GET /"""
    return _answer(request, _START_FILE)


async def show_file(request: Request) -> Response:
    """GET /page/{path}"""
    return _answer(request, request.path_params["path"])


def _answer(request: Request, name: str) -> Response:
    path = _files().get(name)
    if path is None:
        raise HTTPException(404)
    status = path.stat()
    content, packed, tag = _read(path, status.st_mtime_ns, status.st_size)
    headers = _HEADERS | {"ETag": tag}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        content, headers["Content-Encoding"] = packed, "gzip"
    return Response(content, headers=headers, media_type=_MEDIA_TYPES[path.suffix])


def _files() -> dict[str, Path]:
    """Return the files that exist by the names that clients may ask for, and no others."""
    found = (path for path in _PAGE_FOLDER.rglob("*") if path.suffix in _MEDIA_TYPES)
    own = {path.relative_to(_PAGE_FOLDER).as_posix(): path for path in found}
    return own | {BASE_STYLE.name: BASE_STYLE}


@lru_cache(maxsize=256)
def _read(path: Path, *_version: int) -> tuple[bytes, bytes, str]:
    """Return the content of a file, the same compressed, and its tag."""
    content = path.read_bytes()
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    # Weak, because it is the same with and without compression.
    return content, gzip.compress(content, mtime=0), f'W/"{digest}"'
