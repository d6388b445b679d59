"""Prompts: they are read in blocks, scored, and continued from a known state."""

import numpy as np
import pytest

from textgen.errors import OptionError
from textgen.model import Model
from textgen.options.sampling import SamplingOptions
from textgen.sampling.filters import log_softmax
from textgen.sampling.prompt import CHECKPOINT_EVERY, Prompt

TEXT = "The ferry saw the storm.\n" * 12  # 300 tokens


def prompt_of(model: Model, text: str = TEXT, likeliest: int | None = None) -> Prompt:
    ids = model.tokenizer.encode(text)
    return Prompt(model.network, model.tokenizer, ids, likeliest=likeliest)


@pytest.mark.parametrize("length", [1, 63, 64, 65, 128, 256, 257, 300])
def test_a_prompt_goes_on_from_its_checkpoint(model: Model, length: int) -> None:
    whole = prompt_of(model, TEXT[:length])
    whole.read()
    assert whole.known.tokens == length
    assert whole.checkpoint.tokens == length - length % CHECKPOINT_EVERY
    longer = TEXT[:length] + " " * (length == whole.checkpoint.tokens)
    resumed = prompt_of(model, longer)
    resumed.start_from(whole.checkpoint)
    assert resumed.skipped == whole.checkpoint.tokens
    np.testing.assert_array_equal(resumed.read()[0], prompt_of(model, longer).read()[0])


@pytest.mark.parametrize("likeliest", [0, 1, 3, 1000])
def test_scores_are_those_of_the_network(model: Model, likeliest: int) -> None:
    text = TEXT[:280]
    prompt = prompt_of(model, text, likeliest)
    prompt.read()
    ids = model.tokenizer.encode(text)
    hidden, _ = model.network.forward(ids[:, None], model.network.zero_state(1))
    logs = log_softmax(model.network.logits(hidden)[:, 0])
    assert [scored.token for scored in prompt.scores] == ids[1:].tolist()
    for scored, row in zip(prompt.scores, logs[:-1], strict=True):
        assert scored.log_probability == pytest.approx(float(row[scored.token]), abs=1e-5)
        order = sorted(range(len(row)), key=lambda token, row=row: -row[token])
        best = order[: min(likeliest, len(row))]
        assert [token for token, _ in scored.likeliest] == best
        assert scored.log_probability in [*dict(scored.likeliest).values(), scored.log_probability]


def test_a_large_vocabulary_is_scored_in_small_blocks(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = prompt_of(model, likeliest=2)
    expected.read()
    monkeypatch.setattr("textgen.sampling.prompt._SCORED_LOGITS", 20 * len(model.tokenizer))
    prompt = prompt_of(model, likeliest=2)
    prompt.read()
    assert prompt.scores == expected.scores


def test_tokens_as_a_prompt(model: Model) -> None:
    ids = model.tokenizer.encode("The ferry").tolist()
    options = SamplingOptions()
    by_text, by_tokens = model.request("The ferry", options), model.request(ids, options)
    np.testing.assert_array_equal(by_text.prompt.tokens, by_tokens.prompt.tokens)
    assert by_text.prompt.text == by_tokens.prompt.text
    for tokens in ([-1], [len(model.tokenizer)], [1.0], [True], ["a"]):
        with pytest.raises(OptionError, match="outside the vocabulary"):
            model.request(tokens, options)


def test_a_bias_decides(model: Model) -> None:
    token = int(model.tokenizer.encode("é")[0])
    request = model.request("The ", SamplingOptions(), bias=((token, 100.0),))
    weights = request.filter.weights(request.prompt.read()[0], 0.8)
    assert weights[0].argmax() == token
    assert np.delete(weights[0], token).max() < 1e-20
