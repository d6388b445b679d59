"""A trained model: generate text, stream it, evaluate a text."""

import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from textgen.analysis.evaluation import Evaluation, evaluate
from textgen.errors import OptionError, RunError, VocabularyError
from textgen.options.training import SamplingOptions
from textgen.preprocess.tokenizers import Ids
from textgen.runs.folder import CORPUS, Arrays, Run
from textgen.sampling.beam import beam_search
from textgen.sampling.engine import Batch, Generation, Primed, prime
from textgen.sampling.ensemble import Ensemble
from textgen.sampling.network import Network
from textgen.sampling.novel import Guard
from textgen.sampling.writer import Writer

if TYPE_CHECKING:
    from textgen.analysis.novelty import Novelty

_ROWS = 64  # texts written side by side
_OPENINGS = ("\n\n", "\n", " ")  # in order of preference


class Model:
    """A trained network, ready to write. Made by `textgen.load` and `textgen.train`."""

    def __init__(
        self,
        runs: Sequence[Run],
        weights: Sequence[Arrays] | None = None,
        shares: Sequence[float] | None = None,
    ) -> None:
        """Of several runs the probabilities are mixed, in equal `shares` where not given.

        `weights` are those of each run's network, its best where not given.
        """
        self.runs = runs
        self.run = runs[0]
        self.tokenizer = self.run.tokenizer
        for run in runs[1:]:
            if run.tokenizer.to_json() != self.tokenizer.to_json():
                raise RunError(
                    f"{run.path} has another vocabulary than {self.run.path}; only runs "
                    "trained on texts of the same tokens can be mixed"
                )
        networks = [
            Network(run.options, own)
            for run, own in zip(runs, weights or [run.weights() for run in runs], strict=True)
        ]
        self._last_guard: Guard | None = None  # kept, as long texts take seconds
        shares = _shares(runs, shares)
        self._network = networks[0] if len(runs) == 1 else Ensemble(networks, shares)

    @property
    def path(self) -> Path:
        return self.run.path

    def generate(self, prompt: str = "", *, seed: int | None = None, **options: Any) -> str:
        """Return text that goes on from `prompt`, without the prompt.

        `options` are those of `textgen sample`: length (in tokens), temperature (a number,
        several to take turns, or "1.2:0.6"), top_k, top_p, min_p, repetition_penalty,
        repeat_last_n, ban, novel, stop, until_sentence, beam. The same seed gives the same
        text.

        Raises OptionError for an option outside its limits, VocabularyError for a prompt
        with characters that the model has never seen.
        """
        return "".join(self.stream(prompt, seed=seed, **options))

    def stream(self, prompt: str = "", *, seed: int | None = None, **options: Any) -> Generation:
        """Like `generate`, but an iterable of the pieces as they are drawn."""
        return next(self.samples(prompt, seed=seed, **options))

    def samples(
        self,
        prompt: str = "",
        *,
        count: int = 1,
        seed: int | None = None,
        log_probabilities: bool = False,
        **options: Any,
    ) -> Iterator[Generation]:
        """Yield `count` texts to be iterated over; each has random numbers of its own.

        Text 3 of 10 is therefore the same as text 3 of 5, but for rounding. The texts are
        written side by side, so they are for one thread: asking one for its next piece moves
        others on, too. With `log_probabilities` each keeps those of its tokens. Other arguments
        and errors as for `generate`.
        """
        _check_whole("count", count, 1)
        primed, seed = self._begin(prompt, seed, options)
        if primed.options.beam is not None:
            return iter(_best(count, primed))
        novel = primed.options.novel
        guard = None if novel is None else self._guard(novel)
        # What the guard sees of the prompt: the text itself, unless tokens are not characters.
        bytewise = self.tokenizer.level == "byte" or not prompt
        before = self.tokenizer.spell(primed.prompt.tolist()) if bytewise else prompt

        def texts() -> Iterator[Generation]:
            for first in range(0, count, _ROWS):
                numbers = range(first, min(first + _ROWS, count))
                yield from Batch(
                    primed,
                    [np.random.default_rng([seed, number]) for number in numbers],
                    before=before,
                    guard=guard,
                    log_probabilities=log_probabilities,
                ).texts

        return texts()

    def writer(self, prompt: str = "", *, seed: int | None = None, **options: Any) -> Writer:
        """Return a text to be written token by token, with or without the network.

        Arguments and errors as for `generate`; but where a text ends, and whether it copies, is
        up to the writer.
        """
        primed, seed = self._begin(prompt, seed, options)
        if self.tokenizer.end is not None:  # where the text ends is up to the writer
            primed = primed._replace(banned=[*primed.banned, self.tokenizer.end])
        for name in ("stop", "until_sentence", "novel", "beam"):
            if getattr(primed.options, name):
                raise OptionError(name, "has no meaning in writing together; leave it out")
        return Writer(primed, np.random.default_rng([seed, 0]), prompt)

    def evaluate(self, *texts: str) -> Evaluation:
        """Return loss (nats per token), perplexity and bits per character of texts.

        Each is a document of its own.
        """
        return evaluate(self._network, self.tokenizer, texts)

    def novelty(self, text: str, least: int = 20, most: int = 10) -> "Novelty":
        """Return the share of `text` that stands in the training text in passages of at least
        `least` characters, and the `most` longest of them.
        """
        from textgen.analysis.novelty import novelty

        _check_whole("least", least, 1)
        _check_whole("most", most, 0)
        return novelty(text, self._sources(self.tokenizer.decode), least, most)

    def _begin(self, prompt: str, seed: int | None, options: dict[str, Any]) -> tuple[Primed, int]:
        """Check what a text is asked with, and read the prompt; return it with the seed."""
        settings = SamplingOptions(**options)
        if not isinstance(prompt, str):
            raise OptionError("prompt", f"must be text, not {prompt!r}")
        seed = new_seed() if seed is None else seed
        _check_whole("seed", seed, 0)
        ids, ahead = self.tokenizer.encode_prompt(prompt) if prompt else (self._opening(), "")
        banned = self._banned(settings)
        return prime(self._network, self.tokenizer, settings, ids, ahead, banned), seed

    def _guard(self, length: int) -> Guard:
        if self._last_guard is None or self._last_guard.length != length:
            contents = {content for _, content in self._sources(self.tokenizer.spell)}
            self._last_guard = Guard(sorted(contents), length)
        return self._last_guard

    def _sources(self, decode: Callable[[Ids], str]) -> list[tuple[str, str]]:
        """The documents that the model was trained on, by name."""
        sources = []
        for run in self.runs:
            if not (run.path / CORPUS).exists():
                raise RunError(
                    f"{run.path} has no {CORPUS}/ to compare with; copy it from where the run "
                    "was trained"
                )
            corpus = run.corpus()
            parts = np.split(corpus.ids, corpus.documents[1:])
            names = [
                book if count == 1 else f"{book}, document {number}"
                for book, count in zip(run.books, run.documents, strict=True)
                for number in range(1, count + 1)
            ]
            sources += [(n, decode(part)) for n, part in zip(names, parts, strict=True)]
        return sources

    def _banned(self, options: SamplingOptions) -> list[int]:
        """The tokens that are never drawn: the unknown one, and those that `ban` names."""
        banned = set() if self.tokenizer.unknown is None else {self.tokenizer.unknown}
        for token in options.ban:
            ids = self.tokenizer.ids_of(token)
            if not ids:
                raise OptionError("ban", f"must be a token that the model knows, not {token!r}")
            banned.update(ids)
        if len(banned) == len(self.tokenizer):
            raise OptionError("ban", "leaves no token to draw")
        return sorted(banned)

    def _opening(self) -> Ids:
        """What to run through first where there is no prompt: the start of a paragraph.

        Nothing where documents have a start of their own.
        """
        if self.tokenizer.end is not None:
            return np.empty(0, np.int64)
        for text in _OPENINGS:
            try:
                ids = self.tokenizer.encode(text)
            except VocabularyError:
                continue
            if self.tokenizer.unknown not in ids:
                return ids
        return np.array([len(self.tokenizer) - 1])


