"""textgen plot: a picture of the loss in training."""

from pathlib import Path

import click

from textgen.cli.app import main
from textgen.cli.paths import FILE, RUN
from textgen.system.terminal import show


@main.command()
@click.argument("runs", nargs=-1, type=RUN, required=True, metavar="RUN...")
@click.option(
    "-o", "output", type=FILE, help="Picture: .png, .svg or .pdf.  [default: the first RUN's name]"
)
@click.option(
    "--against",
    default="epochs",
    metavar="WHAT",
    help="Horizontal axis: epochs, seconds or tokens.  [default: epochs]",
)
@click.option("--force", is_flag=True, help="Replace an existing picture.")
def plot(runs: tuple[str, ...], output: str | None, against: str, force: bool) -> None:
    """Draw the training and validation loss of one or several RUNs."""
    from textgen.reporting.curves import check_ending, draw_curves, rendered
    from textgen.reporting.output import check_output, write_output
    from textgen.runs.folder import Run

    output = output or f"{Path(runs[0]).resolve().name}.png"
    kind = check_ending(output)
    check_output(output, force)
    figure = draw_curves([Run.open(run) for run in runs], against)
    write_output(output, rendered(figure, kind), force)
    show(f"{output} is written", err=True)
