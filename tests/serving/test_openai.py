"""OpenAI's own client, unmodified, and a server on a socket."""

import asyncio
import json
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from textgen.model import Model

PROMPT = "The ferry saw "


@pytest.fixture(scope="module")
def url(serve: Callable[..., str], models: dict[str, Model]) -> str:
    return serve(models["char"].path, models["word"].path)


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0, timeout=30) as client:
        yield client


@pytest.fixture
def complete(client: openai.OpenAI) -> Callable[..., Any]:
    """Ask for a completion of 60 tokens of the character model."""

    def ask(**fields: Any) -> Any:
        defaults = {"model": "char", "prompt": PROMPT, "max_tokens": 60, "temperature": 0.7}
        return client.completions.create(**defaults | fields)

    return ask


def expected(model: Model, prompt: str = PROMPT, count: int = 1, **options: Any) -> list[str]:
    """Return what the library writes."""
    settings = {"length": 60, "temperature": 0.7, "seed": 1} | options
    return ["".join(text) for text in list(model.samples(prompt, count=count, **settings))]


def used_slots(url: str) -> int:
    with urllib.request.urlopen(f"{url}/slots") as answer:
        return sum(slot["is_processing"] for slot in json.load(answer))


def test_a_text_is_that_of_the_library(complete: Callable[..., Any], model: Model) -> None:
    answer = complete(seed=1)
    [choice] = answer.choices
    assert choice.text == expected(model)[0]
    assert (choice.index, choice.finish_reason, choice.logprobs) == (0, "length", None)
    assert answer.id.startswith("cmpl-")
    assert (answer.object, answer.model) == ("text_completion", "char")
    assert abs(answer.created - time.time()) < 60
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (len(PROMPT), 60)
    assert usage.total_tokens == len(PROMPT) + 60


def test_sixteen_tokens_are_the_default(complete: Callable[..., Any]) -> None:
    assert complete(max_tokens=openai.omit).usage.completion_tokens == 16


def test_another_model(complete: Callable[..., Any], models: dict[str, Model]) -> None:
    answer = complete(model="word", seed=1)
    assert answer.model == "word"
    assert answer.choices[0].text == expected(models["word"])[0]


def test_streamed_pieces_join_to_the_text(complete: Callable[..., Any], model: Model) -> None:
    chunks = list(complete(seed=1, max_tokens=2000, stream=True))
    assert all(len(chunk.choices) == 1 and chunk.usage is None for chunk in chunks)
    assert len({chunk.id for chunk in chunks}) == 1
    pieces = [chunk.choices[0].text for chunk in chunks]
    assert len(pieces) > 1
    assert "".join(pieces) == expected(model, length=2000)[0]
    reasons = [chunk.choices[0].finish_reason for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["length"]


def test_a_stream_ends_with_its_usage_if_asked(complete: Callable[..., Any]) -> None:
    *chunks, last = complete(stream=True, stream_options={"include_usage": True})
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)
    assert last.choices == []
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (len(PROMPT), 60)


@pytest.mark.parametrize("stream", [False, True])
def test_several_texts_of_several_prompts(
    complete: Callable[..., Any], model: Model, stream: bool
) -> None:
    prompts = [PROMPT, "The goose "]
    answer = complete(prompt=prompts, n=3, seed=1, stream=stream)
    texts = dict.fromkeys(range(6), "")
    for part in answer if stream else [answer]:
        for choice in part.choices:
            texts[choice.index] += choice.text
    assert list(texts.values()) == [
        text for prompt in prompts for text in expected(model, prompt, count=3)
    ]


def test_tokens_as_a_prompt(complete: Callable[..., Any], model: Model) -> None:
    ids = model.tokenizer.encode(PROMPT).tolist()
    assert complete(prompt=ids, seed=1).choices[0].text == expected(model)[0]
    [first, second] = complete(prompt=[ids, ids[:4]], seed=1).choices
    assert [first.text, second.text] == [expected(model)[0], expected(model, PROMPT[:4])[0]]


@pytest.mark.parametrize("stream", [False, True])
def test_a_text_ends_before_a_stop_text(
    complete: Callable[..., Any], model: Model, stream: bool
) -> None:
    text = expected(model)[0]
    stop = text[30:32]
    answer = complete(seed=1, stop=["never", stop], stream=stream)
    choices = [part.choices[0] for part in (answer if stream else [answer])]
    assert "".join(choice.text for choice in choices) == text[: text.index(stop)]
    assert choices[-1].finish_reason == "stop"
    assert choices[-1].stop_reason == stop


@pytest.mark.parametrize("stream", [False, True])
def test_logprobs(complete: Callable[..., Any], model: Model, stream: bool) -> None:
    answer = complete(seed=1, logprobs=3, stream=stream)
    parts = [part.choices[0] for part in (answer if stream else [answer])]
    tokens, values, offsets = list[str](), list[float](), list[int]()
    for part in parts:
        tokens += part.logprobs.tokens
        values += part.logprobs.token_logprobs
        offsets += part.logprobs.text_offset
        for token, value, top in zip(
            part.logprobs.tokens,
            part.logprobs.token_logprobs,
            part.logprobs.top_logprobs,
            strict=True,
        ):
            assert top[token] == value
            assert 3 <= len(top) <= 4
    assert "".join(tokens) == expected(model)[0]
    assert offsets == list(range(60))
    assert values == pytest.approx(log_probabilities(model), abs=1e-5)


