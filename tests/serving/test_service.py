"""What the service promises: the same text for a seed, fair turns, and models that are followed."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from asking import PROMPT, complete, streamed, text_of
from helpers import fabricate, wait_for

from textgen.errors import RunError, TrainingError
from textgen.model import Model
from textgen.options.serving import ServingOptions
from textgen.preprocess.tokenizers import Tokenizer
from textgen.runs.folder import Run
from textgen.sampling.novel import Guard
from textgen.serving import application
from textgen.serving.messages import Json, LargeJson
from textgen.serving.models import Models


def slots_used(url: str) -> int:
    return sum(slot["is_processing"] for slot in httpx.get(f"{url}/slots").json())


@pytest.mark.parametrize("level", ["char", "word", "byte"])
def test_a_seed_gives_one_text_alone_and_among_others(
    url: str, level: str, models: dict[str, Model]
) -> None:
    prompt = PROMPT.strip()
    alone = text_of(url, prompt, model=level, seed=7)
    [sample] = models[level].samples(prompt, seed=7, length=200, temperature=0.9)
    assert alone == "".join(sample)
    with ThreadPoolExecutor(64) as pool:
        others = [
            pool.submit(text_of, url, prompt, model=level, max_tokens=60 + 3 * i) for i in range(63)
        ]
        found = pool.submit(text_of, url, prompt, model=level, seed=7)
        assert found.result() == alone
        assert len({other.result() for other in others}) == 63
    parts = streamed(url, prompt=prompt, model=level, seed=7)
    assert "".join(part["choices"][0]["text"] for part in parts) == alone


def test_greedy_texts_do_not_depend_on_others(url: str) -> None:
    alone = text_of(url, temperature=0)
    several = complete(url, [PROMPT] * 20, temperature=0, n=3)["choices"]
    assert [choice["text"] for choice in several] == [alone] * 60


@pytest.mark.parametrize("seed", [None, 3])
def test_a_text_that_goes_on_is_not_read_again(url: str, seed: int | None) -> None:
    """And it is the same text as if it had been read."""
    start = f"The {'lamp' if seed else 'goose'} saw the storm.\n"
    first = complete(url, start, seed=seed, max_tokens=300)
    assert first["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    longer = start + first["choices"][0]["text"]
    second = complete(url, longer, seed=5 if seed else None)
    cached = second["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert len(longer) - 64 <= cached < len(longer)
    assert cached % 64 == 0
    if seed:
        assert second["choices"][0]["text"] == text_of(url, longer, seed=5, model="char")
    again = complete(url, longer[:200], seed=6)
    assert again["usage"]["prompt_tokens_details"]["cached_tokens"] == (192 if seed else 0)


def test_cached_states_give_the_text_of_a_fresh_server(
    serve: Callable[..., str], models: dict[str, Model]
) -> None:
    urls = [serve(models["char"].path, cache=size) for size in (0, 10)]
    for _ in range(3):
        texts = [PROMPT * 10, PROMPT * 10]
        for _ in range(4):
            for i, url in enumerate(urls):
                texts[i] += text_of(url, texts[i], seed=1, max_tokens=90)
        assert texts[0] == texts[1]


def test_a_small_request_is_not_kept_waiting_by_a_large_one(
    serve: Callable[..., str], models: dict[str, Model]
) -> None:
    url = serve(models["char"].path, slots=4)
    ended = list[str]()

    def write(name: str, **fields: Any) -> None:
        complete(url, **fields)
        ended.append(name)

    large = threading.Thread(target=write, args=("large",), kwargs={"n": 64, "max_tokens": 2000})
    large.start()
    while (used := slots_used(url)) < 2:
        time.sleep(0.01)
    assert used == 2  # of four
    write("small", max_tokens=5)
    large.join()
    assert ended == ["small", "large"]


def test_a_full_queue_refuses(serve: Callable[..., str], models: dict[str, Model]) -> None:
    url = serve(models["char"].path, slots=1, queue=1)
    with ThreadPoolExecutor(8) as pool:
        body = {"prompt": PROMPT, "max_tokens": 3000}
        asked = [
            pool.submit(httpx.post, f"{url}/v1/completions", json=body, timeout=60)
            for _ in range(8)
        ]
        answers = [future.result() for future in asked]
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 503}
    refused = answers[statuses.index(503)]
    assert refused.headers["Retry-After"] == "1"
    assert refused.json()["error"]["code"] == "queue_full"


def test_the_training_text_is_not_read_for_clients_that_have_gone(
    serve: Callable[..., str], models: dict[str, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`novel` makes a table of it, one at a time."""
    made, go = list[int](), threading.Event()

    def make(texts: Sequence[str], length: int) -> Guard:
        made.append(length)
        assert go.wait(20)
        return Guard(texts, length)

    monkeypatch.setattr("textgen.sampling.sampler.Guard", make)
    url = serve(models["char"].path, slots=1, queue=1)

    def ask(novel: int, timeout: float = 20) -> httpx.Response:
        body = {"prompt": PROMPT, "novel": novel}
        return httpx.post(f"{url}/v1/completions", json=body, timeout=timeout)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, 30)
        wait_for(lambda: made == [30], 10)
        for novel in (31, 32):
            with pytest.raises(httpx.ReadTimeout):
                ask(novel, timeout=0.3)
        busy = ask(33)
        assert (busy.status_code, busy.json()["error"]["code"]) == (503, "queue_full")
        go.set()
        assert first.result().status_code == 200
    assert ask(34).status_code == 200
    assert made == [30, 34]


