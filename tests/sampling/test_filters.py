"""Every filter, compared with distributions computed by hand."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from textgen.options.sampling import SamplingOptions
from textgen.sampling.filters import (
    Filter,
    apply_temperature,
    draw,
    log_softmax,
    min_p,
    repetition_penalty,
    softmax,
    top_k,
    top_p,
)

PROBABILITIES = np.array([0.1, 0.4, 0.2, 0.3])
LOGITS = np.log(PROBABILITIES)
TIED = np.log([0.25, 0.25, 0.25, 0.25])
ONE = np.array([-np.inf, 0.0, -np.inf, -np.inf])
IDS = np.arange(4)


def distribution(
    logits: np.ndarray,
    options: SamplingOptions,
    position: int = 0,
    banned: tuple[int, ...] = (),
    seen: np.ndarray | None = None,
) -> np.ndarray:
    temperature = options.temperature.at(position, options.length)
    return Filter.of(options, banned).weights(logits, temperature, seen)


def test_softmax() -> None:
    np.testing.assert_allclose(softmax(LOGITS + 1000), PROBABILITIES)


def test_temperature() -> None:
    # 0.5 squares the probabilities, which then sum to 0.30; 2 takes their square roots.
    np.testing.assert_allclose(
        softmax(apply_temperature(LOGITS, 0.5)), np.array([1, 16, 4, 9]) / 30
    )
    roots = np.sqrt(PROBABILITIES)
    np.testing.assert_allclose(softmax(apply_temperature(LOGITS, 2)), roots / roots.sum())
    np.testing.assert_allclose(softmax(apply_temperature(LOGITS, 1)), PROBABILITIES)


@pytest.mark.parametrize("value", [0.0, 5e-324, 1e-9])
def test_no_temperature_is_greedy(value: float) -> None:
    np.testing.assert_array_equal(softmax(apply_temperature(LOGITS, value)), [0, 1, 0, 0])


def test_greedy_takes_the_first_of_a_tie() -> None:
    np.testing.assert_array_equal(softmax(apply_temperature(TIED, 0)), [1, 0, 0, 0])


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
    seen = np.array([True, True, False, False])
    np.testing.assert_array_equal(repetition_penalty(logits, seen, 2), [1, -4, 1, -1])
    np.testing.assert_array_equal(repetition_penalty(logits, ~seen & seen, 2), logits)
    np.testing.assert_array_equal(logits, [2, -2, 1, -1])  # filters do not modify their input


@pytest.mark.parametrize("options", [{"top_k": 2}, {"top_p": 0.5}, {"min_p": 0.5}, {"top_p": 1.0}])
def test_one_token_left_stays(options: dict[str, float]) -> None:
    settings = SamplingOptions(**options)
    np.testing.assert_array_equal(distribution(ONE, settings), [0, 1, 0, 0])


def test_the_order_of_the_filters() -> None:
    # Token 1 is banned. The logits are negative, so the penalty multiplies that of token 3, the
    # only one seen: log(0.3) * 2 = log(0.09). Temperature 0.5 squares the probabilities: 0.01,
    # 0.04, 0.0081. Top-k 2 keeps tokens 2 and 0. Top-p 0.7 keeps token 2 alone.
    options = {"temperature": 0.5, "repetition_penalty": 2.0, "top_k": 2}
    masks = {"banned": (1,), "seen": IDS == 3}
    found = distribution(LOGITS, SamplingOptions(**options), **masks)
    np.testing.assert_allclose(found / found.sum(), [0.2, 0, 0.8, 0])
    options["top_p"] = 0.7
    found = distribution(LOGITS, SamplingOptions(**options), **masks)
    np.testing.assert_allclose(found, [0, 0, 1, 0])


def test_the_banned_token_has_no_chance_even_if_likeliest() -> None:
    found = distribution(LOGITS, SamplingOptions(temperature=0), banned=(1,))
    np.testing.assert_array_equal(found, [0, 0, 0, 1])


def test_log_softmax() -> None:
    np.testing.assert_allclose(log_softmax(LOGITS * 1 + 1000), LOGITS)


LOGIT_ROWS = arrays(np.float64, (3, 6), elements=st.sampled_from([-3.0, -1.0, 0.0, 0.5, 2.0]))


def likeliest(row: np.ndarray) -> list[int]:
    """Return all tokens, likeliest first; of tied tokens, the lower id comes first."""
    return sorted(range(len(row)), key=lambda token: (-row[token], token))


@given(logits=LOGIT_ROWS, k=st.integers(1, 7), p=st.floats(0.01, 1.0))
def test_filters_keep_what_a_sorted_list_would(logits: np.ndarray, k: int, p: float) -> None:
    for row, by_k, by_p in zip(logits, top_k(logits, k), top_p(logits, p), strict=True):
        order = likeliest(row)
        assert set(np.flatnonzero(np.isfinite(by_k))) == set(order[:k])
        kept, reached = set(), 0.0
        for token in order:
            if reached >= p - 1e-12:
                break
            kept.add(token)
            reached += float(softmax(row)[token])
        assert set(np.flatnonzero(np.isfinite(by_p))) in (kept, kept - {token}, kept | {token})
        for filtered in (by_k, by_p):
            finite = np.isfinite(filtered)
            np.testing.assert_array_equal(filtered[finite], row[finite])


@given(
    logits=LOGIT_ROWS,
    options=st.fixed_dictionaries(
        {},
        optional={
            "temperature": st.sampled_from([0, 0.3, 1, 5]),
            "top_k": st.integers(1, 7),
            "top_p": st.floats(0.01, 1),
            "min_p": st.floats(0, 1),
            "repetition_penalty": st.sampled_from([0.5, 1.0, 3.0]),
        },
    ),
    seen=arrays(np.bool_, (3, 6)),
)
def test_rows_are_filtered_each_for_itself(
    logits: np.ndarray, options: dict[str, Any], seen: np.ndarray
) -> None:
    settings = SamplingOptions(**options)
    together = distribution(logits, settings, seen=seen)
    assert (together.max(axis=1) == 1).all()
    for row, weights, mask in zip(logits, together, seen, strict=True):
        np.testing.assert_array_equal(distribution(row, settings, seen=mask), weights)


@given(
    logits=LOGIT_ROWS,
    temperatures=st.lists(st.sampled_from([0, 1e-9, 0.3, 1, 5]), min_size=3, max_size=3),
)
def test_rows_may_have_temperatures_of_their_own(
    logits: np.ndarray, temperatures: list[float]
) -> None:
    together = apply_temperature(logits, np.array(temperatures)[:, None])
    for row, value, found in zip(logits, temperatures, together, strict=True):
        np.testing.assert_array_equal(apply_temperature(row, value), found)


def test_temperatures_take_turns_or_slide() -> None:
    turns = SamplingOptions(temperature="0.5,1,2").temperature
    assert [turns.at(i, 5) for i in range(5)] == [0.5, 1, 2, 0.5, 1]
    assert SamplingOptions(temperature=[0.5, 1, 2]).temperature == turns
    slide = SamplingOptions(temperature="1.2:0.6").temperature
    np.testing.assert_allclose([slide.at(i, 4) for i in range(4)], [1.2, 1.0, 0.8, 0.6])
    assert slide.at(0, 1) == 1.2
    assert slide.at(9, 4) == pytest.approx(0.6)  # beyond the length
    assert SamplingOptions(temperature=0.7).temperature.at(99, 100) == 0.7
    # With "0,1", position 0 is greedy and position 1 has temperature 1.
    options = SamplingOptions(temperature="0,1")
    np.testing.assert_array_equal(distribution(LOGITS, options, 0), [0, 1, 0, 0])
    np.testing.assert_allclose(distribution(LOGITS, options, 1), PROBABILITIES / 0.4)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"temperature": 1}, PROBABILITIES),
        ({"temperature": 0.5}, np.array([1, 16, 4, 9]) / 30),
        ({"temperature": 1, "top_k": 3}, np.array([0, 4, 2, 3]) / 9),
        ({"temperature": 1, "top_p": 0.6}, np.array([0, 4, 0, 3]) / 7),
        ({"temperature": 1, "min_p": 0.4}, np.array([0, 4, 2, 3]) / 9),
        ({"temperature": "0.5", "top_k": 3, "top_p": 0.8}, np.array([0, 16, 0, 9]) / 25),
    ],
)
def test_drawing_follows_the_filtered_distribution(
    options: dict[str, Any], expected: np.ndarray
) -> None:
    rng, n = np.random.default_rng(0), 20_000
    weights = distribution(np.tile(LOGITS, (n, 1)), SamplingOptions(**options))
    counts = np.bincount(draw(weights, rng.random(n)), minlength=4)
    likely = expected > 0
    assert not counts[~likely].any()
    chi_squared = np.sum((counts[likely] - n * expected[likely]) ** 2 / (n * expected[likely]))
    limit = {1: 10.83, 2: 13.82, 3: 16.27}[likely.sum() - 1]  # p = 0.001
    assert chi_squared < limit


@pytest.mark.parametrize(("number", "drawn"), [(0.0, 1), (np.nextafter(1, 0), 2)])
def test_the_ends_of_the_interval_never_draw_the_impossible(number: float, drawn: int) -> None:
    for scale in (1.0, 1 / 3, 0.1):
        weights = np.array([[0, 0.5, 0.5, 0]]) * scale
        assert draw(weights, np.array([number])) == [drawn]
