"""The command line: each command a thin twin of one library call."""

import errno
import json
import signal
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import Field, asdict, fields, replace
from io import TextIOWrapper
from types import FrameType
from typing import Any, TypeVar, get_origin

import click

import textgen
from textgen.cluster import cluster
from textgen.errors import OptionError, TextgenError
from textgen.options.training import Options, SamplingOptions, TrainingOptions, value_type
from textgen.system.terminal import one_line, show

_Command = TypeVar("_Command", bound=Callable[..., None])


class _Terminated(KeyboardInterrupt):
    """The process was told to end (SIGTERM), which a command obeys as it does Ctrl-C."""


class _Commands(click.Group):
    """Turns errors into one line and an exit code.

    1 for an error, 2 for wrong usage, 130 for Ctrl-C, 143 for SIGTERM.
    """

    def main(self, *args: Any, **settings: Any) -> Any:
        try:
            return super().main(*args, **settings)
        except OSError as error:  # while printing help, before there is a command
            click.echo(f"Error: {_told(error)}", err=True)
            sys.exit(1)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _sigterm_raised():
                return super().invoke(ctx)
        except OptionError as error:
            raise click.UsageError(one_line(f"{error.flag} {error.problem}")) from None
        except TextgenError as error:
            raise click.ClickException(one_line(str(error))) from None
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # click ends quietly where the reader has gone
            raise click.ClickException(one_line(_told(error))) from None
        except MemoryError:
            raise click.ClickException("there is not enough memory for this") from None
        except KeyboardInterrupt as interrupt:
            click.echo(one_line(str(interrupt)) or "stopped", err=True)
            ctx.exit(143 if isinstance(interrupt, _Terminated) else 130)


@contextmanager
def _sigterm_raised() -> Iterator[None]:
    def terminate(_number: int, _frame: FrameType | None) -> None:
        raise _Terminated

    before = signal.getsignal(signal.SIGTERM)
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or before in (signal.SIG_IGN, None):
        yield
        return
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _told(error: OSError) -> str:
    place = "cannot print" if error.filename is None else str(error.filename)
    return f"{place}: {error.strerror}"


def _options_of(
    options: type[Options], only: Callable[[Field[Any]], bool] = lambda item: True
) -> Callable[[_Command], _Command]:
    """Add an option for each field, or `only` some; those not given are left to the dataclass."""

    def add(command: _Command) -> _Command:
        every: tuple[Field[Any], ...] = fields(options)  # type: ignore[arg-type]
        for item in reversed(list(filter(only, every))):
            flag = "--" + item.name.replace("_", "-")
            names = [flag, item.name]
            if item.metadata["short"]:
                names.insert(0, "-" + item.metadata["short"])
            kind, _ = value_type(item)
            settings: dict[str, Any] = {"help": item.metadata["help"], "default": None}
            if kind is bool:
                settings["is_flag"] = True
                if item.default is None:
                    names[0] += "/--no-" + flag.removeprefix("--")
            elif get_origin(item.type) is tuple:
                settings |= {"multiple": True, "metavar": "TEXT"}
            else:
                choices = item.metadata["choices"]
                plain = kind if kind in (int, float) else str
                settings["type"] = click.Choice(choices) if choices else plain
                if item.default is not None:
                    settings["help"] += f"  [default: {item.default}]"
            command = click.option(*names, **settings)(command)
        return command

    return add


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value not in (None, ())}


