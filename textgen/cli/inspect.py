"""textgen inspect: a page that shows what a network makes of a text."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import textgen
from textgen.cli.app import main
from textgen.cli.output import authors_table, print_json, show_left_out, table
from textgen.cli.parameters import encoding, keep_gutenberg
from textgen.cli.paths import FILE, RUN
from textgen.system.terminal import show

if TYPE_CHECKING:
    from textgen.reporting.inspection import Inspection


@main.command()
@click.argument("run", type=RUN)
@click.argument("text", type=FILE)
@click.option("-o", "output", type=FILE, help="Page to write.  [default: the name of TEXT, .html]")
@click.option("--force", is_flag=True, help="Replace an existing page.")
@click.option("--length", default=100_000, help="Characters of TEXT to inspect.  [default: 100000]")
@click.option("--units", default=3, help="Units to find for each feature of TEXT.  [default: 3]")
@click.option(
    "--author",
    "authors",
    type=RUN,
    multiple=True,
    help="Run of an author who may have written TEXT; give two or more.",
)
@encoding
@keep_gutenberg
@click.option(
    "--json", "as_json", is_flag=True, help="Print the figures; write a page only for -o."
)
def inspect(
    run: str,
    text: str,
    output: str | None,
    force: bool,
    length: int,
    units: int,
    authors: tuple[str, ...],
    encoding: str | None,
    keep_gutenberg: bool,
    as_json: bool,
) -> None:
    """Write a page that shows what RUN expects in TEXT, a file or "-", and what its units watch."""
    from textgen.reporting.output import check_output

    if output is None and not as_json:
        output = "inspection.html" if text == "-" else f"{Path(text).stem}.html"
    if output is not None:
        check_output(output, force, text)  # before the work, not after it
    judges = textgen.authors(*authors) if authors else None
    model = textgen.load(run)
    found = model.inspect_file(text, length, units, encoding, keep_gutenberg, judges, quiet=False)
    show_left_out(len("".join(found.tokens)), found.left_out)
    if output is not None:
        found.save(output, force)
        show(f"{output} is written; open it in a browser", err=True)
    if as_json:
        print_json(found.to_json())
    else:
        show(table(_summary(found)))
        if found.authors is not None:
            show("\n" + authors_table(found.authors))


def _summary(found: "Inspection") -> dict[str, Any]:
    """Return the figures of a text, and the unit that follows each feature best."""
    figures: dict[str, Any] = {"bits per character": found.evaluation.bits_per_character}
    if not isinstance(found.copying, str):
        figures["copied"] = f"{found.copying.text.copied:.1%}"
    features = {
        feature.name: f"{best.correlation:+.2f}  layer {best.unit.layer}, unit {best.unit.unit}, "
        f"{best.unit.part}"
        for feature in found.units.features
        for best in feature.best[:1]
    }
    return {**figures, "units that follow": features} if features else figures
