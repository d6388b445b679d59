"""The `textgen` command, and how errors become messages and exit codes."""

import errno
import sys
from io import TextIOWrapper
from typing import Any

import click

import textgen
from textgen.errors import OptionError, TextgenError
from textgen.system.signals import Terminated, raising_sigterm
from textgen.system.terminal import one_line


class _Commands(click.Group):
    """A command group that prints an error in one line and exits with a code.

    The code is 1 for an error, 2 for wrong usage, 130 for Ctrl-C, 143 for SIGTERM.
    """

    def main(self, *args: Any, **settings: Any) -> Any:
        try:
            return super().main(*args, **settings)
        except OSError as error:  # while printing help, before a command is invoked
            click.echo(f"Error: {_message(error)}", err=True)
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with raising_sigterm():
                return super().invoke(ctx)
        except OptionError as error:
            raise click.UsageError(one_line(error.with_flags)) from None
        except TextgenError as error:
            raise click.ClickException(one_line(error.with_flags)) from None
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # click exits quietly on a broken pipe
            raise click.ClickException(one_line(_message(error))) from None
        except MemoryError:
            raise click.ClickException("there is not enough memory for this") from None
        except KeyboardInterrupt as interrupt:
            click.echo(one_line(str(interrupt)) or "stopped", err=True)
            ctx.exit(143 if isinstance(interrupt, Terminated) else 130)


def _message(error: OSError) -> str:
    if error.errno is None:  # not the system's, but a library's
        return str(error)
    place = "cannot print" if error.filename is None else str(error.filename)
    return f"{place}: {error.strerror}"


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(textgen.__version__)
def main() -> None:
    """Train a character- or word-level LSTM on a book and write in its manner."""
    # Show characters that the encoding lacks as question marks.
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
