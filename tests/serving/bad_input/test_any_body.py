"""Any body gets an answer.

A test tries few bodies; `pytest --hypothesis-profile=many` tries thousands.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from clients import refusal, slots_used
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from textgen.runs.folder import Run

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 1 << 70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)
GOOD = {
    "model": st.sampled_from(["char", "word", "byte", "docs"]),
    "prompt": st.sampled_from(["", "The ", "The ferry saw", ["The ", "“"], [1, 2], [[1], [2, 3]]])
    | st.text("The ferry.\n", max_size=80),
    "max_tokens": st.integers(0, 20),
    "n": st.integers(1, 3),
    "seed": st.integers(-1, 1 << 63),
    "temperature": st.sampled_from([0, 1e-300, 0.5, 2, 1e299, "0.5,1", "1.2:0.6", [0, 1]]),
    "top_k": st.integers(-1, 100),
    "top_p": st.floats(0, 1),
    "min_p": st.floats(0, 1),
    "repetition_penalty": st.floats(0.01, 100),
    "repeat_last_n": st.integers(1, 99),
    "ban": st.sampled_from(["e", ["e", "T"], " ", "ferry"]),
    "novel": st.integers(2, 30),
    "stop": st.sampled_from(["e", ["er", "\n"], ["a"] * 5]) | st.text("The fry", max_size=3),
    "until_sentence": st.booleans(),
    "stream": st.booleans(),
    "stream_options": st.just({"include_usage": True}),
    "echo": st.booleans(),
    "logprobs": st.integers(0, 100),
    "logit_bias": st.dictionaries(st.integers(0, 30).map(str), st.floats(-100, 100), max_size=3),
    "best_of": st.integers(1, 3),
    "suffix": st.none(),
    "user": st.text(max_size=5),
    "content": st.text(max_size=5),
    "tokens": st.lists(st.integers(-1, 30), max_size=5),
}
PATHS = st.sampled_from(["/v1/completions"] * 8 + ["/tokenize", "/detokenize"])
relaxed = settings(suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def ask(
    serve: Callable[..., str], runs: dict[str, Run], errors: list[str]
) -> Iterator[Callable[[str, bytes], None]]:
    """Send a body; check that the answer is a good one, or a refusal."""
    url = serve(*(run.path for run in runs.values()), slots=4, max_tokens=30, max_prompt=100)
    with httpx.Client(base_url=url, timeout=30) as client:

        def ask(path: str, body: bytes) -> None:
            answer = client.post(path, content=body)
            if answer.status_code == 200:
                check_answer(path, answer)
            else:
                assert answer.status_code in (400, 404), answer.text
                refusal(answer, answer.status_code, answer.json()["error"]["param"])
            assert errors == []

        yield ask
        assert slots_used(url) == 0


def check_answer(path: str, answer: httpx.Response) -> None:
    if answer.headers["content-type"].startswith("application/json"):
        found = json.loads(answer.content, parse_constant=no_constant)
        assert "choices" in found or "tokens" in found or "prompt" in found
        for choice in found.get("choices", []):
            assert choice["finish_reason"] in ("stop", "length")
        return
    *events, done, end = answer.content.split(b"\n\n")
    assert (done, end) == (b"data: [DONE]", b"")
    for event in events:
        assert "choices" in json.loads(event.removeprefix(b"data: "), parse_constant=no_constant)


def no_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


@relaxed
@given(PATHS, st.data())
def test_any_value_in_a_field(
    ask: Callable[[str, bytes], None], path: str, data: st.DataObject
) -> None:
    names = data.draw(st.sets(st.sampled_from(sorted(GOOD)), max_size=8))
    fields = {name: data.draw(GOOD[name]) for name in sorted(names)}
    for name in data.draw(st.lists(st.sampled_from(sorted(GOOD)), max_size=2)):
        fields[name] = data.draw(VALUES)
    ask(path, json.dumps(fields).encode())


@relaxed
@given(PATHS, VALUES | st.dictionaries(st.sampled_from(sorted(GOOD)), VALUES))
def test_any_json(ask: Callable[[str, bytes], None], path: str, value: Any) -> None:
    ask(path, json.dumps(value).encode())


@relaxed
@given(PATHS, st.data())
def test_any_bytes(ask: Callable[[str, bytes], None], path: str, data: st.DataObject) -> None:
    body = json.dumps({"model": "char", "prompt": "The ", "max_tokens": 5, "stop": ["é"]}).encode()
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(body)))
        end = data.draw(st.integers(start, len(body)))
        body = body[:start] + data.draw(st.binary(max_size=9)) + body[end:]
    ask(path, body)
