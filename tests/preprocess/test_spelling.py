"""The cost of spelling tokens that are not in a vocabulary."""

import math
from itertools import product

import pytest

from textgen.preprocess.spelling import Spelling


def test_the_cost_follows_from_the_formula() -> None:
    # Tokens "ab" and "b": the pairs are ^a ab b$ ^b b$, the characters that follow are a b $ b $.
    unicode = 1 / (0x110000 + 1)
    a, b, end, other = ((count + 3 * unicode) / 8 for count in (1, 2, 2, 0))
    first_b, b_then_end = (1 + 2 * b) / 4, (2 + 1 * end) / 3
    b_then_b = (0 + 1 * b) / 3
    spelling = Spelling(["ab", "b"])
    assert spelling.cost("b") == pytest.approx(-math.log(first_b * b_then_end))
    assert spelling.cost("bb") == pytest.approx(-math.log(first_b * b_then_b * b_then_end))
    # Nothing is known of what follows an unknown character.
    first_other = 2 * other / 4
    assert spelling.cost("ж") == pytest.approx(-math.log(first_other * end))
    assert spelling.cost("ба") == pytest.approx(-math.log(first_other * other * end))
    assert a < b


def test_the_probabilities_of_all_tokens_add_up_to_1() -> None:
    # All tokens of characters that are not in the vocabulary are equal, so a sum can be taken.
    spelling = Spelling(["a"])
    others = 0x110000 - 1

    def total(length: int) -> float:
        """Return the probability of all tokens of a length, by the places where they have an a."""
        return sum(
            math.exp(-spelling.cost("".join(token))) * others ** token.count("ж")
            for token in product("aж", repeat=length)
        )

    totals = [total(length) for length in range(14)]
    assert 0.99 < sum(totals) < 1  # the rest is that of longer tokens


def test_words_of_the_same_kind_cost_less() -> None:
    spelling = Spelling(["lamp", "lamps", "camp", "damp"])
    assert spelling.cost("champs") < spelling.cost("xqzkjw") == spelling.cost("猫に小判です")
    assert spelling.cost("lamplamp") > spelling.cost("lamp")
    assert math.isfinite(Spelling([]).cost("lamp"))