def _best(count: int, primed: Primed) -> list[Generation]:
    """The `count` best texts of a beam search."""
    options = primed.options
    for name in ("novel", "until_sentence"):
        if getattr(options, name):
            raise OptionError(name, "cannot be combined with a beam; leave one out")
    if options.beam is not None and count > options.beam:
        raise OptionError("count", f"must be at most the {options.beam} texts of the beam")
    texts = []
    found = beam_search(primed)
    if count > len(found):
        raise OptionError("count", f"must be at most {len(found)}: there are no other texts")
    for text in found[:count]:
        generation = Generation(primed.tokenizer, options, primed.ahead)
        for token, log_probability in zip(text.tokens, text.log_probabilities, strict=True):
            generation.add(token, log_probability)
        texts.append(generation)
    return texts


def _check_whole(name: str, value: Any, least: int) -> None:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise OptionError(name, f"must be a whole number, at least {least}, not {value!r}")


def _shares(runs: Sequence[Run], shares: Sequence[float] | None) -> Sequence[float]:
    if shares is None:
        return [1.0] * len(runs)
    try:
        numbers = [float(share) for share in shares]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != len(runs):
        raise OptionError("weights", f"must be one number for each run, not {shares!r}")
    if not all(0 <= number < 1e300 for number in numbers) or not any(numbers):
        raise OptionError("weights", "must be numbers of at least 0, one of them above")
    return numbers


def new_seed() -> int:
    return secrets.randbits(32)
