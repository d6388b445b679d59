"""Interactive writing: a text that a user and a network write together."""

import weakref
from typing import Any

import numpy as np
import pytest

from textgen.errors import OptionError, VocabularyError
from textgen.model import Model


def test_drawing_token_by_token_is_generating(models: dict[str, Model]) -> None:
    for model in models.values():
        options = {"temperature": 1.1, "top_k": 9, "repetition_penalty": 1.2}
        writer = model.writer("The lamp ", seed=5, **options)
        for _ in range(20):
            writer.draw()
        expected = model.generate("The lamp ", seed=5, length=20, **options)
        assert writer.added.startswith(expected)  # it may end in part of a character
        assert writer.text == "The lamp " + writer.added


def test_going_back_is_never_having_gone(model: Model) -> None:
    writer = model.writer("The ")
    before = writer.likeliest(5)
    assert [one.probability for one in before] == sorted(
        (one.probability for one in before), reverse=True
    )
    writer.choose(before[2].token)
    assert writer.text == "The " + before[2].text
    writer.type("ferry saw")
    writer.draw()
    for _ in range(3):
        assert writer.back()
    assert (writer.text, writer.likeliest(5)) == ("The ", before)
    assert not writer.back()


def test_a_typed_text_is_read_as_a_prompt_is(model: Model) -> None:
    writer = model.writer("The lamp")
    writer.type(" saw the")
    one, other = writer.likeliest(3), model.writer("The lamp saw the").likeliest(3)
    assert [x.token for x in one] == [x.token for x in other]
    np.testing.assert_allclose([x.probability for x in one], [x.probability for x in other], 1e-5)
    with pytest.raises(VocabularyError):
        writer.type("Ж")
    assert writer.text == "The lamp saw the"


def test_a_word_that_is_not_known_stays_as_it_was_typed(models: dict[str, Model]) -> None:
    writer = models["word"].writer("The ")
    writer.type("Xylophone")
    writer.draw()
    assert writer.text.startswith("The Xylophone")
    writer = models["word"].writer("The ")
    writer.type("lamp saw")
    assert writer.text == "The lamp saw"
    expected = models["word"].writer("The lamp saw").likeliest(3)
    for found, likely in zip(writer.likeliest(3), expected, strict=True):
        assert found == likely._replace(probability=pytest.approx(likely.probability, abs=1e-6))


def test_undoing_a_long_text_keeps_few_states_and_reads_little_again(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, states, steps = model.fast_network.step, list[weakref.ref[Any]](), 0

    def counted(tokens: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
        nonlocal steps
        steps += 1
        logits, after = step(tokens, state)
        states.append(weakref.ref(logits))
        return logits, after

    monkeypatch.setattr(model.fast_network, "step", counted)
    options = {"seed": 1, "repetition_penalty": 1.2, "repeat_last_n": 30}
    writer = model.writer("The ", **options)
    steps = 0
    screens = []
    for _ in range(400):
        screens.append((writer.text, writer.likeliest(5)))
        writer.draw()
    assert steps == 399  # each token is read once
    assert sum(state() is not None for state in states) < 12
    for undone in (1, 2, 150, 200, 7):
        steps = 0
        for _ in range(undone):
            assert writer.back()
        del screens[len(writer.added) + 1 :]  # a token is a character
        assert (writer.text, writer.likeliest(5)) == screens[-1]
        assert steps < 64
    writer.type("lamp")
    assert writer.text == screens[-1][0] + "lamp"
    assert writer.likeliest(5) != screens[-1][1]


def test_the_tail_is_the_end_of_the_text(models: dict[str, Model]) -> None:
    for model in models.values():
        writer = model.writer("The café ", seed=3, temperature=3.0)
        assert [writer.tail(length) for length in (0, 3, 99)] == ["", "fé ", "The café "]
        for _ in range(6):
            for _ in range(15):
                writer.draw()
            writer.type("“café”")
            for length in (0, 1, 5, 9, 20, 50, 10_000):
                assert writer.tail(length) == writer.text[max(len(writer.text) - length, 0) :]


@pytest.mark.parametrize("level", ["char", "word", "byte"])
@pytest.mark.parametrize("token", [-1, 1 << 70, None, "a", 1.0, True])
def test_what_is_no_token_cannot_be_chosen(
    models: dict[str, Model], level: str, token: Any
) -> None:
    model = models[level]
    writer = model.writer("The lamp")
    writer.draw()
    before = writer.text, writer.likeliest(5)
    for other in (token, len(model.tokenizer)):
        with pytest.raises(OptionError, match="token must be"):
            writer.choose(other)
    assert (writer.text, writer.likeliest(5)) == before
    writer.choose(np.int64(len(model.tokenizer) - 1))
    assert writer.back()


@pytest.mark.parametrize("name", ["count", "log_probabilities", "stop"])
def test_options_that_a_writer_lacks_are_refused(model: Model, name: str) -> None:
    with pytest.raises(OptionError, match=name):
        model.writer("The ", **{name: 3 if name == "count" else "x"})


def test_undone_text_leaves_no_trace(model: Model) -> None:
    options = {"repetition_penalty": 5.0}
    writer, plain = model.writer("The ", **options), model.writer("The ", **options)
    writer.type("storm")
    writer.likeliest(3)
    for _ in range(5):
        writer.draw()
    for _ in range(6):
        writer.back()
    for one in (writer, plain):
        one.type("ferry")
    assert (writer.text, writer.likeliest(9)) == (plain.text, plain.likeliest(9))
