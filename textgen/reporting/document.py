"""Build the page of an inspected text: one HTML file that needs nothing else."""

import base64
import hashlib
import html
import json
from pathlib import Path
from string import Template
from typing import Any

_PARTS = Path(__file__).with_name("page")
# They share one scope, and run in this order.
_SCRIPTS = (
    "data.js",
    "elements.js",
    "names.js",
    "units.js",
    "colours.js",
    "blocks.js",
    "passages.js",
    "card.js",
    "cursor.js",
    "charts.js",
    "figures.js",
    "saturation.js",
    "copies.js",
    "toolbar.js",
    "main.js",
)


def html_document(data: dict[str, Any], title: str) -> str:
    """Return the page that shows `data`, whose arrays are packed.

    The page runs its own script alone, and reads nothing from elsewhere: its content security
    policy names the SHA-256 of the script and of the style. Raises ValueError for a number that
    JSON lacks (NaN, infinity).
    """
    style = _page_part("style.css")
    script = "\n".join(_page_part(name) for name in _SCRIPTS)
    policy = (
        f"default-src 'none'; script-src '{_hash_source(script)}'; "
        f"style-src '{_hash_source(style)}'; img-src data:"
    )
    return Template(_page_part("index.html")).substitute(
        policy=policy,
        # A name of a file may have lone surrogates, which UTF-8 cannot write.
        title=html.escape(title).encode("ascii", "xmlcharrefreplace").decode(),
        style=style,
        data=_json_in_html(data),
        script=script,
    )


def _page_part(name: str) -> str:
    return (_PARTS / name).read_text("utf-8")


def _json_in_html(data: dict[str, Any]) -> str:
    """Return data as JSON in ASCII that does not end the element it stands in."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash_source(text: str) -> str:
    """Return a text as a content security policy names it (CSP Level 3, 2.3.1)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