def test_a_request_ends_when_its_time_is_over(
    serve: Callable[..., str], models: dict[str, Model]
) -> None:
    url = serve(models["char"].path, max_seconds=0.3, slots=1)
    answer = complete(url, max_tokens=100_000)
    assert answer["choices"][0]["finish_reason"] == "length"
    assert 0 < answer["usage"]["completion_tokens"] < 100_000
    body = {"prompt": PROMPT, "max_tokens": 100_000, "n": 3}
    late = httpx.post(f"{url}/v1/completions", json=body)  # it has one slot for three texts
    assert (late.status_code, late.headers["Retry-After"]) == (503, "10")
    assert text_of(url, max_tokens=3)


def test_newer_weights_are_followed(serve: Callable[..., str], tmp_path: Path, book: Path) -> None:
    fabricate("checkpoints/grows", book, seed=0)
    url = serve(folder=tmp_path / "checkpoints")
    running, failed = threading.Event(), list[str]()

    def ask() -> None:
        while not running.is_set():
            answer = httpx.post(f"{url}/v1/completions", json={"prompt": PROMPT})
            if answer.status_code != 200:
                failed.append(answer.text)

    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(ask) for _ in range(2)]
        for seed in range(1, 6):
            fabricate("elsewhere", book, seed=seed)
            weights = Run.open("elsewhere").weights()
            Run.open("checkpoints/grows").save_weights(weights)
            expected = Model([Run.open("elsewhere")]).generate(PROMPT, seed=1, length=50)
            found = text_of(url, model="grows", seed=1, max_tokens=50, temperature=0.8)
            assert found == expected
        running.set()
        for future in asking:
            future.result()
    assert not failed


def test_a_replaced_run_is_followed(serve: Callable[..., str], tmp_path: Path, book: Path) -> None:
    fabricate("checkpoints/book", book)
    url = serve(folder=tmp_path / "checkpoints")
    first = complete(url, "The ", model="book")
    fabricate("checkpoints/book", book, level="word")
    second = complete(url, "The ", model="book")
    assert first["system_fingerprint"] != second["system_fingerprint"]
    assert httpx.get(f"{url}/tokenizer_info").json()["level"] == "word"


def test_damage_is_an_error_of_its_run(
    serve: Callable[..., str], tmp_path: Path, book: Path
) -> None:
    for name in ("good", "bad"):
        fabricate(f"checkpoints/{name}", book)
    url = serve(folder=tmp_path / "checkpoints")
    Path("checkpoints/bad/model.safetensors").write_bytes(b"x" * 100)
    body = {"model": "bad", "prompt": "The "}
    answer = httpx.post(f"{url}/v1/completions", json=body)
    assert answer.status_code == 404
    assert "model.safetensors" in answer.json()["error"]["message"]
    assert text_of(url, "The ", model="good")
    shutil.rmtree("checkpoints/bad")
    assert httpx.post(f"{url}/v1/completions", json=body).status_code == 404
    assert [m["id"] for m in httpx.get(f"{url}/v1/models").json()["data"]] == ["good"]


def test_the_newest_model_is_the_default(
    serve: Callable[..., str], tmp_path: Path, book: Path
) -> None:
    for name, saved in (("new", 2_000), ("old", 1_000)):
        fabricate(f"checkpoints/{name}", book)
        os.utime(f"checkpoints/{name}/model.safetensors", (saved, saved))
    url = serve(folder=tmp_path / "checkpoints")
    assert complete(url, "The ", model=None)["model"] == "new"
    assert httpx.get(f"{url}/v1/models/old").json() == {
        "id": "old",
        "object": "model",
        "created": 1000,
        "owned_by": "textgen",
    }


