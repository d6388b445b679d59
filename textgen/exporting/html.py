"""Export to one HTML file, which writes text in a browser."""

import base64
import json
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textgen.errors import OptionError, OutputError
from textgen.exporting.quantized import dequantize, quantize
from textgen.options.architecture import Architecture
from textgen.options.sampling import SamplingOptions
from textgen.preprocess.tokenizers import Ids, Tokenizer
from textgen.reporting.markup import fill_page
from textgen.runs.files import Arrays
from textgen.runs.folder import Run
from textgen.sampling.filters import draw, log_softmax
from textgen.sampling.network import Network, NumpyNetwork
from textgen.sampling.sampler import Sampler

_PAGE_PARTS = Path(__file__).with_name("page")
# Two scripts; the parts of each share one scope.
_PAGE_SCRIPTS = ("jobs.js", "page.js")
_WORKER_SCRIPTS = (
    "words.js",
    "spelling.js",
    "tokenizers.js",
    "weights.js",
    "network.js",
    "kernel.js",
    "filters.js",
    "writing.js",
    "worker.js",
)
_LARGEST_LOSS = {16: 0.001, 8: 0.01}  # nats per token that rounding to so many bits may cost
_CHECKED_TOKENS = 256
_NOUNS = {"char": "character", "word": "word", "byte": "byte"}  # of each level


def html_file(
    run: Run,
    weights: Arrays,
    bits: int = 16,
    title: str | None = None,
    licence: str | None = None,
) -> bytes:
    """Return a page that writes text with the network of a run, and needs nothing else.

    The weights are read back from the page, and compared with those given.

    Args:
        bits: of a weight, 16 or 8.
        title: the heading; by default the name of the run.
        licence: what readers may do with the text that the network writes, or was trained on.

    Raises OptionError for other bits, OutputError if rounding the weights costs too much.
    """
    if bits not in _LARGEST_LOSS:
        raise OptionError("bits", f"must be 16 or 8, not {bits!r}")
    architecture, name, end = run.settings.architecture, run.path.resolve().name, run.tokenizer.end
    sampler, options = Sampler([run], [weights]), SamplingOptions()
    opening = sampler.opening().tolist()
    data = {
        "title": name if title is None else title,
        "licence": licence,
        "unit": _NOUNS[run.tokenizer.level],
        "figures": _figures(run, name, bits),
        "architecture": {
            "cell": architecture.cell,
            "units": architecture.units,
            "embedding": architecture.embedding,
            "tie": architecture.tie,
            "vocabulary": len(run.tokenizer),
        },
        "bits": bits,
        "arrays": [[array, weights[array].shape] for array in weights],
        "tokenizer": _tokenizer_data(run.tokenizer),
        "opening": opening,
        "defaults": {"temperature": options.temperature.values[0], "length": options.length},
    }
    page = fill_page(
        _PAGE_PARTS,
        _PAGE_SCRIPTS,
        data["title"],
        data,
        _WORKER_SCRIPTS,
        kernel=(_PAGE_PARTS / "kernel.wasm").read_bytes(),
        weights=quantize(weights, bits),
    ).encode()
    first = opening[-1] if end is None else end
    lost = _loss_by_rounding(sampler.network, page, architecture, first)
    if not lost <= _LARGEST_LOSS[bits]:
        advice = "give --bits 16" if bits == 8 else "train it with more --weight-decay"
        raise OutputError(
            f"the weights of {run.path} do not fit in {bits} bits, which would cost {lost:.2g} "
            f"nats per token; {advice}"
        )
    return page


def read_weights(page: bytes) -> Arrays:
    """Return the weights in a page."""
    data, stored = (
        re.findall(rb'<script type="[^"]*" id="%s">([^<]*)</script>' % name, page)[0]
        for name in (b"data", b"weights")
    )
    known = json.loads(data)
    shapes = {name: tuple(shape) for name, shape in known["arrays"]}
    return dequantize(base64.b64decode(stored), shapes, known["bits"])


def _tokenizer_data(tokenizer: Tokenizer) -> dict[str, Any]:
    vocabulary = tokenizer.vocabulary
    return {
        "level": tokenizer.level,
        # As text, two lone surrogates could become one character.
        "vocabulary": list(map(ord, vocabulary)) if isinstance(vocabulary, str) else vocabulary,
        "documents": tokenizer.end is not None,
    }


def _figures(run: Run, name: str, bits: int) -> list[tuple[str, str]]:
    """Return what the page tells about the network: names and values."""
    outcome, unit = run.outcome(), _NOUNS[run.tokenizer.level]
    loss, epochs = outcome["validation_loss"], outcome["epochs"]
    figures = [
        ("Run", name),
        ("Network", str(run.settings.architecture)),
        ("Weights", f"{run.weight_count:,} of {bits} bits"),
        ("Vocabulary", f"{len(run.tokenizer):,} {unit}s"),
    ]
    if loss is not None:
        figures.append(("Validation loss", f"{loss:.3f} nats per {unit}"))
    if epochs is not None:
        figures.append(("Epochs", f"{epochs:.3g}"))
    return figures


def _loss_by_rounding(
    network: Network, page: bytes, architecture: Architecture, first: int
) -> float:
    """Return how much the loss of a text grows by the weights of a page, in nats per token.

    This is the divergence of Kullback and Leibler, over a text that the network itself draws,
    after the token `first`.
    """
    tokens, rng = np.full((_CHECKED_TOKENS, 1), first), np.random.default_rng(0)
    state: Any = network.zero_state(1)
    for before, after in pairwise(tokens):
        logits, state = network.step(before, state)
        after[:] = draw(np.exp(logits - logits.max()), rng.random(1))
    with np.errstate(all="ignore"):  # of weights that are not finite
        stored = NumpyNetwork(architecture, read_weights(page))
        logs, rounded = (_log_probabilities(each, tokens) for each in (network, stored))
        return float((np.exp(logs) * (logs - rounded)).sum(-1).mean())


def _log_probabilities(network: Network, tokens: Ids) -> NDArray[np.float64]:
    hidden, _ = network.forward(tokens, network.zero_state(1))
    return log_softmax(network.logits(hidden).astype(np.float64))
