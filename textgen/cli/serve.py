"""textgen serve: models behind an address."""

from typing import Any

import click

import textgen
from textgen.cli.app import main
from textgen.cli.parameters import given, options_of, quiet
from textgen.cli.paths import RUN
from textgen.options.serving import ServingOptions


@main.command()
@click.argument("runs", nargs=-1, type=RUN, metavar="[RUN]...")
@click.option("--host", default="127.0.0.1", help="Address to listen at.  [default: 127.0.0.1]")
@click.option("--port", default=8000, help="Port to listen at; 0 is a free one.  [default: 8000]")
@options_of(ServingOptions)
@quiet
def serve(runs: tuple[str, ...], host: str, port: int, quiet: bool, **options: Any) -> None:
    """Answer requests for completions over HTTP, as OpenAI's API does.

    Without RUN, all runs under checkpoints/ are served. Each request names one, or gets the newest.
    """
    textgen.serve(*runs, host=host, port=port, quiet=quiet, **given(options))
