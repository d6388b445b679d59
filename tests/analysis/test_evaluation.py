"""Loss, perplexity and bits per character, compared with an independent computation."""

import math
from itertools import pairwise

import numpy as np
import pytest

from textgen.analysis.evaluation import evaluate
from textgen.errors import BookError, VocabularyError
from textgen.model import Model
from textgen.sampling.network import NumpyNetwork


@pytest.mark.parametrize("level", ["char", "word", "byte"])
def test_figures_follow_from_the_probability_of_each_token(
    level: str, models: dict[str, Model]
) -> None:
    model = models[level]
    text = "“café!” said the lamp.\nThe goose saw the ferry.\n" * 12
    ids = model.tokenizer.encode(text)
    network = NumpyNetwork(model.run.settings.architecture, model.run.weights())
    states, nats = network.zero_state(1), 0.0
    for token, target in pairwise(ids):
        logits, states = network.step(np.array([token]), states)
        p = np.exp(logits[0].astype(np.float64))
        nats -= math.log(p[target] / p.sum())
    found = evaluate(network, model.tokenizer, [text])
    assert found.tokens == len(ids) - 1
    assert found.loss == pytest.approx(nats / found.tokens, rel=1e-5)
    assert found.perplexity == pytest.approx(math.exp(found.loss))
    assert found.characters == len(text) - 1  # the first token is one character
    assert found.bits_per_character == pytest.approx(
        nats / math.log(2) / found.characters, rel=1e-5
    )
    assert model.evaluate(text) == found


def test_texts_that_cannot_be_evaluated(model: Model) -> None:
    with pytest.raises(BookError, match="nothing to predict"):
        model.evaluate("T")
    with pytest.raises(BookError, match="nothing to predict"):
        model.evaluate("")
    with pytest.raises(VocabularyError, match="never seen 'Ж'"):
        model.evaluate("The Ж")


def test_texts_that_begin_with_what_has_no_token_of_its_own(models: dict[str, Model]) -> None:
    found = models["word"].evaluate("Zanzibar lamp")
    assert (found.tokens, found.characters) == (1, len(" lamp"))
    assert found.bits_per_character > 0
    with pytest.raises(BookError, match="nothing to predict"):
        models["byte"].evaluate("é")
