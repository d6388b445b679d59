"""Download whole files."""

import io
import re
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sites import TEXT, Page, Site, break_off, found, name

from textgen.errors import FetchError
from textgen.preprocess.fetching import SOURCES, fetch

FETCHING = sys.modules[fetch.__module__]


def test_an_address(site: Site, page: Page, capfd: pytest.CaptureFixture[str]) -> None:
    assert fetch(site.at("a.txt?as=it#is")) == Path("corpora/a.txt")
    assert found() == {"a.txt": TEXT}
    assert site.asked[0]["User-Agent"].startswith("textgen/")
    assert capfd.readouterr() == ("", "")


def test_a_name(site: Site, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    name(monkeypatch, site.at("a.txt"))
    assert fetch("known", "deep/folder") == Path("deep/folder/known.txt")
    assert found("deep/folder") == {"known.txt": TEXT}


@pytest.mark.parametrize("data", [b"", b"a", TEXT])
@pytest.mark.parametrize("chunked", [False, True])
def test_any_length_told_or_not(site: Site, page: Page, data: bytes, chunked: bool) -> None:
    page.body, page.chunked = data, chunked
    assert fetch(site.at("a.txt")).read_bytes() == data


def test_a_redirection(site: Site, page: Page) -> None:
    site.pages["/old.txt"] = Page(status=301, location="/a.txt")
    assert fetch(site.at("old.txt")) == Path("corpora/old.txt")
    assert found() == {"old.txt": TEXT}


def test_a_member_of_a_zip_archive(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../out.txt", "elsewhere")
        archive.writestr("raw/wiki.train", TEXT)
    site.pages["/a.zip"] = Page(packed.getvalue())
    name(monkeypatch, site.at("a.zip"), packed.getvalue(), "raw/wiki.train")
    assert fetch("known") == Path("corpora/known.txt")
    assert found() == {"known.txt": TEXT}
    assert [path.name for path in Path().iterdir()] == ["corpora"]
    assert fetch(site.at("a.zip")).read_bytes() == packed.getvalue()  # unchanged


@pytest.mark.parametrize(
    ("address", "file"),
    [
        ("a/b.txt", "b.txt"),
        ("a/b.txt/", "b.txt"),
        ("caf%C3%A9.txt", "café.txt"),
        ("café 1.txt", "café 1.txt"),
        ("a%2F..%2F..%2Fb.txt", "b.txt"),
        ("a%5C..%5Cb.txt", "a_.._b.txt"),
        (".bashrc", "bashrc"),
        ("a%00%1B%5B2J%0A.txt", "a___2J_.txt"),
    ],
)
def test_the_name_of_the_file(site: Site, address: str, file: str) -> None:
    asked = address.replace("é", "%C3%A9").replace(" ", "%20")
    site.pages["/" + asked] = Page()
    assert fetch(site.at(address)) == Path("corpora", file)
    assert found() == {file: TEXT}


@given(st.text(max_size=20))
def test_no_address_leads_out_of_the_folder(text: str) -> None:
    with suppress(FetchError):
        file = FETCHING._file_name(FETCHING._address("http://a/" + text))
        assert Path("corpora", file).resolve().parent == Path("corpora").resolve()
        assert not file.startswith(".")
        assert file.isprintable()


@pytest.mark.parametrize("quiet", [False, True])
def test_a_bar_on_a_terminal(
    site: Site, page: Page, quiet: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    fetch(site.at("a.txt"), quiet=quiet)
    assert ("a.txt" in terminal.getvalue() and "256k" in terminal.getvalue()) != quiet


def test_a_bar_goes_on_too(site: Site, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    break_off(page, site.at("a.txt"))
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    fetch(site.at("a.txt"))
    assert "50%" in terminal.getvalue()
    assert " 0%" not in terminal.getvalue()


def test_no_standard_error(site: Site, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert fetch(site.at("a.txt")).read_bytes() == TEXT


def test_the_sources_are_well_formed() -> None:
    for key, source in SOURCES.items():
        assert source.url.startswith("https://")
        assert re.fullmatch("[0-9a-f]{64}", source.sha256)
        assert FETCHING._file_name(f"{source.url}/{key}.txt") == f"{key}.txt"
        assert source.url.endswith(".zip") == (source.member is not None)
        assert source.size > 1_000_000
        assert source.license
        assert source.description
