"""Bodies that are wrong are refused, and the field that is wrong is named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from clients import refusal, refuse
from helpers import fabricate, make_book

from textgen.runs.folder import Run


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"{'model': 'char'}", "not JSON"),
        (b'{"model": "char"} {}', "not JSON"),
        (b'{"n": ' + b"9" * 5000 + b"}", "not JSON"),
        ('{"model": "char"}'.encode("utf-16"), "not UTF-8"),
        (b'{"prompt": "\xff"}', "not UTF-8"),
        (b'{"prompt": "caf\xc3"}', "not UTF-8"),
        (b'\xef\xbb\xbf{"model": "char"}', "not JSON"),
        (b"[" * 90_000, "nested too deeply"),
        (b'{"a":' * 20_000, "nested too deeply"),
        (b"[]", "JSON object"),
        (b"null", "JSON object"),
        (b'"model"', "JSON object"),
        (b"1", "JSON object"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/completions", "/tokenize", "/detokenize"])
def test_a_body_that_is_no_json_object(
    client: httpx.Client, path: str, body: bytes, message: str
) -> None:
    assert message in refusal(client.post(path, content=body), 400)


@pytest.mark.parametrize("field", ["temperature", "stop", "ban", "prompt", "top_k", "model"])
def test_no_depth_of_nesting_is_an_error_of_the_server(client: httpx.Client, field: str) -> None:
    """A value that can just be read may be too deep to be shown in a message."""
    for depth in range(850, 1000):
        body = f'{{"{field}": {"[" * depth}{"]" * depth}}}'
        assert client.post("/v1/completions", content=body).status_code == 400, depth


NUMBERS = ["", "1", [1], {}, True]
WRONG = {
    "max_tokens": [*NUMBERS, 1.5, 1e400, float("nan"), -1, 10**30],
    "n": [*NUMBERS, 0, -1, 10_000, 1.0, 2**70],
    "logprobs": [*NUMBERS, -1, 101, 1_000_000, 0.5],
    "seed": [*NUMBERS, -2, 2**64, 1.5],
    "stream": ["yes", 1, 0, []],
    "echo": ["yes", 1, 0, {}],
    "stream_options": ["usage", [], True],
    "temperature": [
        *("hot", "", [], {}, True, [True], -1, float("nan"), 1e400, "1:2:3", 10**400),
        *([1] * 1001, ",".join(["1"] * 1001)),
    ],
    "top_p": ["", [], True, 0, -1, 1.1, float("nan")],
    "top_k": ["", [], -2, 1.5, 2**70],
    "min_p": ["", [], True, -1, 1.1, float("nan")],
    "repetition_penalty": ["", [], True, 0, -1, 101, float("nan"), 1e400],
    "repeat_last_n": ["", 0, -1, 5],
    "novel": ["", 1, -1, [], 1.5],
    "until_sentence": ["", 1, []],
    "stop": [1, "", [""], ["a", 1], [[]], {}, True, ["a"] * 65, "a" * 10_001],
    "ban": [1, "", [""], ["a", 1], {}, ["a"] * 1001, ["no such token"]],
    "logit_bias": [
        *(1, "a", [[1, 2]], {"1": "a"}, {"1": 101}, {"1": None}, {"1": True}),
        *({"1": float("nan")}, {"1": 10**400}, {"a": 1}, {"-1": 1}, {"": 1}, {"²": 1}),
        *({"999999": 1}, {"9" * 40: 1}, {str(i): 1 for i in range(1025)}),
    ],
    "prompt": [
        1,
        True,
        {},
        [],
        [None],
        ["a", 1],
        [["a"]],
        [[1], "a"],
        [1.5],
        [True],
        [-1],
        [10**6],
    ],
    "model": [1, True, [], {}],
    "suffix": ["end", 1, []],
    "best_of": [2, "1", 0],
    "frequency_penalty": [1, "0", float("nan")],
    "presence_penalty": [0.5, []],
    "beam": [2, 0],
    "length": [10],
}


@pytest.mark.parametrize(
    ("field", "value"),
    [(field, value) for field, values in WRONG.items() for value in values],
    ids=lambda value: ascii(value)[:30],
)
def test_a_field_that_is_wrong_is_named(client: httpx.Client, field: str, value: Any) -> None:
    refuse(client, field, **{field: value})


def test_a_list_of_too_many_prompts(client: httpx.Client) -> None:
    assert "128" in refuse(client, "n", prompt=["The "] * 129)
    assert "128" in refuse(client, "n", prompt=["The "] * 2, n=65)


def test_a_prompt_that_is_too_long(client: httpx.Client) -> None:
    for prompt in ("e" * 2001, [1] * 2001, ["e", "e" * 2001]):
        assert "2,001" in refuse(client, "prompt", prompt=prompt)
    long = {"model": "word", "prompt": "The ferry " * 1001}
    assert "2,000" in refuse(client, "prompt", **long)
    for body in (long, {"model": "char", "prompt": "e" * 2001}):
        assert "2,000" in refusal(client.post("/tokenize", json=body), 400, "prompt")


def test_a_schedule_that_is_too_long(client: httpx.Client) -> None:
    assert "1,000 numbers" in refuse(client, "temperature", temperature=[1] * 1001)
    body = {"model": "char", "temperature": [1] * 1000}
    assert client.post("/v1/completions", json=body).status_code == 200


def test_unknown_characters_are_named(client: httpx.Client) -> None:
    for prompt, shown in (("A snowman: ☃", "'☃'"), ("\0", r"'\x00'"), ("\ud800", r"'\ud800'")):
        assert shown in refuse(client, "prompt", prompt=prompt)
        answer = client.post("/tokenize", content=json.dumps({"model": "char", "prompt": prompt}))
        assert shown in refusal(answer, 400, "prompt")


@pytest.mark.parametrize("level", ["word", "byte"])
def test_half_a_pair_of_surrogates_is_text_to_words_and_bytes(
    client: httpx.Client, level: str
) -> None:
    fields = {"model": level, "prompt": "\ud800 a", "echo": True, "logprobs": 2}
    answer = client.post("/v1/completions", content=json.dumps(fields))
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["text"].startswith("\ud800 a")


@pytest.mark.parametrize(
    "name",
    [
        "nobody",
        "",
        ".",
        "..",
        "../char",
        "/etc/passwd",
        "char/",
        "CHAR",
        "char\0",
        "\ud800",
        "é" * 9999,
    ],
    ids=ascii,
)
def test_a_model_that_does_not_exist(client: httpx.Client, name: str) -> None:
    for path in ("/v1/completions", "/tokenize", "/detokenize"):
        answer = client.post(path, content=json.dumps({"model": name, "prompt": "", "tokens": []}))
        refusal(answer, 404, "model")
        assert answer.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("path", ["..%2F..%2Fetc%2Fpasswd", "%00", "a%2Fb", "%FF", "a" * 9999, "*"])
def test_a_path_to_a_model_that_does_not_exist(client: httpx.Client, path: str) -> None:
    answer = client.get(f"/v1/models/{path}")
    refusal(answer, 404, "model" if "model_not_found" in answer.text else None)
    refusal(client.get(f"/tokenizer_info?model={path}"), 404, "model")


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": 1}, "prompt"),
        ("/tokenize", {"prompt": ["a"]}, "prompt"),
        ("/tokenize", {"prompt": "", "model": []}, "model"),
        ("/detokenize", {}, "tokens"),
        ("/detokenize", {"tokens": "a"}, "tokens"),
        ("/detokenize", {"tokens": ["a"]}, "tokens"),
        ("/detokenize", {"tokens": [True]}, "tokens"),
        ("/detokenize", {"tokens": [-1]}, "tokens"),
        ("/detokenize", {"tokens": [10**400]}, "tokens"),
        ("/detokenize", {"tokens": [[]]}, "tokens"),
    ],
)
def test_what_cannot_be_tokenized(
    client: httpx.Client, path: str, fields: dict[str, Any], param: str
) -> None:
    refusal(client.post(path, json=fields), 400, param)


def test_messages_are_short(client: httpx.Client) -> None:
    for field in ("temperature", "stop", "model", "top_k"):
        answer = client.post(
            "/v1/completions", json={field: [1] if field == "stop" else "é" * 9999}
        )
        assert len(answer.content) < 10_000
    assert len(client.post("/detokenize", json={"tokens": ["x" * 9999]}).content) < 2000


def test_an_answer_that_would_need_too_much_memory(
    serve: Callable[..., str], runs: dict[str, Run]
) -> None:
    """A log-probability takes a hundred times the memory of a character of the prompt."""
    url = serve(runs["char"].path, max_prompt=100, max_tokens=100)
    with httpx.Client(base_url=url) as client:
        refuse(client, "logprobs", prompt="e" * 100, echo=True, logprobs=5, max_tokens=0)
        refuse(client, "logprobs", logprobs=20, max_tokens=100)
        refuse(client, "logprobs", logprobs=0, max_tokens=100, n=8)
        refuse(client, "logprobs", logprobs=1, max_tokens=99, until_sentence=True, n=2)
        refuse(client, "echo", prompt="e" * 100, echo=True, n=8)
        most = {"prompt": "e" * 100, "echo": True, "logprobs": 1, "max_tokens": 100}
        assert client.post("/v1/completions", json=most).status_code == 200
        many = {"prompt": "e" * 100, "max_tokens": 100, "n": 8}
        assert client.post("/v1/completions", json=many).status_code == 200


def test_a_token_has_one_bias(client: httpx.Client) -> None:
    def text(**bias: float) -> str:
        fields = {"model": "char", "seed": 1, "logit_bias": bias}
        return client.post("/v1/completions", json=fields).json()["choices"][0]["text"]

    assert text(**{"3": 2}) == text(**{"3": 2, "03": 2, "003": 2})


@pytest.mark.parametrize("model", ["char", "word", "byte", "docs"])
@pytest.mark.parametrize("prompt", ["", [[]], "The cafe\u0301 saw", "The café saw "])
def test_lists_of_log_probabilities_are_equally_long(
    client: httpx.Client, model: str, prompt: Any
) -> None:
    fields = {"model": model, "prompt": prompt, "echo": True, "logprobs": 2, "max_tokens": 3}
    [choice] = client.post("/v1/completions", json=fields).json()["choices"]
    found = choice["logprobs"]
    assert len({len(values) for values in found.values()}) == 1
    assert found["token_logprobs"][0] is found["top_logprobs"][0] is None
    assert None not in found["token_logprobs"][1:]


def test_messages_do_not_tell_where_files_are(serve: Callable[..., str], tmp_path: Path) -> None:
    Path("book.txt").write_text(make_book(), "utf-8")
    fabricate("checkpoints/bad", "book.txt")
    url = serve(folder=tmp_path / "checkpoints")
    for name in ("model.safetensors", "tokenizer.json"):
        Path("checkpoints/bad", name).write_bytes(b"damaged")
        answer = httpx.post(f"{url}/v1/completions", json={"model": "bad"})
        message = refusal(answer, 404, "model")
        assert f"bad/{name}" in message
        assert str(tmp_path) not in message
