"""Rows of the engine that share filters and draw their next tokens together."""

from collections.abc import Hashable, Iterator
from functools import cached_property
from itertools import chain
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from textgen.preprocess.tokenizers import Ids, Tokenizer
from textgen.sampling.filters import Logits, Mask, draw, log_softmax
from textgen.sampling.generation import Generation
from textgen.sampling.novel import Guard
from textgen.sampling.prompt import Request
from textgen.sampling.scores import ScoredToken, score
from textgen.sampling.seen import SeenTokens

_NUMBERS_AT_ONCE = 256  # a call for each random number would take as long as all filters
_REJECTED_SINGLY = 32  # tokens that would copy; then all others are compared at once


class Row:
    """A text drawn with its own random numbers."""

    def __init__(self, request: Request, text: Generation, rng: np.random.Generator) -> None:
        self.request = request
        self.text = text
        self.rng = rng
        self.numbers: Iterator[float] = chain.from_iterable(
            iter(lambda: rng.random(_NUMBERS_AT_ONCE).tolist(), None)
        )
        self.tail = "" if request.guard is None else request.guard.tail(request.prompt.text)

    def temperature(self) -> float:
        options = self.request.options
        return options.temperature.at(self.text.tokens, options.length)


class DrawnRows:
    """Rows with the same filters; their temperatures, lengths and stop texts may differ."""

    def __init__(self, request: Request, tokenizer: Tokenizer, vocabulary_size: int) -> None:
        """Start without rows, for requests with the same key as `request`."""
        self.exact = request.exact
        self._tokenizer = tokenizer
        self._filter = request.filter
        self._rows: list[Row] = []
        self._copies = WeakKeyDictionary[Guard, Mask]()  # the tokens that are copies by themselves
        self._seen: SeenTokens | None = None
        if self._filter.repetition_penalty != 1:
            self._seen = SeenTokens(vocabulary_size, request.options.repeat_last_n)
        self._rows_changed()

    @cached_property
    def _pieces(self) -> list[str]:
        """The text of each token."""
        spell = self._tokenizer.spell
        return [spell([token]) for token in range(len(self._tokenizer))]

    @staticmethod
    def key_of(request: Request) -> Hashable:
        """Return a key that is equal for requests whose rows can be drawn together."""
        return request.filter, request.options.repeat_last_n, request.exact

    def __len__(self) -> int:
        return len(self._rows)

    def join(self, row: Row) -> None:
        self._rows.append(row)
        if self._seen is not None:
            self._seen.join(row.request.prompt.ids)
        self._rows_changed()

    def find(self, text: Generation) -> int | None:
        """Return the row of a text, if it is one of these."""
        return next((i for i, own in enumerate(self._texts) if own is text), None)

    def advance(self, logits: Logits) -> tuple[list[int] | None, Ids]:
        """Draw the next token of every row from the logits, (B, V).

        Returns the rows that continue, None if all do, and their tokens.
        """
        temperature, seen = self._temperature, None if self._seen is None else self._seen.mask
        if temperature is None:
            temperature = np.array([[row.temperature()] for row in self._rows])
        weights = self._filter.weights(logits, temperature, seen)
        tokens = draw(weights, np.fromiter(map(next, self._numbers), np.float64, len(weights)))
        if self._guarded:
            drawn = enumerate(tokens.tolist())
            tokens = np.array([self._novel(i, token, logits, weights, seen) for i, token in drawn])
        logs = log_softmax(logits) if self._logs else None
        going = []
        for i, (text, token) in enumerate(zip(self._texts, tokens.tolist(), strict=True)):
            if text.finish_reason is None:
                text.add(token, None if logs is None else self._score(i, token, logs))
            if text.finish_reason is None:
                going.append(i)
        rows = None
        if len(going) < len(self._rows):
            rows, tokens = going, tokens[going]
            self._rows = [self._rows[i] for i in going]
            self._rows_changed()
            if self._seen is not None:
                self._seen.take(going)
        if self._seen is not None:
            self._seen.add(tokens)
        return rows, tokens

    def _score(self, i: int, token: int, logs: Logits) -> ScoredToken | None:
        request = self._rows[i].request
        return score(logs[i], token, request.likeliest) if request.log_probabilities else None

    def _rows_changed(self) -> None:
        rows = self._rows
        self._texts = [row.text for row in rows]
        self._numbers = [row.numbers for row in rows]
        self._logs = any(row.request.log_probabilities for row in rows)
        self._guarded = any(row.request.guard is not None for row in rows)
        self._temperature: float | NDArray[np.float64] | None = None  # None: changes every step
        if all(row.request.options.temperature.is_constant for row in rows):
            values = {row.temperature() for row in rows}
            each = np.array([[row.temperature()] for row in rows])
            self._temperature = values.pop() if len(values) == 1 else each

    def _novel(
        self, i: int, token: int, logits: Logits, weights: NDArray[np.float64], seen: Mask | None
    ) -> int:
        """Draw again until the token copies nothing; end the text if every token would copy.

        `logits`, `weights` and `seen`, (B, V), are those of all rows.
        """
        row = self._rows[i]
        prompt, guard = row.request.prompt, row.request.guard
        if guard is None:
            return token
        ahead = "" if row.text.tokens else prompt.ahead
        own, left, rejected = weights[i], np.isfinite(logits[i]), 0
        left[list(self._filter.banned)] = False
        while guard.copies(row.tail, piece := self._tokenizer.spell([token]).removeprefix(ahead)):
            left[token] = False
            rejected += 1
            if rejected == _REJECTED_SINGLY:
                self._rule_out_copies(left, guard, row.tail, ahead)
            if not left.any():
                row.text.end("novel")
                break
            own[~left] = 0
            if not own.any():  # the filters kept only copying tokens
                kept = np.where(left, logits[i], -np.inf)
                mask = None if seen is None else seen[i]
                own = self._filter.weights(kept, row.temperature(), mask)
            token = int(draw(own[None], row.rng.random(1))[0])
        row.tail = guard.tail(row.tail + piece)
        return token

    def _rule_out_copies(self, left: Mask, guard: Guard, tail: str, ahead: str) -> None:
        """Remove from `left` all tokens that copy something after `tail`."""
        if not ahead:  # what is ahead of a token would be part of the copy
            if guard not in self._copies:
                self._copies[guard] = guard.copying("", self._pieces)
            left &= ~self._copies[guard]
        tokens = np.flatnonzero(left)
        pieces = [self._pieces[token].removeprefix(ahead) for token in tokens.tolist()]
        left[tokens] = ~guard.copying(tail, pieces)
