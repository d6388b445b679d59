"""What a terminal is shown: text without the characters that would steer it."""

import re
import sys
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from tqdm import tqdm

# Control characters, which begin escape codes; those that turn the direction of writing
# round, so that a line reads other than it is; halves of surrogate pairs.
_STEERING = r"\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_IN_TEXT = re.compile(f"[{_STEERING}]")
_IN_A_LINE = re.compile(rf"[\t\n{_STEERING}]")


def visible(text: str) -> str:
    """Write control characters as escapes, such as `\\x1b`; lines and tabs stay."""
    return _IN_TEXT.sub(_escaped, text)


def one_line(text: str) -> str:
    """Like `visible`, but line ends and tabs become escapes, too."""
    return _IN_A_LINE.sub(_escaped, text)


def show(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print at once: to a terminal what is visible of `text`, elsewhere `text` as it is."""
    stream = sys.stderr if err else sys.stdout
    terminal = stream is not None and stream.isatty()
    click.echo(visible(text) if terminal else text, err=err, nl=nl)


def byte_bar(what: str, total: int | None, quiet: bool, **settings: Any) -> "tqdm":
    """A bar of bytes on standard error, which shows nothing where that is no terminal."""
    from tqdm import tqdm  # wanted for what takes long, alone

    return tqdm(
        desc=what,
        total=total,
        unit="B",
        unit_scale=True,
        disable=True if quiet or sys.stderr is None else None,  # None: look for a terminal
        dynamic_ncols=True,
        leave=False,
        **settings,
    )


def _escaped(match: re.Match[str]) -> str:
    return ascii(match[0])[1:-1]