def test_two_runs_cannot_have_one_name(book: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        fabricate(tmp_path / folder / "run", book)
    with pytest.raises(RunError, match="two runs have the name run"):
        Models([tmp_path / "a" / "run", tmp_path / "b" / "run"], None)


def test_a_kernel_that_there_is_none_of(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEXTGEN_KERNELS", "abacus")
    with pytest.raises(TrainingError, match="TEXTGEN_KERNELS is 'abacus'; here it can be off"):
        application(run)


def test_no_runs(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="textgen train"):
        application(folder=tmp_path)
    assert application(folder=tmp_path, train=True)


@pytest.mark.parametrize("level", ["char", "word", "byte"])
def test_tokens_and_text(url: str, level: str, models: dict[str, Model]) -> None:
    text = "The café said.\n"
    tokenizer: Tokenizer = models[level].tokenizer
    ids = tokenizer.encode(text).tolist()
    for field in ("prompt", "content"):
        answer = httpx.post(f"{url}/tokenize", json={field: text, "model": level})
        assert answer.json() == {"tokens": ids, "count": len(ids)}
    answer = httpx.post(f"{url}/detokenize", json={"tokens": ids, "model": level})
    assert answer.json() == {"prompt": text, "content": text}
    info = httpx.get(f"{url}/tokenizer_info", params={"model": level}).json()
    assert (info["level"], info["vocabulary_size"]) == (level, len(tokenizer))
    start = httpx.post(f"{url}/tokenize", json={"prompt": info["eos_token"], "model": level})
    assert len(start.json()["tokens"]) == 1


def test_large_answers_are_the_same_json() -> None:
    content = {"é": [1, -2.5e-9, None, True, "\ud800☃"], "a": [], "b": {"c": [{}, ["d"]]}}
    assert LargeJson(content).body == Json(content).body


def test_documents_end(serve: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "poems.txt"
    path.write_text("one\ntwo\nthree\n" * 200, "utf-8")
    run = fabricate("checkpoints/poems", path, delimiter="\n")
    url = serve(run.path)
    assert httpx.get(f"{url}/tokenizer_info").json()["eos_token"] == "<|endoftext|>"
    end = httpx.post(f"{url}/tokenize", json={"prompt": "<|endoftext|>"}).json()["tokens"]
    assert end == [run.tokenizer.end]
    fields = {"model": "poems", "seed": 1, "max_tokens": 30}
    by_text = complete(url, "tw", **fields)
    by_tokens = complete(url, [end + run.tokenizer.encode("tw").tolist()], **fields)
    assert by_text["choices"] == by_tokens["choices"]
    bias = {"logit_bias": {str(end[0]): 100}}
    [choice] = complete(url, "tw", logprobs=1, **fields | bias)["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("", "stop")
    assert choice["logprobs"]["tokens"] == ["<|endoftext|>"]


def test_what_each_slot_does(serve: Callable[..., str], models: dict[str, Model]) -> None:
    url = serve(models["char"].path, slots=3)
    assert httpx.get(f"{url}/slots").json() == [
        {"id": number, "is_processing": False} for number in range(3)
    ]
    with httpx.stream(
        "POST", f"{url}/v1/completions", json={"max_tokens": 100_000, "stream": True}
    ) as answer:
        lines = answer.iter_lines()
        next(lines)
        [slot, *idle] = httpx.get(f"{url}/slots").json()
        assert slot["model"] == "char"
        assert slot["max_tokens"] == 100_000
        assert not any(other["is_processing"] for other in idle)
    for _ in range(100):
        if not slots_used(url):
            break
        time.sleep(0.02)
    else:
        raise AssertionError("the slot is not freed")


def test_figures_for_prometheus(serve: Callable[..., str], models: dict[str, Model]) -> None:
    url = serve(models["char"].path)
    complete(url, "The ", max_tokens=7)
    httpx.post(f"{url}/v1/completions", content=b"{")
    figures = dict(
        line.rsplit(" ", 1)
        for line in httpx.get(f"{url}/metrics").text.splitlines()
        if not line.startswith("#")
    )
    assert float(figures["textgen_tokens_total"]) == 7
    assert float(figures["textgen_prompt_tokens_total"]) == 4
    assert float(figures['textgen_requests_total{status="400"}']) == 1
    assert float(figures["textgen_slots_used"]) == 0


def test_limits_are_options() -> None:
    assert ServingOptions(slots=1).slots == 1
    for wrong in ({"slots": 0}, {"cors_origin": "x.org"}, {"max_body": 0}, {"api_key": ""}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ServingOptions(**wrong)
