"""Download texts: known ones by name, checked by SHA-256, or any other by its address."""

import os
import re
import shlex
import shutil
import string
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from http.client import HTTPException, HTTPResponse
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib import request
from urllib.error import HTTPError
from urllib.parse import quote, unquote, urlsplit
from zipfile import ZipFile

from textgen import __version__
from textgen.errors import FetchError
from textgen.preprocess.reading import sha256_of
from textgen.system.terminal import byte_bar

CORPORA = Path("corpora")
"""The default folder of downloaded texts."""

_RECEIVED_AT_ONCE = 1 << 16  # bytes
_TIMEOUT = 30.0  # seconds without a byte


class Source(NamedTuple):
    """A text that can be fetched by name."""

    url: str
    sha256: str  # of the file at `url`
    size: int  # of that file, in bytes
    license: str
    description: str
    member: str | None = None  # the text's name in that file, if it is a zip archive


SOURCES = {
    "tiny-shakespeare": Source(
        "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        1_115_394,
        "public domain",
        "40,000 lines of Shakespeare's plays, from char-rnn",
    ),
    "war-and-peace": Source(
        "https://www.gutenberg.org/cache/epub/2600/pg2600.txt",
        "d4d61133bac3ddd87280783dcbd52aee85043961ea186ee422de58fffd22a00f",
        3_359_652,
        "public domain in the USA",
        "Tolstoy's novel in English, by Louise and Aylmer Maude",
    ),
    "don-quijote": Source(
        "https://www.gutenberg.org/cache/epub/2000/pg2000.txt",
        "34900cdacbbe537f506e2a563685b5bae11c9982d85a48373a3215ae21619718",
        2_225_845,
        "public domain in the USA",
        "Cervantes's novel in Spanish, both parts",
    ),
    "wikitext-2": Source(
        "https://wikitext.smerity.com/wikitext-2-raw-v1.zip",
        "ef7edb566e3e2b2d31b29c1fdb0c89a4cc683597484c3dc2517919c615435a11",
        4_721_645,
        "CC BY-SA",
        "good articles of Wikipedia, 2 million words of raw text; the training part",
        "wikitext-2-raw/wiki.train.raw",
    ),
    "text8": Source(
        "https://mattmahoney.net/dc/text8.zip",
        "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
        31_344_016,
        "GFDL",
        "100 million characters of Wikipedia in 2006, reduced to a-z and spaces",
        "text8",
    ),
    "enwik8": Source(
        "https://mattmahoney.net/dc/enwik8.zip",
        "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc",
        36_445_475,
        "GFDL",
        "100 million bytes of Wikipedia in 2006, as XML",
        "enwik8",
    ),
}
"""The texts that can be fetched by name."""


