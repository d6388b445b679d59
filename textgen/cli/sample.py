"""textgen sample: generate text."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

import textgen
from textgen.cli.app import main
from textgen.cli.output import print_json
from textgen.cli.parameters import EscapedText, given, options_of, weights
from textgen.cli.paths import FILE, RUN
from textgen.errors import OptionError
from textgen.options.sampling import SamplingOptions
from textgen.system.terminal import show

if TYPE_CHECKING:
    from textgen.sampling.generation import Generation

_DASHES = f"\n\n{'-' * 40}\n\n"


@main.command()
@click.argument("runs", nargs=-1, type=RUN, metavar="[RUN]...")
@weights
@click.option("-n", "--count", default=1, help="Number of texts.  [default: 1]")
@click.option("-p", "--prompt", default="", help="Text to continue.")
@click.option(
    "--prompt-file", type=FILE, help='File with the text to continue; "-" is standard input.'
)
@click.option(
    "--encoding", help="Encoding of the prompt file.  [default: UTF-8, or by byte-order mark]"
)
@options_of(SamplingOptions)
@click.option("--seed", type=int, help="Seed that makes the text repeatable.")
@click.option("--stream/--no-stream", default=True, help="Print tokens as they are drawn.")
@click.option(
    "--separator",
    type=EscapedText(),
    help="Text between several texts.  [default: a line of dashes, or a line feed if each "
    "document is a line]",
)
@click.option("--interactive", is_flag=True, help="Write with the network, token by token.")
@click.option("--json", "as_json", is_flag=True, help="Print the texts as JSON.")
def sample(
    runs: tuple[str, ...],
    weights: list[float] | None,
    count: int,
    prompt: str,
    prompt_file: str | None,
    encoding: str | None,
    seed: int | None,
    stream: bool,
    separator: str | None,
    interactive: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Generate text with the network of RUN, by default the newest under checkpoints/.

    Several RUNs form an ensemble: their probabilities are mixed. They need the same vocabulary.
    """
    from textgen.preprocess.reading import read_text
    from textgen.runs.lifecycle import newest
    from textgen.sampling.sampler import new_seed

    if prompt and prompt_file:
        raise OptionError("prompt_file", "cannot be given together with --prompt; choose one")
    if encoding and not prompt_file:
        raise OptionError("encoding", "applies to --prompt-file only; give one")
    if separator is not None and (as_json or interactive):
        raise OptionError("separator", "is not used with --json or --interactive; leave it out")
    if interactive:
        if as_json or count != 1:
            raise OptionError("interactive", "cannot be combined with --json or --count; omit them")
        if prompt_file == "-" or sys.stdin is None:
            raise OptionError("interactive", "needs standard input for its commands")
    if prompt_file:
        prompt = read_text(prompt_file, encoding, any_bytes=True)
    model = textgen.load(*(runs or [newest()]), weights=weights)
    if not runs and not as_json:
        show(f"run {model.path}", err=True)
    if prompt and not as_json and (unknown := model.tokenizer.unknown_in_prompt(prompt)):
        words = ", ".join(repr(word.strip()) for word in dict.fromkeys(unknown))
        show(f"not in the vocabulary, read as unknown: {words}", err=True)
    chosen = new_seed() if seed is None else seed
    if interactive:
        from textgen.cli.interactive import write

        writer = model.writer(prompt, seed=chosen, **given(options))
        _show_seed(seed, chosen)
        write(writer)
        return
    texts = model.samples(
        prompt, count=count, seed=chosen, log_probabilities=as_json, **given(options)
    )
    if as_json:
        _print_as_json(model, prompt, chosen, texts)
        return
    if not options["beam"]:  # a beam search draws nothing
        _show_seed(seed, chosen)
    if separator is None:
        separator = "\n" if model.run.settings.reading.delimiter == "\n" else _DASHES
    for number, text in enumerate(texts):
        show(separator + prompt if number else prompt, nl=False)
        for piece in text if stream else ["".join(text)]:
            show(piece, nl=False)  # flushes
    show("")


def _print_as_json(
    model: "textgen.Model", prompt: str, seed: int, texts: "Iterable[Generation]"
) -> None:
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
    mixed = {"runs": [str(run.path) for run in model.runs]} if len(model.runs) > 1 else {}
    print_json({"run": str(model.path), **mixed, "seed": seed, "samples": samples})


def _show_seed(given: int | None, chosen: int) -> None:
    if given is None:
        click.echo(f"seed {chosen}", err=True)
