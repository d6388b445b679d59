"""Writing with a model in a terminal: see the likeliest next tokens, pick, type, go back."""

from pathlib import Path

import click

from textgen.errors import VocabularyError
from textgen.sampling.writer import Writer

_SHOWN = 9  # tokens to pick from, one digit each
_HELP = """\
  1-9        go on with that token
  Enter      let the model draw one
  +N         let the model draw N
  -N         take N steps back (- alone: one)
  =TEXT      go on with TEXT of your own
  :w FILE    save the text
  :q         leave; the text is printed"""


def write(writer: Writer) -> None:
    """Go on with a text as its writer says; what was written is printed to standard output."""
    click.echo(_HELP, err=True)
    while True:
        _show(writer)
        try:
            command = click.prompt("", default="", prompt_suffix="> ", show_default=False, err=True)
        except click.Abort:  # Ctrl-C, Ctrl-D
            break
        if command == ":q":
            break
        if problem := _obey(writer, command):
            click.echo(problem, err=True)
    click.echo(writer.text)


def _show(writer: Writer) -> None:
    click.echo("\n" + _visible(writer.text[-400:], "\n"), err=True)
    likely = (
        f"{number} {_named(token.text)} {token.probability:.0%}"
        for number, token in enumerate(writer.likeliest(_SHOWN), 1)
    )
    click.echo("  " + "   ".join(likely), err=True)


def _obey(writer: Writer, command: str) -> str | None:
    """Do what a line says; return what is wrong with it, if anything is."""
    kind, rest = command[:1], command[1:]
    if not command:
        writer.draw()
    elif command in map(str, range(1, _SHOWN + 1)):
        likely = writer.likeliest(_SHOWN)
        if int(command) > len(likely):
            return f"there are {len(likely)} to pick from"
        writer.choose(likely[int(command) - 1].token)
    elif kind == "+" and rest.isdecimal():
        for _ in range(int(rest)):
            writer.draw()
    elif kind == "-" and (rest.isdecimal() or not rest):
        for _ in range(int(rest or 1)):
            if not writer.back():
                return "this is where the text began"
    elif kind == "=":
        try:
            writer.type(rest.replace("\\n", "\n"))
        except VocabularyError as error:
            return str(error)
    elif command.startswith(":w "):
        path = Path(command.removeprefix(":w ").strip())
        try:
            path.write_text(writer.text, "utf-8")
        except OSError as error:
            return f"cannot write {path}: {error.strerror}"
        return f"saved to {path}"
    else:
        return _HELP
    return None


def _named(token: str) -> str:
    """A token as it is, but in quotation marks where its borders cannot be seen."""
    return _visible(token) if token and not any(map(str.isspace, token)) else repr(token)


def _visible(text: str, kept: str = "") -> str:
    """Make control characters visible, which a model of bytes may write."""
    return "".join(c if c.isprintable() or c in kept else ascii(c)[1:-1] for c in text)
