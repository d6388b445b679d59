"""Interactive writing: a text that a user and a network write together."""

import numpy as np
import pytest

from textgen.errors import VocabularyError
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
