"""What commands print on standard output: JSON, or a table for people."""

import json
import textwrap
from typing import Any

import click

from textgen.system.terminal import one_line

_LONGEST_PASSAGE = 1000  # characters


def clipped(text: str) -> str:
    """Return a text without its middle if it is long."""
    if len(text) <= _LONGEST_PASSAGE:
        return text
    end = _LONGEST_PASSAGE // 2
    return f"{text[:end]}\n[... {len(text) - 2 * end:,} characters ...]\n{text[-end:]}"


def print_json(data: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(data, allow_nan=False))


def table(figures: dict[str, Any]) -> str:
    """Return a line for each figure, and a section with a heading for each dictionary."""
    plain = {name: value for name, value in figures.items() if not isinstance(value, dict)}
    width = max(map(len, plain))
    parts = ["\n".join(f"{name.replace('_', ' '):{width}}  {_cell(plain[name])}" for name in plain)]
    for name, value in figures.items():
        if isinstance(value, dict):
            parts.append(f"{name}\n{textwrap.indent(table(value), '  ')}")
    return "\n\n".join(parts)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value))
    return f"{value:.6g}" if isinstance(value, float) else one_line(str(value))
