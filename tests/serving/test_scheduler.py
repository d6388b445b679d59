"""What fails while texts are written fails for their requests alone."""

import logging
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest

from textgen.model import Model
from textgen.sampling.engine import Engine
from textgen.sampling.prompt import CHECKPOINT_EVERY, Prompt, Reading
from textgen.serving.cache import StateCache
from textgen.serving.scheduler import Scheduler


@pytest.fixture(scope="module")
def url(serve: Callable[..., str], models: dict[str, Model]) -> str:
    return serve(*(model.path for model in models.values()), slots=8)


def complete(url: str, **fields: Any) -> httpx.Response:
    body = {"model": "char", "prompt": "The ", "max_tokens": 100} | fields
    return httpx.post(f"{url}/v1/completions", json=body, timeout=60)


def failing(function: Callable[..., Any], error: Exception, at: int = 0) -> Callable[..., Any]:
    """Return a function that raises an error at one of its calls."""
    calls = iter(range(10**9))

    def fails(*arguments: Any) -> Any:
        if next(calls) == at:
            raise error
        return function(*arguments)

    return fails


@pytest.mark.parametrize(
    ("owner", "name", "at"),
    [
        (Engine, "step", 0),
        (Engine, "step", 20),
        (Engine, "join", 0),
        (Engine, "join", 3),
        (StateCache, "add", 0),
        (Scheduler, "_deliver", 2),
        (Scheduler, "_begin", 1),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_while_texts_are_written(
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    owner: type,
    name: str,
    at: int,
    stream: bool,
) -> None:
    monkeypatch.setattr(owner, name, failing(getattr(owner, name), ValueError("a bug"), at))
    prompt = f"The lamp saw the {'storm' if stream else 'goose'}.\n" * 9
    answer = complete(url, prompt=prompt, n=6, stream=stream)
    if answer.status_code == 200:  # an error after the first part of a stream is an event
        assert stream
        assert '"error": {"message": "writing failed' in answer.text
    else:
        assert answer.status_code == 500
        assert answer.json()["error"]["message"].startswith("writing failed")
    assert "a bug" in caplog.text
    assert caplog.records[0].levelno == logging.ERROR
    assert complete(url).status_code == 200
    assert not any(slot["is_processing"] for slot in httpx.get(f"{url}/slots").json())


def test_other_models_go_on(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Engine.step

    def fails(engine: Engine) -> None:
        if len(engine._tokenizer) == 256:
            raise ValueError("a bug")
        step(engine)

    monkeypatch.setattr(Engine, "step", fails)
    with ThreadPoolExecutor(8) as pool:
        names = ["char", "byte"] * 4
        answers = list(pool.map(lambda name: complete(url, model=name), names))
    assert [answer.status_code for answer in answers] == [200, 500] * 4


def test_requests_that_find_a_slot_do_not_wait(
    serve: Callable[..., str], models: dict[str, Model]
) -> None:
    """They may arrive during one step."""
    url = serve(models["char"].path, slots=16, queue=0)
    for _ in range(3):
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda _: complete(url, max_tokens=3000), range(16)))
        assert {answer.status_code for answer in answers} == {200}


def test_too_little_memory(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Engine, "step", failing(Engine.step, MemoryError(), 5))
    answer = complete(url)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "10")
    assert complete(url).status_code == 200


def test_the_cache_keeps_its_limit(models: dict[str, Model]) -> None:
    """Small networks have small states, and then the objects around them count."""
    model, limit = models["char"], 300_000
    tokens, cache = np.zeros(CHECKPOINT_EVERY + 1, np.int64), StateCache(limit)
    Prompt(model.network, model.tokenizer, tokens).read()  # a network works in memory that it keeps
    tracemalloc.start()
    try:
        for number in range(1000):
            prompt = Prompt(model.network, model.tokenizer, tokens)
            prompt.read_block()
            cache.add(number.to_bytes(16, "big"), prompt.checkpoint)
        assert cache.size <= limit
        assert 0.5 * limit < tracemalloc.get_traced_memory()[0] < 1.3 * limit
    finally:
        tracemalloc.stop()


def test_the_cache_counts_a_state_that_is_replaced() -> None:
    cache, alone = StateCache(10_000), StateCache(10_000)
    exact = Reading(CHECKPOINT_EVERY, np.zeros(500), exact=True)
    cache.add(b"text", Reading(CHECKPOINT_EVERY, np.zeros(10), exact=False))
    cache.add(b"text", exact)
    alone.add(b"text", exact)
    assert cache.size == alone.size > 4000
