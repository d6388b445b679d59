"""textgen author: which of several authors most likely wrote a text."""

from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING

import click

import textgen
from textgen.cli.app import main
from textgen.cli.output import authors_table, likeliest_first, print_json, show_left_out
from textgen.cli.parameters import as_json, encoding, keep_gutenberg
from textgen.cli.paths import FILE, RUN
from textgen.system.terminal import one_line, show

if TYPE_CHECKING:
    from textgen.analysis.authors import Authorship


@main.command()
@click.argument("runs", nargs=-1, type=RUN, required=True, metavar="RUN...")
@click.argument("text", type=FILE)
@click.option("--passage", default=1000, help="Characters of a passage, about.  [default: 1000]")
@encoding
@keep_gutenberg
@as_json
def author(
    runs: tuple[str, ...],
    text: str,
    passage: int,
    encoding: str | None,
    keep_gutenberg: bool,
    as_json: bool,
) -> None:
    """Print which author most likely wrote TEXT, a file or "-", and each passage of it.

    Each RUN is trained on the books of one author.
    """
    found = textgen.authors(*runs).judge_file(text, passage, encoding, keep_gutenberg)
    if as_json:
        print_json(asdict(found))
        return
    show_left_out(found.characters, found.left_out)
    show(authors_table(found))
    if len(found.passages) > 1:
        _show_passages(found)


def _show_passages(found: "Authorship") -> None:
    """Print a line for each stretch of passages that most likely are by one author."""

    def likeliest(number: int) -> int:
        return likeliest_first(found.passages[number].probabilities)[0]

    show(f"\n{'characters':>23}  passages  probability  author")
    for best, group in groupby(range(len(found.passages)), key=likeliest):
        passages = [found.passages[number] for number in group]
        start, stop = passages[0].start, passages[-1].start + passages[-1].length
        mean = sum(each.probabilities[best] for each in passages) / len(passages)
        span = f"{start:10,} - {stop:10,}  {len(passages):8}"
        show(f"{span}  {mean:11.1%}  {one_line(found.names[best])}")
