"""textgen export: write a trained network to a file for other programs."""

from typing import Any

import click

import textgen
from textgen.cli.app import main
from textgen.cli.paths import FILE, RUN
from textgen.system.terminal import show


@main.command()
@click.argument("run", type=RUN)
@click.option("--to", required=True, metavar="FORMAT", help="Format: html, keras, onnx or torch.")
@click.option("-o", "output", type=FILE, help="File to write.  [default: RUN's name]")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.option("--bits", type=int, help="Bits of a weight in a page: 16 or 8.  [default: 16]")
@click.option("--title", help="Title of a page.  [default: RUN's name]")
@click.option("--licence", help="Licence of the text, which a page shows.")
def export(run: str, to: str, output: str | None, force: bool, **page: Any) -> None:
    """Write the network of RUN to a file that runs without textgen.

    html is a page that writes in any browser. keras, onnx and torch are for other programs.
    """
    show(f"{textgen.load(run).export(to, output, force, **page)} is written", err=True)
