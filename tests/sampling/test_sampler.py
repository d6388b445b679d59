"""The sampler: novel text, banned tokens and beam search."""

import shutil

import pytest

import textgen
from textgen.errors import OptionError, RunError
from textgen.model import Model


@pytest.mark.parametrize(("level", "length"), [("char", 2), ("word", 7), ("byte", 2)])
def test_novel_text_copies_nothing(level: str, length: int, models: dict[str, Model]) -> None:
    model = models[level]
    book = (model.path.parent / "book.txt").read_text("utf-8")

    def copies(**options: int) -> int:
        text = "The lamp" + model.generate("The lamp", seed=1, length=200, **options)
        after_the_prompt = range(9 - length, len(text) - length + 1)
        return sum(text[start : start + length] in book for start in after_the_prompt if start >= 0)

    assert copies() > 0
    assert copies(novel=length) == 0


def test_a_run_without_its_corpus_writes_but_compares_nothing(model: Model) -> None:
    shutil.copytree(model.path, "handed", ignore=shutil.ignore_patterns("corpus"))
    handed = textgen.load("handed")
    assert handed.generate(seed=1, length=9) == model.generate(seed=1, length=9)
    for compare in (lambda: handed.generate(novel=9), lambda: handed.novelty("The lamp")):
        with pytest.raises(RunError, match="handed has no corpus/; copy it"):
            compare()


def test_banned_tokens_are_never_written(models: dict[str, Model]) -> None:
    text = models["char"].generate(length=300, seed=1, ban=("e", "\n"))
    assert not set(text) & set("e\n")
    text = models["word"].generate(length=300, seed=1, ban=["lamp"], temperature=2)
    assert "lamp" not in text
    assert "ferry" in text
    with pytest.raises(OptionError, match="ban must be a token that the model knows"):
        models["char"].generate(ban="lamp")
    every = tuple(models["char"].tokenizer.vocabulary)
    with pytest.raises(OptionError, match="ban leaves no token"):
        models["char"].generate(ban=every)


def test_beams(models: dict[str, Model]) -> None:
    for model in models.values():
        greedy = model.generate("The ", length=12, temperature=0)
        assert model.generate("The ", length=12, beam=1) == greedy
        best, second = model.samples("The ", count=2, length=12, beam=8, temperature=1)
        assert sum(best.log_probabilities) >= sum(second.log_probabilities)
        assert "".join(best) != "".join(second)
    with pytest.raises(OptionError, match="count must be at most the 2 texts"):
        model.samples(count=3, beam=2)
    with pytest.raises(OptionError, match="novel cannot be combined with a beam"):
        model.samples(beam=2, novel=9)
