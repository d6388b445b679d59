"""Generate text with the network of one run, or of several."""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any
from weakref import WeakValueDictionary

import numpy as np

from textgen.errors import OptionError, RunError, VocabularyError
from textgen.options.declare import check_whole
from textgen.options.sampling import SamplingOptions
from textgen.preprocess.tokenizers import Ids
from textgen.runs.files import Arrays
from textgen.runs.folder import Run
from textgen.sampling.compiled import make_network
from textgen.sampling.engine import Engine
from textgen.sampling.ensemble import Ensemble
from textgen.sampling.generation import Generation
from textgen.sampling.network import Network
from textgen.sampling.novel import Guard
from textgen.sampling.prompt import Prompt, Request
from textgen.sampling.scores import ScoredToken
from textgen.sampling.writer import Writer

_TEXTS_AT_ONCE = 64
_OPENINGS = ("\n\n", "\n", " ")  # in order of preference


class Sampler:
    """Trained networks, ready to generate."""

    def __init__(
        self,
        runs: Sequence[Run],
        weights: Sequence[Arrays] | None = None,
        shares: Sequence[float] | None = None,
    ) -> None:
        """Load the networks of runs that share a vocabulary; their probabilities are mixed.

        Args:
            weights: the weights of each network; by default the best of its run.
            shares: the share of each network in the mixture; they need not add up to 1. By
                default all are equal.

        Raises RunError if a run is damaged, has no weights or another vocabulary, OptionError for
        invalid shares.
        """
        self.runs = runs
        self.run = runs[0]
        self.tokenizer = self.run.tokenizer
        for run in runs[1:]:
            if run.tokenizer.to_json() != self.tokenizer.to_json():
                raise RunError(
                    f"the vocabulary of {run.path} is not that of {self.run.path}; only runs "
                    "with the same vocabulary can be mixed"
                )
        self._weights = weights or [run.weights() for run in runs]
        self._shares = _check_shares(runs, shares)
        self.guards = WeakValueDictionary[int, Guard]()  # of the texts being written, by length
        # Kept for the next text: making one takes seconds for long texts.
        self.last_guard: Guard | None = None

    @cached_property
    def network(self) -> Network:
        """The network that evaluates texts."""
        return self._make_network(half=False)

    @cached_property
    def fast_network(self) -> Network:
        """The network that generates; a C kernel rounds its weights. See `make_network`."""
        return self._make_network(half=True)

    def engine(self) -> Engine:
        """Return an engine that generates with the network."""
        return Engine(self.fast_network, self.tokenizer)

    def generate(self, prompt: str = "", *, seed: int | None = None, **options: Any) -> str:
        """Return text that follows `prompt`, without the prompt.

        Args:
            seed: the same seed gives the same text; by default it is random.
            options: as for `textgen sample`: length (in tokens), temperature (a number, several
                to alternate, or "1.2:0.6"), top_k, top_p, min_p, repetition_penalty,
                repeat_last_n, ban, novel, stop, until_sentence, beam.

        Raises OptionError for an option that is outside its limits or does not exist,
        VocabularyError for a prompt with characters that are not in the vocabulary.
        """
        return "".join(self.stream(prompt, seed=seed, **options))

    def stream(self, prompt: str = "", *, seed: int | None = None, **options: Any) -> Generation:
        """Return an iterator over the text of `generate`, piece by piece as it is drawn."""
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
        """Yield `count` texts to iterate over, each with its own random numbers.

        Text 3 of 10 is therefore the same as text 3 of 5, except that without a C kernel rounding
        may differ for more than twelve texts. Up to 64 texts are generated as a batch, in one
        thread: iterating over one advances the others, too.

        Args:
            log_probabilities: whether each text keeps the log-probabilities of its tokens.

        Other arguments and errors are those of `generate`.
        """
        check_whole("count", count, 1)
        request, seed = self._request(prompt, seed, log_probabilities, options)
        if request.options.beam is not None:
            return iter(self._search(request, count))

        def texts() -> Iterator[Generation]:
            for first in range(0, count, _TEXTS_AT_ONCE):
                engine = self.engine()
                numbers = range(first, min(first + _TEXTS_AT_ONCE, count))
                yield from [
                    engine.join(request, np.random.default_rng([seed, number]))
                    for number in numbers
                ]

        return texts()

    def writer(self, prompt: str = "", *, seed: int | None = None, **options: Any) -> Writer:
        """Return a text that the network and the caller write token by token.

        Arguments and errors are those of `generate`, without the options stop, until_sentence,
        novel and beam.
        """
        request, seed = self._request(prompt, seed, False, options, writing=True)
        rng = np.random.default_rng([seed, 0])
        return Writer(self.fast_network, self.tokenizer, request, rng, prompt)

    def request(
        self,
        prompt: str | Sequence[int],
        options: SamplingOptions,
        *,
        score_prompt: bool = False,
        **settings: Any,
    ) -> Request:
        """Return a request for text that follows a prompt, which is a text or tokens.

        Args:
            score_prompt: score the tokens of the prompt. An unfinished word at its end is then
                read as a word.
            settings: other fields of Request.

        Raises OptionError for an option that does not fit the vocabulary or for tokens that are
        not in it, VocabularyError as `generate` does.
        """
        banned = self._banned(options)
        if isinstance(prompt, str):
            encode = self.tokenizer.encode_prompt
            ids, ahead = encode(prompt, score_prompt) if prompt else (self.opening(), "")
            if ahead and set(self.tokenizer.begin_with(ahead)) <= set(banned):
                ids, ahead = encode(prompt, whole=True)
        else:
            ids, ahead = self.checked_ids(prompt), ""
        if not len(ids):  # the prompt is empty, or one unfinished word
            ids = self.opening()
        # `novel` compares the prompt itself, except that bytes are spelled as Latin-1.
        given = isinstance(prompt, str) and prompt and self.tokenizer.level != "byte"
        text = str(prompt) if given else self.tokenizer.spell(ids.tolist())
        guard = None if options.novel is None else self._guard(options.novel)
        likeliest = settings.get("likeliest", 0) if score_prompt else None
        read = Prompt(self.fast_network, self.tokenizer, ids, ahead, text, likeliest)
        return Request(read, options, banned, guard=guard, **settings)

    def _make_network(self, half: bool) -> Network:
        networks = [
            make_network(run.settings.architecture, own, half)
            for run, own in zip(self.runs, self._weights, strict=True)
        ]
        return networks[0] if len(networks) == 1 else Ensemble(networks, self._shares)

    def _request(
        self,
        prompt: str,
        seed: int | None,
        log_probabilities: bool,
        options: dict[str, Any],
        writing: bool = False,
    ) -> tuple[Request, int]:
        """Check the arguments; return the request and the seed."""
        others = ("prompt", "seed") if writing else ("prompt", "seed", "count", "log_probabilities")
        SamplingOptions.check_names(options, *others)
        settings = SamplingOptions(**options)
        seed = new_seed() if seed is None else seed
        check_whole("seed", seed, 0)
        if writing:
            for name in ("stop", "until_sentence", "novel", "beam"):
                if getattr(settings, name):
                    raise OptionError(name, "is not used in interactive writing; leave it out")
        request = self.request(prompt, settings, log_probabilities=log_probabilities)
        if writing and self.tokenizer.end is not None:
            request = replace(request, banned=(*request.banned, self.tokenizer.end))
        return request, seed

    def checked_ids(self, tokens: Sequence[int]) -> Ids:
        """Return tokens as an array; raise OptionError if one is not in the vocabulary."""
        for token in tokens:
            if type(token) is not int or not 0 <= token < len(self.tokenizer):
                raise OptionError(
                    "prompt",
                    f"has a token outside the vocabulary, which has {len(self.tokenizer):,}: "
                    f"{token!r}",
                )
        return np.array(tokens, np.int64)

    def _search(self, request: Request, count: int) -> list[Generation]:
        """Return the `count` best texts of a beam search."""
        options = request.options
        for name in ("novel", "until_sentence"):
            if getattr(options, name):
                raise OptionError(name, "cannot be combined with a beam; leave one out")
        if options.beam is not None and count > options.beam:
            raise OptionError("count", f"must be at most the {options.beam} texts of the beam")
        engine = self.engine()
        beam = engine.search(request)
        while not beam.finished:
            engine.step()
        if count > len(beam.found):
            raise OptionError(
                "count", f"must be at most {len(beam.found)}: there are no other texts"
            )
        texts = []
        for found in beam.found[:count]:
            text = Generation(self.tokenizer, options, request.prompt.ahead)
            for token, log_probability in zip(found.tokens, found.log_probabilities, strict=True):
                text.add(token, ScoredToken(token, log_probability))
            texts.append(text)
        return texts

    def _guard(self, length: int) -> Guard:
        guard = self.guards.get(length)
        if guard is None:
            spell = self.tokenizer.spell
            contents = {text for run in self.runs for _, text in run.documents_by_name(spell)}
            guard = self.guards[length] = Guard(sorted(contents), length)
        self.last_guard = guard
        return guard

    def _banned(self, options: SamplingOptions) -> tuple[int, ...]:
        """Return the tokens that are never generated: the unknown token, and those in `ban`."""
        banned = set() if self.tokenizer.unknown is None else {self.tokenizer.unknown}
        for token in options.ban:
            ids = self.tokenizer.ids_of(token)
            if not ids:
                raise OptionError("ban", f"must be a token that the model knows, not {token!r}")
            banned.update(ids)
        if len(banned) == len(self.tokenizer):
            raise OptionError("ban", "leaves no token to draw")
        return tuple(sorted(banned))

    def opening(self) -> Ids:
        """Return the ids to read if there is no prompt: the start of a paragraph.

        Return no ids if the vocabulary has an end-of-document token, which starts a document.
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


def new_seed() -> int:
    """Return a random seed."""
    return secrets.randbits(32)


def _check_shares(runs: Sequence[Run], shares: Sequence[float] | None) -> Sequence[float]:
    if shares is None:
        return [1.0] * len(runs)
    try:
        numbers = [float(share) for share in shares]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != len(runs):
        raise OptionError("weights", f"must be one number for each run, not {shares!r}")
    if not all(0 <= number < 1e300 for number in numbers) or not any(numbers):
        raise OptionError("weights", "must be numbers of at least 0, at least one above 0")
    return numbers
