"""Passages of a text that are copied from the training text."""

import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from clients import error_of
from helpers import fabricate, make_book, wait_for

from textgen.model import Model


def passages_of(url: str, text: str, **fields: Any) -> dict[str, Any]:
    answer = httpx.post(f"{url}/v1/passages", json={"text": text} | fields)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("level", ["char", "word", "byte"])
def test_passages_are_those_of_novelty(url: str, level: str, models: dict[str, Model]) -> None:
    book = make_book()
    text = f"🦆 {book[300:400]} quack {book[50:90]}! Something é quite new."
    for least in (5, 20, 60):
        found = passages_of(url, text, model=level, least=least)
        expected = models[level].novelty(text, least, most=1000)
        assert found["copied"] == expected.copied
        assert len(found["passages"]) == len(expected.longest)
        starts = [passage["start"] for passage in found["passages"]]
        assert starts == sorted(starts)
        for passage in found["passages"]:
            start, length, at = (passage[k] for k in ("start", "length", "source_position"))
            assert length >= least
            assert passage["source"] == "book.txt"
            assert text[start : start + length] == book[at : at + length]
            assert passage["before"] == book[max(at - 200, 0) : at]
            assert passage["after"] == book[at + length : at + length + 200]
    assert passages_of(url, text, model=level)["passages"][0]["start"] == 2


def test_passages_of_books_with_one_name(serve: Callable[..., str], tmp_path: Path) -> None:
    books = []
    for name in ("a", "b"):
        books.append(tmp_path / name / "book.txt")
        books[-1].parent.mkdir()
        books[-1].write_text(f"The {name} came with its own {name * 30}.\n" * 50, "utf-8")
    url = serve(fabricate("checkpoints/both", *books).path)
    for name in ("a", "b"):
        [passage] = passages_of(url, f"§{name * 30}.\n", model="both")["passages"]
        assert passage["source"] == "book.txt"
        assert passage["before"].endswith(f"own {name}"[:-1])
        assert f"The {name} came" in passage["after"]


def test_passages_that_cannot_be_looked_for(
    serve: Callable[..., str], tmp_path: Path, book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = fabricate("checkpoints/shared", book)
    url = serve(folder=tmp_path / "checkpoints")

    def refused(**fields: Any) -> tuple[int, str | None, str | None]:
        return error_of(httpx.post(f"{url}/v1/passages", json={"text": "The lamp"} | fields))

    assert passages_of(url, "") == {"copied": 0.0, "passages": []}
    odd = httpx.post(f"{url}/v1/passages", content=rb'{"text": "\ud800\u0000"}')
    assert odd.json() == {"copied": 0.0, "passages": []}
    for text in (None, 5, ["x"], "x" * 1_000_001):
        assert refused(text=text) == (400, "text", None)
    for least in (0, -1, 1.5, True, "5", 1 << 70):
        assert refused(least=least) == (400, "least", None)
    assert refused(model=5) == (400, "model", None)
    assert refused(model="none") == (404, "model", "model_not_found")
    with monkeypatch.context() as patch:
        patch.setattr("textgen.serving.passages.LONGEST_COMPARABLE", run.tokens - 1)
        assert refused() == (400, "model", "corpus_too_long")
    shutil.rmtree(run.path / "corpus")
    answer = httpx.post(f"{url}/v1/passages", json={"text": "The lamp"})
    assert error_of(answer) == (404, "model", "corpus_unavailable")
    assert answer.json()["error"]["message"].startswith("shared has no corpus/; copy it from")


def test_passages_of_clients_that_have_gone_are_not_looked_for(
    serve: Callable[..., str], models: dict[str, Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = list[str](), threading.Event()

    def wait(_path: Path, text: str, _least: int) -> dict[str, Any]:
        begun.append(text)
        assert go.wait(20)
        return {"copied": 0.0, "passages": []}

    monkeypatch.setattr("textgen.serving.service.copied_passages", wait)
    monkeypatch.setattr("textgen.serving.service._MOST_WAITING", 2)
    url = serve(models["char"].path)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(passages_of, url, "first")
        wait_for(lambda: begun == ["first"], 10)
        for _ in range(2):
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"{url}/v1/passages", json={"text": "gone"}, timeout=0.3)
        busy = httpx.post(f"{url}/v1/passages", json={"text": "busy"}, timeout=10)
        assert error_of(busy) == (503, None, "queue_full")
        assert busy.headers["Retry-After"]
        go.set()
        first.result()
    passages_of(url, "last")
    assert begun == ["first", "last"]


def test_passages_of_a_long_book_are_found_within_a_second(
    serve: Callable[..., str], tmp_path: Path
) -> None:
    words = make_book(5000).split(" ")
    book = " ".join(np.random.default_rng(1).choice(words, 180_000))
    assert len(book) > 1e6
    (tmp_path / "long.txt").write_text(book, "utf-8")
    url = serve(fabricate("checkpoints/long", tmp_path / "long.txt").path)
    text = book[500_000:502_000]
    start = time.perf_counter()
    found = passages_of(url, text)
    assert time.perf_counter() - start < 1
    assert [(p["start"], p["length"]) for p in found["passages"]] == [(0, 2000)]
