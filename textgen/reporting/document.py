"""Build the page of an inspected text: one HTML file that needs nothing else."""

from pathlib import Path
from typing import Any

from textgen.reporting.markup import fill_page

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

    Raises ValueError for a number that JSON lacks (NaN, infinity).
    """
    return fill_page(_PARTS, _SCRIPTS, title, data)
