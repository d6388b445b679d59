"""What commands print on standard output: JSON, or a table for people."""

import json
import sys
import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from textgen.system.terminal import one_line, show

if TYPE_CHECKING:
    from textgen.analysis.authors import Authorship

BLOCKS = "▁▂▃▄▅▆▇█"
"""Characters of rising height, of which `block_curve` consists."""

_LONGEST_PASSAGE = 1000  # characters
_WIDEST_CELL = 32  # characters, in a table of several runs
_LONGEST_CURVE = 60  # characters


def clipped(text: str) -> str:
    """Return a text without its middle if it is long."""
    if len(text) <= _LONGEST_PASSAGE:
        return text
    end = _LONGEST_PASSAGE // 2
    return f"{text[:end]}\n[... {len(text) - 2 * end:,} characters ...]\n{text[-end:]}"


def show_left_out(read: int, left_out: int) -> None:
    """Say that only the beginning of a text was read, if that is so."""
    if left_out:
        show(f"these are the first {read:,} characters of {read + left_out:,}", err=True)


def print_json(data: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(data, allow_nan=False))


def table(figures: dict[str, Any]) -> str:
    """Return a line for each figure, and a section with a heading for each dictionary."""
    plain = {name: value for name, value in figures.items() if not isinstance(value, dict)}
    width = max(map(len, plain))
    parts = ["\n".join(f"{_spaced(name):{width}}  {_cell(plain[name])}" for name in plain)]
    for name, value in figures.items():
        if isinstance(value, dict):
            parts.append(f"{name}\n{textwrap.indent(table(value), '  ')}")
    return "\n\n".join(parts)


def authors_table(found: "Authorship") -> str:
    """Return a line for each author of a text, the likeliest first."""
    names = [one_line(name) for name in found.names]
    width = max(len("author"), *map(len, names))
    rows = [
        f"{names[number]:{width}}  {found.probabilities[number]:11.1%}"
        f"  {found.shares[number]:13.1%}  {found.bits_per_character[number]:18.3f}"
        f"  {found.own_bits_per_character[number]:11.3f}"
        for number in likeliest_first(found.probabilities)
    ]
    heading = f"{'author':{width}}  probability  share of text  bits per character  in own book"
    return "\n".join([heading, *rows])


def likeliest_first(probabilities: Sequence[float]) -> list[int]:
    """Return the numbers of authors, the likeliest first."""
    return sorted(range(len(probabilities)), key=lambda number: -probabilities[number])


def comparison(described: Sequence[dict[str, Any]]) -> str:
    """Return descriptions of runs side by side: what differs, and below it what does not."""
    columns = [_flat(one) for one in described]
    differs = {
        place: place == ("", "run") or any(column[place] != columns[0][place] for column in columns)
        for place in columns[0]
    }
    below = [place for place in differs if not differs[place]]
    text = _side_by_side([place for place in differs if differs[place]], columns)
    if not below:
        return text
    same = _side_by_side(below, columns[:1])
    return f"{text}\n\nthe same in all\n{textwrap.indent(same, '  ')}"


def block_curve(values: Sequence[float]) -> str:
    """Return values as a line of block characters, from the lowest to the highest value."""
    step = -(-len(values) // _LONGEST_CURVE)
    shown = values[::-1][::step][::-1]  # with the last one
    low, high = min(shown), max(shown)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((value - low) * scale)] for value in shown)


def can_print(text: str) -> bool:
    """Return whether the encoding of standard output has all characters of a text."""
    try:
        text.encode(sys.stdout.encoding)
    except (AttributeError, LookupError, UnicodeEncodeError):  # it may be closed
        return False
    return True


def _flat(described: dict[str, Any]) -> dict[tuple[str, str], Any]:
    """Return the figures of a description by their sections and names."""
    flat: dict[tuple[str, str], Any] = {}
    for name, value in described.items():
        if isinstance(value, dict):
            flat |= {(name, key): figure for key, figure in value.items()}
        else:
            flat["", name] = value
    return flat


def _side_by_side(
    places: Sequence[tuple[str, str]], columns: Sequence[dict[tuple[str, str], Any]]
) -> str:
    """Return a line for each figure, and a heading above each section."""
    labels = [f"{'  ' if section else ''}{_spaced(name)}" for section, name in places]
    short = _short if len(columns) > 1 else _cell
    cells = [[short(column[place]) for place in places] for column in columns]
    if len(columns) > 1:
        cells = [[f"{cell:>{max(map(len, column))}}" for cell in column] for column in cells]
    width, lines, current = max(map(len, labels)), list[str](), ""
    for (section, _), label, *row in zip(places, labels, *cells, strict=True):
        if section != current:
            lines += ["", section] if lines else [section]
            current = section
        lines.append("  ".join([f"{label:{width}}", *row]))
    return "\n".join(lines)


def _spaced(name: str) -> str:
    return name.replace("_", " ")


def _short(value: Any) -> str:
    """Return a cell without its middle if it is wide."""
    cell, end = _cell(value), _WIDEST_CELL // 2
    return cell if len(cell) <= _WIDEST_CELL else f"{cell[: end - 3]}...{cell[-end:]}"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value))
    return f"{value:.6g}" if isinstance(value, float) else one_line(str(value))
