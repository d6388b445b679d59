"""textgen export: write a trained network to a file for other programs."""

import click

from textgen.cli.app import main
from textgen.cli.paths import FILE, RUN
from textgen.system.terminal import show


@main.command()
@click.argument("run", type=RUN)
@click.option("--to", required=True, metavar="FORMAT", help="Format: keras, onnx or torch.")
@click.option("-o", "output", type=FILE, help="File to write.  [default: RUN's name]")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def export(run: str, to: str, output: str | None, force: bool) -> None:
    """Write the network of RUN to a file that runs without textgen."""
    from textgen.export.export import export_run
    from textgen.runs.folder import Run

    show(f"{export_run(Run.open(run), to, output, force)} is written", err=True)
