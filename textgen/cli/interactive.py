"""Interactive mode: see the likeliest next tokens; pick, type, draw and undo."""

from pathlib import Path

import click

from textgen.cli.paths import expanded
from textgen.errors import VocabularyError
from textgen.options.escapes import unescape
from textgen.sampling.writer import Likely, Writer
from textgen.system.signals import Terminated
from textgen.system.terminal import one_line, show, visible

_SHOWN = 9  # tokens to pick from, one digit each
_TEXT_SHOWN = 400  # characters
_HELP = """\
  1-9        append that token
  Enter      let the model draw one
  +N         let the model draw N
  -N         undo N steps (- alone: one)
  =TEXT      append a TEXT of your own
  :w FILE    save the text
  :q         quit; the text is printed"""


def write(writer: Writer) -> None:
    """Run commands until :q or the end of input, then print the text to standard output."""
    click.echo(_HELP, err=True)
    try:
        while True:
            _show_position(writer)
            command = click.prompt("", default="", prompt_suffix="> ", show_default=False, err=True)
            if command == ":q":
                break
            if problem := _obey(writer, command):
                click.echo(problem, err=True)
    except click.Abort as abort:  # Ctrl-C or the end of input
        click.echo(err=True)
        if isinstance(abort.__context__, Terminated):
            raise abort.__context__ from None
    finally:
        show(writer.text)


def _show_position(writer: Writer) -> None:
    click.echo("\n" + visible(writer.tail(_TEXT_SHOWN)), err=True)
    likely = (
        f"{number} {_named(token)} {token.probability:.0%}"
        for number, token in enumerate(writer.likeliest(_SHOWN), 1)
    )
    click.echo("  " + "   ".join(likely), err=True)


def _obey(writer: Writer, command: str) -> str | None:
    """Execute a command; return a message for the user, if there is one."""
    kind, rest = command[:1], command[1:]
    if not command:
        writer.draw()
    elif command in map(str, range(1, _SHOWN + 1)):
        likely = writer.likeliest(_SHOWN)
        if int(command) > len(likely):
            return f"there is no token {command}; pick from 1 to {len(likely)}"
        writer.choose(likely[int(command) - 1].token)
    elif kind == "+" and rest.isdecimal() and len(rest) < 10:
        try:
            for _ in range(int(rest)):
                writer.draw()
        except Terminated:
            raise
        except KeyboardInterrupt:
            return "stopped"
    elif kind == "-" and (rest.isdecimal() or not rest) and len(rest) < 10:
        for _ in range(int(rest or 1)):
            if not writer.back():
                return "this is the beginning of the text"
    elif kind == "=":
        try:
            writer.type(unescape(rest))
        except VocabularyError as error:
            return error.with_flags
    elif command.startswith(":w "):
        path = Path(expanded(command.removeprefix(":w ").strip()))
        try:
            path.write_text(writer.text, "utf-8", "replace")
        except (OSError, ValueError) as error:
            return one_line(f"cannot write {path}: {getattr(error, 'strerror', error)}")
        return f"saved to {path}"
    else:
        return _HELP
    return None


def _named(likely: Likely) -> str:
    """Return the text of a token, in quotation marks if it contains white space."""
    if likely.text == "\N{REPLACEMENT CHARACTER}":  # a part of a character
        return f"\\x{likely.token:02x}"
    if any(map(str.isspace, likely.text)):
        return repr(likely.text)
    return one_line(likely.text)