def _numbers(name: str, text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError:
        raise OptionError(name, f"must be numbers with commas between, not {text!r}") from None


def _print_json(data: Any) -> None:
    click.echo(json.dumps(data, allow_nan=False))


_out = click.option("--out", help="Run folder.  [default: checkpoints/ and the first book's name]")
_force = click.option("--force", is_flag=True, help="Replace a run that is there already.")
_quiet = click.option("-q", "--quiet", is_flag=True, help="No bar, no notes.")


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(textgen.__version__)
def main() -> None:
    """Train a character- or word-level LSTM on a book and write in its manner."""
    # What an encoding lacks is shown as a question mark.
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


@main.command()
@click.argument("books", nargs=-1, metavar="BOOK...")
@_out
@click.option("--from", "from_run", help="Run whose weights to begin with.")
@click.option("--vectors", help="File of word2vec or GloVe with vectors of words to begin with.")
@click.option("--resume", is_flag=True, help="Go on where the run was stopped.")
@_force
@_options_of(TrainingOptions)
@click.option("--json", "as_json", is_flag=True, help="Print the outcome as JSON.")
@_quiet
def train(
    books: tuple[str, ...],
    out: str | None,
    from_run: str | None,
    vectors: str | None,
    resume: bool,
    force: bool,
    as_json: bool,
    quiet: bool,
    **options: Any,
) -> None:
    """Train a network on one or several books; "-" is standard input.

    Ctrl-C stops and saves; --resume goes on exactly there.
    """
    if not books and not resume:
        raise click.UsageError("no BOOK to train on; name one, or go on with a run by --resume")
    model = textgen.train(
        *books,
        out=out,
        from_run=from_run,
        vectors=vectors,
        resume=resume,
        force=force,
        quiet=quiet,
        **_given(options),
    )
    if not cluster().is_first:
        return
    if as_json:
        _print_json({"run": str(model.path), **model.run.outcome()})
    elif not quiet:
        show(f"{model.path} is trained; now: textgen sample {model.path}", err=True)


@main.command()
@click.argument("source", required=False, metavar="NAME|URL")
@click.option("--folder", default="corpora", help="Where it goes.  [default: corpora]")
@_quiet
def fetch(source: str | None, folder: str, quiet: bool) -> None:
    """Bring a text into corpora/, by NAME or from its URL; without either, list the names."""
    if source is None:
        from textgen.preprocess.fetching import SOURCES

        for name, known in SOURCES.items():
            show(f"{name:18}{known.size / 1e6:6.1f} MB  {known.licence}\n    {known.what}")
        return
    path = textgen.fetch(source, folder, quiet)
    if not quiet:
        show(f"{path} is there; now: textgen train {path}", err=True)


@main.command()
@click.argument("books", nargs=-1, required=True, metavar="BOOK...")
@_out
@_force
@_options_of(TrainingOptions, only=lambda item: item.metadata["reads"])
@_quiet
def prepare(
    books: tuple[str, ...], out: str | None, force: bool, quiet: bool, **options: Any
) -> None:
    """Read one or several books into a run, to be trained later."""
    from textgen.runs.folder import Run

    folder = textgen.prepare(*books, out=out, force=force, quiet=quiet, **_given(options))
    if not quiet:
        found = Run.open(folder)
        show(
            f"{folder} is ready for textgen train with the same books and options: "
            f"{found.tokens:,} tokens ({len(found.tokenizer):,} distinct), "
            f"{sum(found.documents):,} documents",
            err=True,
        )


@main.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option("--weights", help="Shares of several RUNs in the mixture, as 0.7,0.3.")
@click.option("-n", "--count", default=1, help="How many texts.  [default: 1]")
@click.option("-p", "--prompt", default="", help="Text to go on from.")
@click.option("--prompt-file", help='File with the text to go on from; "-" is standard input.')
@click.option("--encoding", help="Encoding of the prompt file, if not UTF-8 or marked.")
@_options_of(SamplingOptions)
@click.option("--seed", type=int, help="Makes the text repeatable.")
@click.option("--stream/--no-stream", default=True, help="Print tokens as they are drawn.")
@click.option("--interactive", is_flag=True, help="Write together: see and pick each token.")
@click.option("--json", "as_json", is_flag=True, help="Print the texts as JSON.")
def sample(
    runs: tuple[str, ...],
    weights: str | None,
    count: int,
    prompt: str,
    prompt_file: str | None,
    encoding: str | None,
    seed: int | None,
    stream: bool,
    interactive: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Write text with the network of RUN, by default the newest under checkpoints/.

    Of several RUNs with one vocabulary the probabilities are mixed.
    """
    from textgen.model import new_seed
    from textgen.preprocess.reading import read_text
    from textgen.runs.lifecycle import newest

    if prompt and prompt_file:
        raise OptionError("prompt_file", "cannot be given together with --prompt; choose one")
    if encoding and not prompt_file:
        raise OptionError("encoding", "is that of --prompt-file; name one")
    if prompt_file:
        prompt = read_text(prompt_file, encoding)
    model = textgen.load(*(runs or [newest()]), weights=_numbers("weights", weights))
    chosen = new_seed() if seed is None else seed
    if interactive:
        from textgen.cli.interactive import write

        if as_json or count != 1:
            raise OptionError("interactive", "writes one text, and as text; leave the rest out")
        if prompt_file == "-" or sys.stdin is None:
            raise OptionError("interactive", "needs standard input to be told what to do")
        writer = model.writer(prompt, seed=chosen, **_given(options))
        _show_seed(seed, chosen)
        write(writer)
        return
    texts = model.samples(
        prompt, count=count, seed=chosen, log_probabilities=as_json, **_given(options)
    )
    if as_json:
        samples = [
            {
                "text": "".join(text),
                "prompt": prompt,
                "tokens": text.tokens,
                "log_probabilities": text.log_probabilities,
                "finish_reason": text.finish_reason,
            }
            for text in texts
        ]
        mixed = {"runs": [str(r.path) for r in model.runs]} if len(model.runs) > 1 else {}
        _print_json({"run": str(model.path), **mixed, "seed": chosen, "samples": samples})
        return
    if not options["beam"]:  # which draws nothing
        _show_seed(seed, chosen)
    for number, text in enumerate(texts):
        if number:
            show("\n" + "-" * 40 + "\n")
        show(prompt, nl=False)
        for piece in text if stream else ["".join(text)]:
            show(piece, nl=False)  # flushes
        show("")


@main.command()
@click.argument("run")
@click.argument("text")
@click.option("--encoding", help="Encoding of the text, if not UTF-8 or marked.")
@click.option("--keep-gutenberg", is_flag=True, help="Keep Project Gutenberg's wrapping.")
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def evaluate(
    run: str, text: str, encoding: str | None, keep_gutenberg: bool, as_json: bool
) -> None:
    """Tell how well RUN predicts TEXT, a file or "-", with documents as RUN's books have them."""
    from textgen.preprocess.documents import read_apart

    model = textgen.load(run)
    options = replace(model.run.options, encoding=encoding, keep_gutenberg=keep_gutenberg)
    result = asdict(model.evaluate(*read_apart(text, options)))
    if as_json:
        _print_json(result)
    else:
        show(_table(result))


@main.command()
@click.argument("run")
@click.argument("text", default="-")
@click.option("--least", default=20, help="Characters that make a copy.  [default: 20]")
@click.option("--most", default=10, help="How many passages to show.  [default: 10]")
@click.option("--encoding", help="Encoding of the text, if not UTF-8 or marked.")
@click.option("--json", "as_json", is_flag=True, help="Print what is found as JSON.")
def novelty(
    run: str, text: str, least: int, most: int, encoding: str | None, as_json: bool
) -> None:
    """Tell what of TEXT, a file or "-", stands word for word in what RUN was trained on."""
    from textgen.preprocess.reading import read_text

    found = textgen.load(run).novelty(read_text(text, encoding, True), least, most)
    if as_json:
        _print_json(asdict(found))
        return
    show(f"{found.copied:.1%} of {found.characters:,} characters copied")
    for passage in found.longest:
        where = f"{passage.source}, character {passage.source_position:,}"
        show(f"\n{len(passage.text)} at {passage.position:,}, from {where}")
        show(textwrap.indent(passage.text, "  ", lambda line: True))


@main.command()
@click.argument("run")
@click.option("--json", "as_json", is_flag=True, help="Print all as JSON.")
def info(run: str, as_json: bool) -> None:
    """Show what RUN is made of and how well it did."""
    from textgen.runs.folder import Run

    described = Run.open(run).describe()
    if as_json:
        _print_json(described)
    else:
        show(_table(described))


def _show_seed(given: int | None, chosen: int) -> None:
    if given is None:
        click.echo(f"seed {chosen}", err=True)


def _table(figures: dict[str, Any]) -> str:
    """One line for each figure; a dictionary among them is a section with a heading."""
    plain = {name: value for name, value in figures.items() if not isinstance(value, dict)}
    width = max(map(len, plain))
    parts = ["\n".join(f"{name.replace('_', ' '):{width}}  {_cell(plain[name])}" for name in plain)]
    for name, value in figures.items():
        if isinstance(value, dict):
            parts.append(f"{name}\n{textwrap.indent(_table(value), '  ')}")
    return "\n\n".join(parts)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    return f"{value:.6g}" if isinstance(value, float) else one_line(str(value))


if __name__ == "__main__":
    main()
