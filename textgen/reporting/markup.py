"""Fill pages with data and texts, which can neither end their element nor run."""

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

BASE_STYLE = Path(__file__).with_name("page") / "base.css"
"""The style that all pages share."""


def fill_page(
    folder: Path,
    scripts: Sequence[str],
    title: str,
    data: Any,
    worker: Sequence[str] = (),
    **parts: bytes,
) -> str:
    """Return the page `index.html` of a folder, with its `style.css` and everything else inside.

    `base.css` of this package stands before the style.

    The page runs its own scripts alone, and reads nothing from elsewhere: its content security
    policy names the SHA-256 of the script and of the style. Raises ValueError for a number in
    `data` that JSON lacks (NaN, infinity).

    Args:
        scripts: files of the folder that make one script, in this order, and share one scope.
        worker: the same for a worker, which may use WebAssembly.
        parts: bytes to put into the page in base64, by name.
    """
    style, script, worker_script = (
        "\n".join(path.read_text("utf-8") for path in paths)
        for paths in (
            [BASE_STYLE, folder / "style.css"],
            [folder / name for name in scripts],
            [folder / name for name in worker],
        )
    )
    computes, works = (" 'wasm-unsafe-eval'", "worker-src blob:; ") if worker else ("", "")
    policy = (
        f"default-src 'none'; script-src '{hash_source(script)}'{computes}; "
        f"{works}style-src '{hash_source(style)}'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    return Template((folder / "index.html").read_text("utf-8")).substitute(
        {name: base64.b64encode(part).decode() for name, part in parts.items()},
        policy=policy,
        title=text_in_html(title),
        style=style,
        data=json_in_html(data),
        script=script,
        worker=worker_script,
    )


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
