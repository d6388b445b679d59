"""The page as text: packed arrays, escapes, and what its policy allows."""

import base64
import hashlib
import json
import re
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from textgen.reporting.document import html_document
from textgen.reporting.packing import packed

TYPES = ("uint8", "uint16", "uint32", "int8", "float32")
any_text = st.text(st.characters(codec=None, exclude_categories=()))


@given(st.data(), st.sampled_from(TYPES), st.booleans())
def test_packed_arrays_are_little_endian(data: st.DataObject, name: str, swapped: bool) -> None:
    dtype = np.dtype(name).newbyteorder(">" if swapped else "<")
    array: NDArray[np.generic] = data.draw(
        arrays(dtype, array_shapes(min_dims=1, max_dims=2, min_side=0))
    )
    entry = packed(array)
    unpacked = zlib.decompress(base64.b64decode(entry["data"]))
    little = array.astype(np.dtype(name).newbyteorder("<"))
    assert (entry["type"], unpacked) == (name, little.tobytes())


def test_packed_refuses_what_the_page_does_not_read() -> None:
    with pytest.raises(TypeError, match="int64"):
        packed(np.zeros(3, np.int64))


@given(any_text)
def test_any_text_comes_back(text: str) -> None:
    document = html_document({"text": text}, "page")
    [data] = re.findall(r'<script type="application/json" id="data">([^<>&]*)</script>', document)
    assert json.loads(data) == {"text": text}
    assert not {"\u2028", "\u2029"} & set(document)
    document.encode("utf-8")


@given(any_text)
def test_any_title_is_text(title: str) -> None:
    document = html_document({}, title)
    [written] = re.findall(r"<title>([^<>]*)</title>", document)
    assert written.isascii()
    document.encode("utf-8")


def test_the_policy_allows_the_one_script_and_the_one_style() -> None:
    document = html_document({"text": "</style><script>alert(1)</script><!--"}, "<script>")
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', document)
    [style] = re.findall(r"<style>(.*?)</style>", document, re.DOTALL)
    [script] = re.findall(r'<script type="module">(.*?)</script>', document, re.DOTALL)
    assert policy == (
        f"default-src 'none'; script-src '{sha256(script)}'; style-src '{sha256(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    assert document.count("<script") == 2


def sha256(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def test_nothing_is_read_from_elsewhere() -> None:
    document = html_document({}, "page")
    addresses = set(re.findall(r"\w+://[^\s\"'<>]*", document))
    assert addresses == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"""\s(on\w+|style)=["']""", document.partition("<script")[0])


def test_numbers_that_json_lacks_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        html_document({"loss": float("nan")}, "page")
