"""Text on a terminal: control characters made visible, and progress bars."""

import re
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tqdm import tqdm

# Control characters, which start escape sequences; line separators and characters that change
# the direction of writing, which disguise a line; lone surrogates.
_CONTROL = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_IN_TEXT = re.compile(f"[{_CONTROL}]")
_IN_A_LINE = re.compile(rf"[\t\n{_CONTROL}]")


def visible(text: str) -> str:
    """Replace control characters by escapes such as `\\x1b`; keep tabs and line ends."""
    return _IN_TEXT.sub(_escape, text)


def one_line(text: str) -> str:
    """Replace control characters by escapes, tabs and line ends too."""
    return _IN_A_LINE.sub(_escape, text)


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, such as "1 token" and "2,000 tokens"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def show(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print and flush `text`; on a terminal, with control characters made visible."""
    stream = sys.stderr if err else sys.stdout
    terminal = stream is not None and stream.isatty()
    click.echo(visible(text) if terminal else text, err=err, nl=nl)


def byte_bar(name: str, total: int | None, quiet: bool, **settings: Any) -> "tqdm":
    """Return a progress bar that counts bytes, on standard error if that is a terminal.

    `settings` are passed to tqdm.
    """
    from tqdm import tqdm  # slow to import

    return tqdm(
        desc=name,
        total=total,
        unit="B",
        unit_scale=True,
        disable=True if quiet or sys.stderr is None else None,  # None: only on a terminal
        dynamic_ncols=True,
        leave=False,
        **settings,
    )


def _escape(match: re.Match[str]) -> str:
    return ascii(match[0])[1:-1]
