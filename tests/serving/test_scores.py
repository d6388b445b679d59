"""The log-probabilities in answers: their values, names and places in the text."""

from collections.abc import Callable
from itertools import chain, pairwise
from pathlib import Path
from unicodedata import normalize

import pytest
from asking import complete, streamed
from helpers import fabricate

from textgen.model import Model


def test_scores_are_those_of_evaluate(url: str, models: dict[str, Model]) -> None:
    for level, model in models.items():
        text = "The ferry saw the storm.\nThe lamp saw the goose.\n" * 20
        fields = {"echo": True, "logprobs": 1, "max_tokens": 0, "model": level}
        [choice] = complete(url, text, **fields)["choices"]
        assert choice["text"] == text
        found = choice["logprobs"]
        expected = model.evaluate(text)
        assert found["token_logprobs"][0] is found["top_logprobs"][0] is None
        loss = -sum(found["token_logprobs"][1:]) / expected.tokens
        assert loss == pytest.approx(expected.loss, abs=1e-4)  # the server rounds to float16
        for own, best in zip(found["token_logprobs"][1:], found["top_logprobs"][1:], strict=True):
            assert own in best.values()
            assert own <= max(best.values())


def test_offsets_point_into_the_text(url: str) -> None:
    for level in ("char", "word"):
        fields = {"logprobs": 0, "max_tokens": 20, "seed": 1, "model": level, "stop": "\n"}
        for echo in (False, True):
            [choice] = complete(url, "The lamp", echo=echo, **fields)["choices"]
            found, text = choice["logprobs"], choice["text"]
            assert found["tokens"]
            for token, at in zip(found["tokens"], found["text_offset"], strict=True):
                assert text[at:].startswith(token) or text[at:] == token[: len(text) - at]


def test_offsets_in_a_prompt_of_another_normal_form(serve: Callable[..., str]) -> None:
    """As a file name or a PDF may have it: a letter, then its accent."""
    Path("book.txt").write_text("Le café noir de l'été. " * 40, "utf-8")
    url = serve(fabricate("cafe", "book.txt").path)
    given = normalize("NFD", "le café noir")
    fields = {"model": "cafe", "echo": True, "logprobs": 0, "max_tokens": 0}
    [choice] = complete(url, given, **fields)["choices"]
    assert choice["text"] == given
    borders = [*choice["logprobs"]["text_offset"], len(given)]
    parts = [normalize("NFC", given[start:end]) for start, end in pairwise(borders)]
    assert parts == choice["logprobs"]["tokens"] == list("le café noir")


def test_words_of_another_normal_form_are_known(serve: Callable[..., str]) -> None:
    Path("book.txt").write_text("Le café noir de l'été. " * 40, "utf-8")
    url = serve(fabricate("cafe", "book.txt", level="word").path)
    fields = {"model": "cafe", "echo": True, "logprobs": 0, "max_tokens": 0}
    scores = []
    for form in ("NFC", "NFD"):
        [choice] = complete(url, normalize(form, "Le café noir, l'été "), **fields)["choices"]
        scores.append(choice["logprobs"]["token_logprobs"])
    assert scores[0] == scores[1]


@pytest.mark.parametrize("prompt", ["The ", "The la", "The lamp"])
def test_tokens_are_those_of_the_text(url: str, prompt: str) -> None:
    """The first word may go on from a space, or a part of a word, in the prompt."""
    fields = {"logprobs": 3, "max_tokens": 8, "seed": 1, "model": "word"}
    [choice] = complete(url, prompt, **fields)["choices"]
    found = choice["logprobs"]
    assert "".join(found["tokens"]) == choice["text"]
    for token, likeliest in zip(found["tokens"], found["top_logprobs"], strict=True):
        assert token in likeliest
    parts = [part["choices"][0] for part in streamed(url, prompt=prompt, **fields)]
    assert (
        list(chain.from_iterable(part["logprobs"]["tokens"] for part in parts)) == found["tokens"]
    )


def test_streamed_scores_are_the_whole_ones(url: str) -> None:
    fields = {"seed": 4, "logprobs": 2, "echo": True, "n": 2, "stop": ["said", "\n\n"]}
    whole = complete(url, **fields)["choices"]
    parts = [part["choices"][0] for part in streamed(url, **fields)]
    for choice in whole:
        own = [part for part in parts if part["index"] == choice["index"]]
        assert "".join(part["text"] for part in own) == choice["text"]
        for name, values in choice["logprobs"].items():
            assert list(chain.from_iterable(part["logprobs"][name] for part in own)) == values
        reasons = [part["finish_reason"] for part in own]
        assert reasons == [None] * (len(own) - 1) + [choice["finish_reason"]]
        assert own[-1]["stop_reason"] == choice["stop_reason"]
