"""Resume downloads that were interrupted."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sites import HALF, OTHER, TEXT, Page, Site, break_off, found, name

from textgen.errors import FetchError
from textgen.preprocess.fetching import fetch

FETCHING = sys.modules[fetch.__module__]


@pytest.mark.parametrize("etag", [None, '"1"'])
def test_only_the_rest_is_asked_for(site: Site, page: Page, etag: str | None) -> None:
    page.etag = etag
    break_off(page, site.at("a.txt"))
    assert not Path("corpora/a.txt").exists()
    assert Path("corpora/a.txt.part").read_bytes() == TEXT[:HALF]
    assert fetch(site.at("a.txt")).read_bytes() == TEXT
    assert site.ranges() == [None, f"bytes={HALF}-"]
    assert site.asked[1]["If-Range"] == (etag or page.modified)
    assert found() == {"a.txt": TEXT}


def test_a_named_text_is_checked_as_a_whole(
    site: Site, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    name(monkeypatch, site.at("a.txt"))
    break_off(page, "known")
    assert fetch("known").read_bytes() == TEXT
    assert site.ranges() == [None, f"bytes={HALF}-"]


@pytest.mark.parametrize("heeded", [True, False])
@pytest.mark.parametrize("etags", [('"1"', '"2"'), (None, None), (None, '"1"')])
def test_a_file_that_has_changed_is_begun_anew(
    site: Site, page: Page, heeded: bool, etags: tuple[str | None, str | None]
) -> None:
    page.if_range, page.etag = heeded, etags[0]
    break_off(page, site.at("a.txt"))
    page.body, page.etag, page.modified = OTHER, etags[1], "Tue, 02 Jan 2024 00:00:00 GMT"
    assert fetch(site.at("a.txt")).read_bytes() == OTHER


@pytest.mark.parametrize("etag", [None, 'W/"1"'])
def test_a_server_that_does_not_tell_versions_apart(
    site: Site, page: Page, etag: str | None
) -> None:
    page.modified, page.etag = None, etag
    break_off(page, site.at("a.txt"))
    page.body = OTHER
    assert fetch(site.at("a.txt")).read_bytes() == OTHER
    assert site.ranges() == [None, None]


def test_a_server_without_ranges(site: Site, page: Page) -> None:
    page.ranges = False
    break_off(page, site.at("a.txt"))
    assert fetch(site.at("a.txt")).read_bytes() == TEXT
    assert len(site.asked) == 2


def test_a_server_that_sends_another_part(site: Site, page: Page) -> None:
    break_off(page, site.at("a.txt"))
    page.shift = 1
    assert fetch(site.at("a.txt")).read_bytes() == TEXT
    assert site.ranges() == [None, f"bytes={HALF}-", None]


def test_a_part_of_another_address(site: Site, page: Page) -> None:
    site.pages["/other/a.txt"] = Page(OTHER)
    break_off(page, site.at("a.txt"))
    assert fetch(site.at("other/a.txt")).read_bytes() == OTHER


def test_a_part_that_is_whole(site: Site, page: Page) -> None:
    page.length = len(TEXT) + 1  # so the download seems interrupted
    break_off(page, site.at("a.txt"), len(TEXT))
    page.length = None
    assert fetch(site.at("a.txt")).read_bytes() == TEXT
    assert site.ranges() == [None, f"bytes={len(TEXT)}-"]


def test_a_part_that_is_longer_than_the_file(site: Site, page: Page) -> None:
    break_off(page, site.at("a.txt"))
    page.body = b"short"
    assert fetch(site.at("a.txt")).read_bytes() == b"short"


def test_a_part_that_nothing_is_known_of(site: Site, page: Page) -> None:
    Path("corpora").mkdir()
    Path("corpora/a.txt.part").write_bytes(b"anything")
    assert fetch(site.at("a.txt")).read_bytes() == TEXT
    assert found() == {"a.txt": TEXT}


def test_chunks_that_break_off(site: Site, page: Page) -> None:
    page.chunked = True
    break_off(page, site.at("a.txt"))
    assert fetch(site.at("a.txt")).read_bytes() == TEXT


@given(
    data=st.binary(min_size=1, max_size=60),
    etags=st.booleans(),
    dates=st.booleans(),
    ranges=st.booleans(),
    steps=st.lists(st.tuples(st.integers(0, 70), st.booleans()), max_size=6),
)
def test_versions_are_never_mixed(
    server: Site,
    data: bytes,
    etags: bool,
    dates: bool,
    ranges: bool,
    steps: list[tuple[int, bool]],
) -> None:
    version, page = 0, Page(ranges=ranges)
    server.pages["/b.txt"] = page
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "*")
        patch.setattr(FETCHING, "_RECEIVED_AT_ONCE", 7)
        for stop, changes in [*steps, (100, False)]:
            version += changes
            page.stop, page.body = stop, bytes((byte + version) % 256 for byte in data)
            page.etag = f'"{version}"' if etags else None
            page.modified = f"Mon, 01 Jan 2024 00:00:{version:02} GMT" if dates else None
            try:
                path = fetch(server.at("b.txt"))
            except FetchError:
                assert stop < len(data)
                continue
            assert path.read_bytes() == page.body
            path.unlink()


def test_ctrl_c_keeps_the_part(site: Site, page: Page) -> None:
    page.stop, page.then = HALF, threading.Event()
    threading.Thread(target=interrupt_when, args=(Path("corpora/a.txt.part"),)).start()
    url = site.at("a.txt")
    with pytest.raises(KeyboardInterrupt) as stopped:
        fetch(url)
    page.then.set()
    assert str(stopped.value) == f"stopped; resume with: textgen fetch {url}"
    kept = Path("corpora/a.txt.part").read_bytes()
    assert kept
    assert TEXT.startswith(kept)
    page.stop = page.then = None
    assert fetch(url).read_bytes() == TEXT
    assert site.ranges() == [None, f"bytes={len(kept)}-"]


def interrupt_when(part: Path) -> None:
    if holds_something(part):
        os.kill(os.getpid(), signal.SIGINT)


def holds_something(part: Path) -> bool:
    for _ in range(1000):
        if part.exists() and part.stat().st_size:
            return True
        time.sleep(0.01)
    return False


def test_what_to_type_names_the_folder(
    site: Site, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    name(monkeypatch, site.at("a.txt"))
    page.stop = HALF
    with pytest.raises(FetchError, match=r"textgen fetch known --folder 'my texts'$"):
        fetch("known", "my texts")


def test_a_process_that_is_killed(site: Site, page: Page) -> None:
    page.stop, page.then = HALF, threading.Event()
    url, part = site.at("a.txt"), Path("corpora/a.txt.part")
    script = f"from {fetch.__module__} import fetch; fetch({url!r})"
    process = subprocess.Popen([sys.executable, "-c", script])
    assert holds_something(part)
    with pytest.raises(FetchError, match="being fetched by another process"):
        fetch(url)
    process.kill()
    process.wait()
    page.then.set()
    kept = part.stat().st_size
    page.stop = page.then = None
    assert fetch(url).read_bytes() == TEXT
    assert site.ranges() == [None, f"bytes={kept}-"]
    assert found() == {"a.txt": TEXT}
