"""Runs for the tests of exported pages."""

from pathlib import Path
from typing import Any

import numpy as np
from helpers import fabricate, make_book

from textgen.exporting.html import html_file
from textgen.runs.folder import Run


def make_run(out: str | Path, text: str = "", **options: Any) -> Run:
    """Create a run with random weights that float16 can hold."""
    book = Path("book.txt")
    book.write_bytes((text or make_book()).encode("utf-8", "surrogatepass"))
    run = fabricate(out, book, **options)
    weights = run.weights()
    run.save_weights(
        {name: (2 * a).astype(np.float16).astype(np.float32) for name, a in weights.items()}
    )
    return run


def page_of(run: Run, *options: Any, **named: Any) -> bytes:
    return html_file(run, run.weights(), *options, **named)
