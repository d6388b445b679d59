"""textgen evaluate, novelty and info: figures of a model, a text or a run."""

import textwrap
from dataclasses import asdict

import click

import textgen
from textgen.cli.app import main
from textgen.cli.output import (
    BLOCKS,
    block_curve,
    can_print,
    clipped,
    comparison,
    print_json,
    table,
)
from textgen.cli.parameters import as_json, encoding, keep_gutenberg, weights
from textgen.cli.paths import FILE, RUN, RUNS_AND_TEXT
from textgen.system.terminal import show


@main.command()
@click.argument("paths", nargs=-1, type=RUNS_AND_TEXT, required=True, metavar="RUN... [TEXT]")
@click.option("--test", is_flag=True, help="Evaluate the test part that RUN held out.")
@weights
@encoding
@keep_gutenberg
@click.option("--strict", is_flag=True, help="Refuse tokens that are not in the vocabulary.")
@as_json
def evaluate(
    paths: tuple[str, ...],
    test: bool,
    weights: list[float] | None,
    encoding: str | None,
    keep_gutenberg: bool,
    strict: bool,
    as_json: bool,
) -> None:
    """Print how well RUN predicts TEXT, a file or "-", or the test part of its own books.

    TEXT is split into documents as RUN's books were. Several RUNs form an ensemble.
    """
    if test and (encoding or keep_gutenberg or strict):
        raise click.UsageError("--test evaluates RUN's own text; leave out the options for a TEXT")
    runs, text = (paths, None) if test else (paths[:-1], paths[-1])
    if not runs:
        raise click.UsageError("Missing argument 'TEXT'; or give --test.")
    model = textgen.load(*runs, weights=weights)
    if text is None:
        result = asdict(model.evaluate_test(quiet=False))
    else:
        result = asdict(model.evaluate_file(text, encoding, keep_gutenberg, strict, quiet=False))
    if as_json:
        print_json(result)
    else:
        show(table(result))


@main.command()
@click.argument("run", type=RUN)
@click.argument("text", type=FILE, default="-")
@click.option("--least", default=20, help="Shortest copied passage, in characters.  [default: 20]")
@click.option("--most", default=10, help="Number of passages to print.  [default: 10]")
@encoding
@as_json
def novelty(
    run: str, text: str, least: int, most: int, encoding: str | None, as_json: bool
) -> None:
    """Print what TEXT, a file or "-", copies word for word from RUN's training text."""
    from textgen.preprocess.reading import read_text

    written = read_text(text, encoding, keep_gutenberg=True, any_bytes=True)
    found = textgen.load(run).novelty(written, least, most)
    if as_json:
        print_json(asdict(found))
        return
    copied = f"{found.copied:.1%} of {found.characters:,} characters copied"
    show(f"{copied}, in passages of {least:,} or more")
    for passage in found.longest:
        where = f"{passage.source}, character {passage.source_position:,}"
        show(f"\n{len(passage.text):,} at {passage.position:,}, from {where}")
        show(textwrap.indent(clipped(passage.text), "  ", lambda line: True))


@main.command()
@click.argument("runs", nargs=-1, type=RUN, required=True, metavar="RUN...")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def info(runs: tuple[str, ...], as_json: bool) -> None:
    """Print the sizes, options and training results of RUN, or of several side by side."""
    from textgen.runs.folder import Run
    from textgen.runs.history import validation_losses

    opened = [Run.open(run) for run in runs]
    described = [run.describe() for run in opened]
    if as_json:
        print_json(described if len(runs) > 1 else described[0])
    elif len(runs) > 1:
        show(comparison(described))
    else:
        show(table(described[0]))
        losses = validation_losses(opened[0].history())
        if losses and can_print(BLOCKS):
            figures = f"{losses[0]:.3f} {block_curve(losses)} {losses[-1]:.3f}"
            outcome = described[0]["outcome"]
            best = f"{min(losses):.3f}"
            if outcome["temperature"] is not None:
                best += f", {outcome['validation_loss']:.3f} at temperature "
                best += f"{outcome['temperature']:.2f}"
            show(f"\nvalidation loss  {figures}, best {best}")
