"""Put data and texts into HTML, where they can neither end their element nor run."""

import base64
import hashlib
import html
import json
from typing import Any


def json_in_html(data: Any) -> str:
    """Return data as JSON in ASCII that does not end the element it stands in.

    Raises ValueError for a number that JSON lacks (NaN, infinity).
    """
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def text_in_html(text: str) -> str:
    """Return a text as HTML in ASCII. It may have lone surrogates, which UTF-8 cannot write."""
    return html.escape(text).encode("ascii", "xmlcharrefreplace").decode()


def hash_source(text: str) -> str:
    """Return a text as a content security policy names it (CSP Level 3, 2.3.1)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
