"""Every filter against distributions worked out by hand."""

import numpy as np
import pytest

from textgen.options import SamplingOptions
from textgen.sampling.filters import (
    distribution,
    min_p,
    repetition_penalty,
    softmax,
    temperature,
    top_k,
    top_p,
)
from textgen.sampling.generate import draw

PROBABILITIES = np.array([0.1, 0.4, 0.2, 0.3])
LOGITS = np.log(PROBABILITIES)
TIED = np.log([0.25, 0.25, 0.25, 0.25])
ONE = np.array([-np.inf, 0.0, -np.inf, -np.inf])


def test_softmax() -> None:
    np.testing.assert_allclose(softmax(LOGITS + 1000), PROBABILITIES)


def test_temperature() -> None:
    # p ** 2 over its sum, 0.30; the square root over its sum
    np.testing.assert_allclose(softmax(temperature(LOGITS, 0.5)), np.array([1, 16, 4, 9]) / 30)
    roots = np.sqrt(PROBABILITIES)
    np.testing.assert_allclose(softmax(temperature(LOGITS, 2)), roots / roots.sum())
    np.testing.assert_allclose(softmax(temperature(LOGITS, 1)), PROBABILITIES)


@pytest.mark.parametrize("value", [0.0, 5e-324, 1e-9])
def test_no_temperature_is_greedy(value: float) -> None:
    np.testing.assert_array_equal(softmax(temperature(LOGITS, value)), [0, 1, 0, 0])


def test_greedy_takes_the_first_of_a_tie() -> None:
    np.testing.assert_array_equal(softmax(temperature(TIED, 0)), [1, 0, 0, 0])


@pytest.mark.parametrize(
    ("k", "expected"),
    [(1, [0, 1, 0, 0]), (2, [0, 4 / 7, 0, 3 / 7]), (4, PROBABILITIES), (99, PROBABILITIES)],
)
def test_top_k(k: int, expected: list[float]) -> None:
    np.testing.assert_allclose(softmax(top_k(LOGITS, k)), expected)


def test_top_k_keeps_exactly_k_of_a_tie() -> None:
    np.testing.assert_allclose(softmax(top_k(TIED, 3)), [1 / 3, 1 / 3, 1 / 3, 0])


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (1e-9, [0, 1, 0, 0]),
        (0.39, [0, 1, 0, 0]),
        (0.41, [0, 4 / 7, 0, 3 / 7]),
        (0.71, [0, 4 / 9, 2 / 9, 3 / 9]),
        (0.95, PROBABILITIES),
        (1.0, PROBABILITIES),
    ],
)
def test_top_p(p: float, expected: list[float]) -> None:
    np.testing.assert_allclose(softmax(top_p(LOGITS, p)), expected)


def test_top_p_stops_once_p_is_reached() -> None:
    np.testing.assert_allclose(softmax(top_p(TIED, 0.5)), [0.5, 0.5, 0, 0])


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (0.0, PROBABILITIES),
        (0.26, [0, 4 / 9, 2 / 9, 3 / 9]),
        (0.76, [0, 1, 0, 0]),
        (1, [0, 1, 0, 0]),
    ],
)
def test_min_p(p: float, expected: list[float]) -> None:
    np.testing.assert_allclose(softmax(min_p(LOGITS, p)), expected)


def test_min_p_keeps_all_of_a_tie() -> None:
    np.testing.assert_allclose(softmax(min_p(TIED, 1)), np.exp(TIED))


def test_repetition_penalty() -> None:
    logits = np.array([2.0, -2.0, 1.0, -1.0])
    np.testing.assert_array_equal(repetition_penalty(logits, {0, 1}, 2), [1, -4, 1, -1])
    np.testing.assert_array_equal(repetition_penalty(logits, set(), 2), logits)
    np.testing.assert_array_equal(logits, [2, -2, 1, -1])  # filters leave what they get


@pytest.mark.parametrize("options", [{"top_k": 2}, {"top_p": 0.5}, {"min_p": 0.5}, {"top_p": 1.0}])
def test_one_token_left_stays(options: dict[str, float]) -> None:
    settings = SamplingOptions(**options)
    np.testing.assert_array_equal(distribution(ONE, set(), settings), [0, 1, 0, 0])


def test_the_order_of_the_filters() -> None:
    # Token 1 is banned. The penalty halves log-probabilities' distance for none: they are
    # negative, so seen token 3 gets log(0.3) * 2 = log(0.09). Temperature 0.5 squares:
    # 0.01, 0.04, 0.0081; top-k 2 keeps tokens 2 and 0, and top-p 0.7 token 2 alone.
    options = {"temperature": 0.5, "repetition_penalty": 2.0, "top_k": 2}
    found = distribution(LOGITS, {3}, SamplingOptions(**options), banned=1)
    np.testing.assert_allclose(found, [0.2, 0, 0.8, 0])
    options["top_p"] = 0.7
    found = distribution(LOGITS, {3}, SamplingOptions(**options), banned=1)
    np.testing.assert_allclose(found, [0, 0, 1, 0])


def test_the_banned_token_has_no_chance_even_if_likeliest() -> None:
    found = distribution(LOGITS, set(), SamplingOptions(temperature=0), banned=1)
    np.testing.assert_array_equal(found, [0, 0, 0, 1])


def test_drawing_follows_the_probabilities() -> None:
    rng = np.random.default_rng(0)
    probabilities = np.array([0, 0.1, 0.4, 0, 0.2, 0.3, 0])
    n = 20_000
    counts = np.bincount([draw(probabilities, rng) for _ in range(n)], minlength=7)
    assert not counts[probabilities == 0].any()
    expected = n * probabilities[probabilities > 0]
    chi_squared = np.sum((counts[probabilities > 0] - expected) ** 2 / expected)
    assert chi_squared < 16.27  # 3 degrees of freedom, p = 0.001


class Extremes:
    """Random numbers at the ends of [0, 1)."""

    def __init__(self, value: float) -> None:
        self.random = lambda: value


@pytest.mark.parametrize(("number", "drawn"), [(0.0, 1), (np.nextafter(1, 0), 2)])
def test_the_ends_of_the_interval_never_draw_the_impossible(number: float, drawn: int) -> None:
    for scale in (1.0, 1 / 3, 0.1):
        assert draw(np.array([0, 0.5, 0.5, 0]) * scale, Extremes(number)) == drawn
