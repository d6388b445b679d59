"""Build the page of an inspected text: one HTML file that needs nothing else."""

from pathlib import Path
from string import Template
from typing import Any

from textgen.reporting.markup import hash_source, json_in_html, text_in_html

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
        f"default-src 'none'; script-src '{hash_source(script)}'; "
        f"style-src '{hash_source(style)}'; img-src data:"
    )
    return Template(_page_part("index.html")).substitute(
        policy=policy,
        title=text_in_html(title),
        style=style,
        data=json_in_html(data),
        script=script,
    )


def _page_part(name: str) -> str:
    return (_PARTS / name).read_text("utf-8")