def log_probabilities(model: Model) -> list[float]:
    settings = {"length": 60, "temperature": 0.7, "seed": 1, "log_probabilities": True}
    text = model.samples(PROMPT, **settings)
    [only] = list(text)
    assert "".join(only) == expected(model)[0]
    return [scored.log_probability for scored in only.scores]


def test_echo(complete: Callable[..., Any], model: Model) -> None:
    text = PROMPT + expected(model)[0]
    assert complete(seed=1, echo=True).choices[0].text == text
    streamed = complete(seed=1, echo=True, stream=True)
    assert "".join(chunk.choices[0].text for chunk in streamed) == text


def test_a_text_is_scored(complete: Callable[..., Any], model: Model) -> None:
    text = "The lamp saw the storm.\nThe goose saw the ferry.\n"
    answer = complete(prompt=text, echo=True, logprobs=1, max_tokens=0)
    [choice] = answer.choices
    assert (choice.text, answer.usage.completion_tokens) == (text, 0)
    assert choice.logprobs.tokens == list(text)
    assert choice.logprobs.text_offset == list(range(len(text)))
    first, *others = choice.logprobs.token_logprobs
    assert first is choice.logprobs.top_logprobs[0] is None
    evaluation = model.evaluate(text)
    # The server rounds the weights to float16.
    assert -sum(others) / len(others) == pytest.approx(evaluation.loss, abs=1e-4)


def test_a_scored_text_may_go_on(complete: Callable[..., Any], model: Model) -> None:
    [choice] = complete(seed=1, echo=True, logprobs=1).choices
    assert choice.text == PROMPT + expected(model)[0]
    assert "".join(choice.logprobs.tokens) == choice.text
    assert choice.logprobs.text_offset == list(range(len(choice.text)))


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"max_tokens": -1}, "max_tokens", "-1"),
        ({"max_tokens": 0}, "max_tokens", "echo"),
        ({"max_tokens": "many"}, "max_tokens", "many"),
        ({"temperature": -1}, "temperature", "at least 0"),
        ({"temperature": "hot"}, "temperature", "hot"),
        ({"top_p": 2}, "top_p", "2"),
        ({"n": 10_000}, "n", "10000"),
        ({"logprobs": 1_000_000}, "logprobs", "1000000"),
        ({"stop": ""}, "stop", "empty"),
        ({"suffix": "end"}, "suffix", "not supported"),
        ({"prompt": "A snowman: ☃"}, "prompt", "☃"),
        ({"prompt": [1_000_000]}, "prompt", "1000000"),
        ({"logit_bias": {"1000000": 1}}, "logit_bias", "1000000"),
        ({"stream_options": "usage"}, "stream_options", "usage"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_bad_request_names_the_field(
    complete: Callable[..., Any], fields: dict[str, Any], param: str, message: str, stream: bool
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        complete(stream=stream, **fields)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"
    assert message in caught.value.message


@pytest.mark.parametrize("name", ["nobody", "../char", "/etc/passwd", "char/"])
def test_a_model_that_does_not_exist(complete: Callable[..., Any], name: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        complete(model=name)
    assert (caught.value.param, caught.value.code) == ("model", "model_not_found")


def test_models(client: openai.OpenAI) -> None:
    assert {model.id for model in client.models.list()} == {"char", "word"}
    model = client.models.retrieve("char")
    assert (model.id, model.object) == ("char", "model")
    assert model.created > 0
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nobody")


def test_a_key(serve: Callable[..., str], models: dict[str, Model]) -> None:
    url = serve(models["char"].path, api_key="secret")
    ask = {"model": "char", "prompt": PROMPT}
    for key in ("wrong", "secret2"):
        with openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as stranger:
            for call in (stranger.models.list, lambda: stranger.completions.create(**ask)):
                with pytest.raises(openai.AuthenticationError) as caught:
                    call()
                assert caught.value.type == "authentication_error"
    with openai.OpenAI(base_url=f"{url}/v1", api_key="secret", max_retries=0) as friend:
        assert friend.completions.create(**ask).usage.completion_tokens == 16


def test_an_aborted_stream_frees_its_slot(complete: Callable[..., Any], url: str) -> None:
    stream = complete(stream=True, max_tokens=100_000)
    assert next(iter(stream)).choices[0].finish_reason is None
    assert used_slots(url) == 1
    stream.close()
    deadline = time.monotonic() + 10
    while used_slots(url) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert used_slots(url) == 0


def test_a_seed_gives_the_same_text_among_others(url: str, model: Model) -> None:
    async def ask() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="x", max_retries=0) as client:

            async def text(number: int) -> str:
                fields: dict[str, Any] = {"max_tokens": 60, "temperature": 0.7}
                seed = 1 if number % 5 == 0 else openai.omit
                answer = await client.completions.create(
                    model="char", prompt=PROMPT, seed=seed, **fields
                )
                return answer.choices[0].text

            return await asyncio.gather(*map(text, range(40)))

    texts = asyncio.run(ask())
    assert set(texts[::5]) == {expected(model)[0]}
    assert len(set(texts)) > 30