def _opener() -> request.OpenerDirector:
    """Return an opener like urllib's, but without ftp: and file:, even after a redirection."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler,
        request.UnknownHandler,
        request.HTTPHandler,
        request.HTTPSHandler,
        request.HTTPDefaultErrorHandler,
        request.HTTPRedirectHandler,
        request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def fetch(source: str, folder: str | Path = CORPORA, quiet: bool = False) -> Path:
    """Download a text into `folder` and return its path.

    `source` is a name in SOURCES, or an http or https address. A known text is checked by its
    SHA-256 and becomes NAME.txt. A file from an address is stored unchecked and unchanged, even
    an archive; its name is the last part of the address. An incomplete file has a name that ends
    in .part. Call again to resume an interrupted download, if the server still has the same file.

    Raises:
        FetchError: there is no such name or address; the file exists already, or another process
            is fetching it; the network, the server or the disk fails; the SHA-256 is wrong.
        KeyboardInterrupt: on Ctrl-C; what was received is kept.
    """
    known = SOURCES.get(source)
    url = known.url if known else _address(source)
    target = Path(folder, f"{source}.txt" if known else _file_name(url))
    part = target.with_name(f"{target.name}.part")
    elsewhere = [] if Path(folder) == CORPORA else ["--folder", str(folder)]
    again = shlex.join(["textgen", "fetch", source, *elsewhere])
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _part_locked(target, part):
            _refuse_existing(target)
            digest = _download(url, part, quiet)
            if known and digest != known.sha256:
                _remove_part(part)
                raise FetchError(
                    f"{url} does not have the SHA-256 of {source}: it is damaged or was changed by "
                    f"its publisher; fetch it again, or unchecked with: textgen fetch {url}"
                )
            whole = _extracted(part, known.member) if known and known.member else part
            _refuse_existing(target)  # another program may have created it meanwhile
            whole.rename(target)
            _remove_part(part)
    except ConnectionError as error:
        raise FetchError(
            f"the download of {url} was interrupted: {error}; resume with: {again}"
        ) from None
    except OSError as error:
        place = error.filename or target
        raise FetchError(f"cannot write {place}: {error.strerror or error}") from None
    except KeyboardInterrupt as interrupt:  # or the subclass that SIGTERM raises
        raise type(interrupt)(f"stopped; resume with: {again}") from None
    return target


def _address(source: str) -> str:
    if ":" not in source:
        close = get_close_matches(source, SOURCES, 1)
        meant = f"did you mean {close[0]}? " if close else ""
        raise FetchError(
            f"there is no text named {source!r}; {meant}give one of {', '.join(SOURCES)}, "
            "or an address that begins with https://"
        )
    url = quote(source, safe=string.punctuation)
    with suppress(ValueError):  # unclosed brackets
        if urlsplit(url).scheme in ("http", "https") and urlsplit(url).netloc:
            return url
    raise FetchError(f"{source} is not a web address; give one that begins with https://")


def _file_name(url: str) -> str:
    """Return the last part of the address as a name that stays in its folder and is not hidden."""
    last = PurePosixPath(unquote(urlsplit(url).path)).name
    name = re.sub(r"[^\w.,()+ -]", "_", last).strip(". ")
    if not name:
        raise FetchError(f"{url} does not name a file; give the full address of a text")
    return name


@contextmanager
def _part_locked(target: Path, part: Path) -> Iterator[None]:
    """Keep other processes from fetching the same file; a lock ends with its process."""
    from filelock import FileLock, Timeout  # slow to import

    path = part.with_name(f"{part.name}.lock")
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise FetchError(f"{target} is being fetched by another process; wait for it") from None
    try:
        yield
    finally:
        with suppress(OSError):  # Windows does not remove open files
            path.unlink()  # a process that opened it meanwhile notices that
        lock.release()


def _refuse_existing(target: Path) -> None:
    if os.path.lexists(target):
        raise FetchError(f"{target} exists already; remove it to fetch it again")


def _download(url: str, part: Path, quiet: bool) -> str:
    """Download the rest of the file at `url` to `part`; return the SHA-256 of the whole."""
    offset, validator = _begun(part, url)
    response = _ask(url, offset, validator)
    if response.status != 200 and not _fits(response, offset, validator):
        response.close()
        response = _ask(url)
    with response, part.open("a+b") as file:
        if response.status == 200:
            file.truncate(0)  # before the origin changes, so that the two never disagree
            _origin(part).write_text(f"{url}\n{_validator(response)}", "utf-8")
        file.seek(0)
        digest = sha256_of(file)
        if isinstance(response, HTTPResponse):  # else 416: the part is complete
            done = file.tell()
            total = None if response.length is None else done + response.length
            with byte_bar(part.stem, total, quiet, initial=done) as bar:
                for data in _received(response):
                    file.write(data)
                    digest.update(data)
                    bar.update(len(data))
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _ask(url: str, offset: int = 0, validator: str = "") -> HTTPResponse | HTTPError:
    """Request the file, from `offset` on if `validator` still matches it.

    The response has status 200 (the whole file) or, if there is an offset, 206 (the rest) or 416
    (there is no rest).
    """
    asked = request.Request(url, headers={"User-Agent": f"textgen/{__version__}"})
    if offset:
        asked.add_header("Range", f"bytes={offset}-")
        asked.add_header("If-Range", validator)
    answer: HTTPResponse | HTTPError
    try:
        answer = _opener().open(asked, timeout=_TIMEOUT)
    except HTTPError as error:
        answer = error
    except (OSError, HTTPException, ValueError) as error:  # ValueError: a malformed address
        raise FetchError(
            f"cannot reach {url}: {_reason(error)}; check the address and the network"
        ) from None
    if answer.status == 200 or (offset and answer.status in (206, 416)):
        return answer
    answer.close()
    told = " ".join(f"{answer.status} {answer.reason}".split())
    raise FetchError(f"cannot fetch {url}: the server says: {told}; check the address")


def _fits(response: HTTPResponse | HTTPError, offset: int, validator: str) -> bool:
    """Return whether a response with status 206 or 416 continues where the part ends."""
    place = response.headers.get("Content-Range", "")
    if response.status == 416:
        return place == f"bytes */{offset}"
    # Some servers ignore If-Range, so compare the validator that they send.
    return place.startswith(f"bytes {offset}-") and _validator(response) in ("", validator)


def _received(response: HTTPResponse) -> Iterator[bytes]:
    try:
        while data := response.read(_RECEIVED_AT_ONCE):
            yield data
        if response.length:  # the bytes that are missing
            raise ConnectionError("the connection was closed too soon")
    except (OSError, HTTPException) as error:
        raise ConnectionError(_reason(error)) from None


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", error)  # a URLError wraps another
    return str(getattr(reason, "strerror", None) or reason)


def _validator(response: HTTPResponse | HTTPError) -> str:
    """Return the ETag or date of this version of a file, or "".

    A weak ETag does not identify a file byte by byte, so it is ignored.
    """
    tag: str = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")


def _origin(part: Path) -> Path:
    """Return the path of the file that stores the address and the validator of a part."""
    return part.with_name(f"{part.name}.origin")


def _begun(part: Path, url: str) -> tuple[int, str]:
    """Return the number of bytes to resume from, and the validator of their file."""
    with suppress(OSError, ValueError):
        begun, validator = _origin(part).read_text("utf-8").split("\n")
        if begun == url and validator:
            return part.stat().st_size, validator
    return 0, ""


def _remove_part(part: Path) -> None:
    part.unlink(missing_ok=True)
    _origin(part).unlink(missing_ok=True)


def _extracted(archive: Path, member: str) -> Path:
    text = archive.with_name(f"{archive.name}.text")
    try:
        with ZipFile(archive) as files, files.open(member) as inside, text.open("wb") as file:
            shutil.copyfileobj(inside, file, _RECEIVED_AT_ONCE)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        text.unlink(missing_ok=True)
        raise
    return text
