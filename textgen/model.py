"""A trained model: generate text, stream it, evaluate a text."""

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from textgen.checkpoint import Arrays, Run
from textgen.errors import OptionError, VocabularyError
from textgen.evaluation import Evaluation, evaluate
from textgen.options import SamplingOptions
from textgen.preprocess.tokenizers import Ids
from textgen.sampling.generate import Generation, prime
from textgen.sampling.network import Network

_OPENINGS = ("\n\n", "\n", " ")  # in order of preference


class Model:
    """The weights of a run, ready to write. Made by `textgen.load` and `textgen.train`."""

    def __init__(self, run: Run, weights: Arrays | None = None) -> None:
        """`weights` are the run's best where not given."""
        self.run = run
        self.tokenizer = run.tokenizer
        self._network = Network(run.options, weights or run.weights())

    @property
    def path(self) -> Path:
        return self.run.path

    def generate(self, prompt: str = "", *, seed: int | None = None, **options: Any) -> str:
        """Return text that goes on from `prompt`, without the prompt.

        `options` are those of `textgen sample`: length (in tokens), temperature, top_k,
        top_p, min_p, repetition_penalty, stop. The same seed gives the same text.

        Raises OptionError for an option outside its limits, VocabularyError for a prompt
        with characters that the model has never seen.
        """
        return "".join(self.stream(prompt, seed=seed, **options))

    def stream(self, prompt: str = "", *, seed: int | None = None, **options: Any) -> Generation:
        """Like `generate`, but an iterable of the pieces as they are drawn."""
        return next(self.samples(prompt, seed=seed, **options))

    def samples(
        self, prompt: str = "", *, count: int = 1, seed: int | None = None, **options: Any
    ) -> Iterator[Generation]:
        """Yield `count` texts to be iterated over; each has random numbers of its own.

        Text 3 of 10 is therefore the same as text 3 of 5. Other arguments and errors as for
        `generate`.
        """
        settings = SamplingOptions(**options)
        seed = new_seed() if seed is None else seed
        for name, value, least in (("count", count, 1), ("seed", seed, 0)):
            if not isinstance(value, int | np.integer) or value < least:
                raise OptionError(name, f"must be a whole number, at least {least}, not {value!r}")
        ids, ahead = self.tokenizer.encode_prompt(prompt) if prompt else (self._opening(), "")
        primed = prime(self._network, ids)
        return (
            Generation(self._network, self.tokenizer, primed, settings, rng, ahead)
            for rng in (np.random.default_rng([seed, number]) for number in range(count))
        )

    def evaluate(self, text: str) -> Evaluation:
        """Return loss (nats per token), perplexity and bits per character of `text`."""
        return evaluate(self._network, self.tokenizer, text)

    def _opening(self) -> Ids:
        """What to run through first where there is no prompt: the start of a paragraph."""
        for text in _OPENINGS:
            try:
                ids = self.tokenizer.encode(text)
            except VocabularyError:
                continue
            if self.tokenizer.unknown not in ids:
                return ids
        return np.array([len(self.tokenizer) - 1])


def new_seed() -> int:
    return secrets.randbits(32)
