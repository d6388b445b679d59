"""textgen train, prepare and fetch: from a book to a trained run."""

import shlex
from typing import Any

import click

import textgen
from textgen.cli.app import main
from textgen.cli.output import print_json
from textgen.cli.parameters import force, given, options_of, out, quiet
from textgen.cli.paths import FILE, FOLDER, RUN
from textgen.options.reading import ReadingOptions
from textgen.options.training import TrainingOptions
from textgen.system.terminal import counted, show


@main.command()
@click.argument("books", nargs=-1, type=FILE, metavar="BOOK...")
@out
@click.option(
    "--from", "from_run", type=RUN, help="Run to fine-tune: training starts from its weights."
)
@click.option(
    "--vectors", type=FILE, help="word2vec or GloVe file to initialize the embeddings of words."
)
@click.option("--tensorboard", type=FOLDER, help="Folder in which to log for TensorBoard.")
@click.option("--resume", is_flag=True, help="Continue the training of the run in --out.")
@force
@options_of(TrainingOptions)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@quiet
def train(
    books: tuple[str, ...],
    out: str | None,
    from_run: str | None,
    vectors: str | None,
    tensorboard: str | None,
    resume: bool,
    force: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Train a network on one or several books; "-" is standard input.

    Ctrl-C saves a checkpoint and stops; --resume continues exactly from there.
    """
    from textgen.training.workers import Workers, this_cluster

    if not books and not resume:
        raise click.UsageError("no BOOK to train on; name one, or resume a run with --resume")
    model = textgen.train(
        *books,
        out=out,
        from_run=from_run,
        vectors=vectors,
        tensorboard=tensorboard,
        resume=resume,
        force=force,
        quiet=quiet,
        **given(options),
    )
    if not Workers(this_cluster()).is_first:
        return
    if as_json:
        print_json({"run": str(model.path), **model.run.outcome()})
    elif not quiet:
        advice = shlex.join(["textgen", "sample", str(model.path)])
        show(f"{model.path} is trained; now: {advice}", err=True)


@main.command()
@click.argument("books", nargs=-1, type=FILE, required=True, metavar="BOOK...")
@out
@force
@options_of(ReadingOptions)
@quiet
def prepare(
    books: tuple[str, ...], out: str | None, force: bool, quiet: bool, **options: Any
) -> None:
    """Read one or several books into a run folder without training."""
    from textgen.runs.folder import Run

    folder = textgen.prepare(*books, out=out, force=force, quiet=quiet, **given(options))
    if not quiet:
        found = Run.open(folder)
        show(
            f"{folder} is ready for textgen train with the same books and options: "
            f"{counted(found.tokens, 'token')} ({len(found.tokenizer):,} distinct), "
            f"{counted(sum(found.documents), 'document')}",
            err=True,
        )


@main.command()
@click.argument("source", required=False, metavar="NAME|URL")
@click.option(
    "--folder", type=FOLDER, default="corpora", help="Where to store it.  [default: corpora]"
)
@quiet
def fetch(source: str | None, folder: str, quiet: bool) -> None:
    """Download a text into corpora/, by NAME or from its URL; without either, list the names."""
    if source is None:
        from textgen.preprocess.fetching import SOURCES

        for name, known in SOURCES.items():
            show(f"{name:18}{known.size / 1e6:6.1f} MB  {known.license}\n    {known.description}")
        return
    path = textgen.fetch(source, folder, quiet)
    if not quiet:
        advice = shlex.join(["textgen", "train", str(path)])
        show(f"{path} is downloaded; now: {advice}", err=True)
