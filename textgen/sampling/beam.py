"""Beam search: the likeliest text, or nearly, in place of a drawn one."""

from typing import NamedTuple

import numpy as np

from textgen.sampling.engine import Primed, Seen
from textgen.sampling.filters import log_softmax


class Hypothesis(NamedTuple):
    """One of the texts that are followed."""

    tokens: tuple[int, ...]
    log_probabilities: tuple[float, ...]  # of each token, by the network alone
    score: float  # the sum of the tokens' log-probabilities by the filtered distribution
    ended: bool = False  # by a stop text, or as its document does

    @property
    def rank(self) -> float:
        """Of two texts of different length, the one likelier for its length goes first."""
        return self.score / max(len(self.tokens), 1)


def beam_search(primed: Primed) -> list[Hypothesis]:
    """Follow the `beam` likeliest texts side by side; return them, the best first.

    There are fewer where the filters leave no more.
    """
    options, logits, state = primed.options, primed.logits, primed.state
    assert options.beam is not None
    seen = Seen(primed.prompt, primed)
    live, ended = [Hypothesis((), (), 0.0)], list[Hypothesis]()
    for position in range(options.length):
        weights = primed.distribution(logits, position, seen.mask)
        with np.errstate(divide="ignore"):
            steps = np.log(weights / weights.sum(-1, keepdims=True))
        scores = (np.array([text.score for text in live])[:, None] + steps).ravel()
        likeliest = np.argsort(-scores, kind="stable")[: options.beam - len(ended)]
        likeliest = likeliest[np.isfinite(scores[likeliest])]
        rows, tokens = np.divmod(likeliest, logits.shape[-1])
        alone = log_softmax(logits)
        texts = [
            Hypothesis(
                (*live[row].tokens, int(token)),
                (*live[row].log_probabilities, float(alone[row, token])),
                float(scores[place]),
            )
            for place, row, token in zip(likeliest, rows, tokens, strict=True)
        ]
        going = []
        for place, text in enumerate(texts):
            written = primed.tokenizer.decode(text.tokens) if options.stop else ""
            stopped = any(stop in written.removeprefix(primed.ahead) for stop in options.stop)
            if stopped or text.tokens[-1] == primed.tokenizer.end:
                ended.append(text._replace(ended=True))
            else:
                going.append(place)
        live = [texts[place] for place in going]
        if not live or position == options.length - 1:
            break
        seen.take(rows[going].tolist())
        seen.add(tokens[going])
        state = primed.network.rows(state, rows[going].tolist())
        logits, state = primed.network.step(tokens[going], state)
    return sorted([*ended, *live], key=lambda text: -text.rank)
