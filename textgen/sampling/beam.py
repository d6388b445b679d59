"""Beam search: find the likeliest texts instead of drawing one."""

from typing import NamedTuple

import numpy as np

from textgen.preprocess.tokenizers import Ids, Tokenizer
from textgen.sampling.filters import Logits, log_softmax
from textgen.sampling.prompt import Request
from textgen.sampling.seen import SeenTokens


class Hypothesis(NamedTuple):
    """A candidate text of the beam."""

    tokens: tuple[int, ...]
    log_probabilities: tuple[float, ...]  # of each token, before any filter
    score: float  # the sum of the tokens' log-probabilities after the filters
    ended: bool = False  # by a stop text or the end of a document

    @property
    def rank(self) -> float:
        """The score per token, which makes texts of different lengths comparable."""
        return self.score / max(len(self.tokens), 1)


class Beam:
    """Beam search from one prompt: each candidate text is a row of the engine."""

    exact = False

    def __init__(self, request: Request, tokenizer: Tokenizer) -> None:
        options = request.options
        assert options.beam is not None
        self._width = options.beam
        self._options = options
        self._prompt = request.prompt
        self._tokenizer = tokenizer
        self._filter = request.filter
        self._seen: SeenTokens | None = None
        self._live, self._ended = [Hypothesis((), (), 0.0)], list[Hypothesis]()
        self.finished = not options.length

    def __len__(self) -> int:
        return 0 if self.finished else len(self._live)

    @property
    def found(self) -> list[Hypothesis]:
        """The texts, best first; fewer than the beam width if the filters leave no more."""
        return sorted([*self._ended, *self._live], key=lambda text: -text.rank)

    def advance(self, logits: Logits) -> tuple[list[int] | None, Ids]:
        """Extend the texts by a token; see `RowGroup.advance`."""
        position = len(self._live[0].tokens)
        weights = self._filter.weights(
            logits,
            self._options.temperature.at(position, self._options.length),
            self._seen_mask(logits.shape[-1]),
        )
        with np.errstate(divide="ignore"):
            steps = np.log(weights / weights.sum(-1, keepdims=True))
        scores = (np.array([text.score for text in self._live])[:, None] + steps).ravel()
        likeliest = np.argsort(-scores, kind="stable")[: self._width - len(self._ended)]
        likeliest = likeliest[np.isfinite(scores[likeliest])]
        rows, tokens = np.divmod(likeliest, logits.shape[-1])
        alone = log_softmax(logits)
        texts = [
            Hypothesis(
                (*self._live[row].tokens, int(token)),
                (*self._live[row].log_probabilities, float(alone[row, token])),
                float(scores[place]),
            )
            for place, row, token in zip(likeliest, rows, tokens, strict=True)
        ]
        going = [place for place, text in enumerate(texts) if not self._ends(text)]
        ended = set(range(len(texts))) - set(going)
        self._ended += [texts[place]._replace(ended=True) for place in sorted(ended)]
        self._live = [texts[place] for place in going]
        if not self._live or position == self._options.length - 1:
            self.finished = True
            return [], np.empty(0, np.int64)
        kept = rows[going].tolist()
        if self._seen is not None:
            self._seen.take(kept)
            self._seen.add(tokens[going])
        return kept, tokens[going]

    def _seen_mask(self, vocabulary_size: int) -> np.ndarray | None:
        if self._filter.repetition_penalty == 1:
            return None
        if self._seen is None:
            self._seen = SeenTokens(vocabulary_size, self._options.repeat_last_n)
            self._seen.join(self._prompt.ids)
        return self._seen.mask

    def _ends(self, text: Hypothesis) -> bool:
        if text.tokens[-1] == self._tokenizer.end:
            return True
        if not self._options.stop:
            return False
        written = self._tokenizer.decode(text.tokens).removeprefix(self._prompt.ahead)
        return any(stop in written for stop in self._options.stop)
