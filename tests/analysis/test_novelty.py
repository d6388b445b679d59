"""Copied passages, compared with a brute-force search, and the `novelty` command."""

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result
from helpers import fabricate
from hypothesis import given
from hypothesis import strategies as st

from textgen.analysis.novelty import find_copies
from textgen.model import Model

TEXTS = st.text(st.sampled_from("aé☃b"), max_size=16)


@given(text=TEXTS, books=st.lists(TEXTS, min_size=1, max_size=3), least=st.integers(1, 4))
def test_all_that_is_copied_is_found(text: str, books: list[str], least: int) -> None:
    def longest_from(start: int) -> int:
        lengths = range(len(text) - start, 0, -1)
        return next((n for n in lengths if any(text[start : start + n] in b for b in books)), 0)

    lengths = [longest_from(start) for start in range(len(text))]
    copied = {
        at
        for start, length in enumerate(lengths)
        if length >= least
        for at in range(start, start + length)
    }
    sources = [(str(number), book) for number, book in enumerate(books)]
    found = find_copies(text, sources, least=least, most=99)
    assert found.characters == len(text)
    assert found.copied == (len(copied) / len(text) if text else 0)
    sizes = [len(passage.text) for passage in found.longest]
    assert sizes == sorted(sizes, reverse=True)
    assert max(sizes, default=0) == max((n for n in lengths if n >= least), default=0)
    told = [p.position + i for p in found.longest for i in range(len(p.text))]
    assert len(told) == len(set(told))
    assert set(told) <= copied
    for passage in found.longest:
        here, there = passage.position, passage.source_position
        assert text[here:].startswith(passage.text)
        assert dict(sources)[passage.source][there:].startswith(passage.text)


def test_no_more_passages_than_asked_for() -> None:
    found = find_copies("abcXdefgYhi", [("book", "abc defg hi")], least=2, most=2)
    assert [(p.text, p.position, p.source_position) for p in found.longest] == [
        ("defg", 4, 4),
        ("abc", 0, 0),
    ]
    assert found.copied == 9 / 11


def test_a_repetitive_text_takes_no_longer() -> None:
    # A quadratic search would take hours.
    found = find_copies("a" * 100_000, [("book", "a" * 100_000 + "b")])
    assert (found.copied, len(found.longest[0].text)) == (1.0, 100_000)


def test_words_that_a_model_does_not_know_copy_nothing() -> None:
    usual = "The lamp saw the ferry and left.\n" * 50
    Path("book.txt").write_text(usual + "The Xylophone saw the ferry and left.\n" + usual)
    model = Model([fabricate("run", "book.txt", level="word")])
    found = model.novelty("The Xylophone saw the ferry and left.", least=10)
    assert [passage.text for passage in found.longest] == [" saw the ferry and left."]
    assert found.copied == 24 / 37


def test_the_command(command: Callable[..., Result], models: dict[str, Model]) -> None:
    for model in models.values():
        result = command("novelty", model.path, "--json", input="!!! The ferry saw the ferry. Qx ☃")
        found = json.loads(result.stdout)
        assert found["longest"][0]["text"].strip() == "The ferry saw the ferry."
        assert found["longest"][0]["source"].endswith("book.txt")
        assert 0.6 < found["copied"] < 0.9
    plain = command("novelty", model.path, "--least", 99, input="The lamp saw the ferry.")
    assert plain.output == "0.0% of 23 characters copied, in passages of 99 or more\n"
    empty = command("novelty", model.path, input="")
    assert (empty.exit_code, empty.output) == (
        0,
        "0.0% of 0 characters copied, in passages of 20 or more\n",
    )
