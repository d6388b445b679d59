"""The generation loop, with networks whose next token is known: expected strings are exact."""

from collections.abc import Sequence
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textgen.options.architecture import Architecture
from textgen.options.sampling import SamplingOptions
from textgen.preprocess.tokenizers import (
    ByteTokenizer,
    CharacterTokenizer,
    Tokenizer,
    WordTokenizer,
)
from textgen.sampling.beam import Hypothesis
from textgen.sampling.engine import Engine
from textgen.sampling.generation import Generation
from textgen.sampling.network import NumpyNetwork
from textgen.sampling.novel import Guard
from textgen.sampling.prompt import Prompt, Request

ALPHABET = CharacterTokenizer("abcdefghijklmnopqrstuvwxyz")


class Next:
    """A network that always expects the id after the last one; it records its calls."""

    def __init__(self, vocabulary: int = 26) -> None:
        self.vocabulary = vocabulary
        self.calls: list[list[int]] = []

    def zero_state(self, rows: int) -> int:
        assert rows == 1
        return 0

    def take(self, state: int, rows: list[int]) -> int:
        assert rows == [0]  # there is one text, which stays until it ends
        return state

    def join(self, states: list[int]) -> int:
        (state,) = states
        return state

    def forward(self, tokens: np.ndarray, state: int) -> tuple[None, int]:
        assert state == sum(map(len, self.calls))  # the state given is the one returned last
        self.calls.append(tokens[:, 0].tolist())
        return None, state + len(tokens)

    def step(self, tokens: np.ndarray, state: int) -> tuple[np.ndarray, int]:
        _, after = self.forward(tokens[:, None], state)
        logits = np.zeros((1, self.vocabulary))
        logits[0, self.expected(int(tokens[0]))] = 50
        return logits, after

    def expected(self, token: int) -> int:
        return (token + 1) % self.vocabulary


class Script(Next):
    """A network that expects a given text, token by token, whatever was drawn."""

    def __init__(self, ids: np.ndarray, vocabulary: int) -> None:
        super().__init__(vocabulary)
        self.ids = ids

    def expected(self, token: int) -> int:
        return int(self.ids[(len(self.calls) - 1) % len(self.ids)])


def request(
    network: Any, tokenizer: Tokenizer, prompt: str, ahead: str = "", **options: Any
) -> Request:
    """Return a request to continue a prompt, with the unknown token banned."""
    ids = tokenizer.encode(prompt)
    banned = options.pop("banned", () if tokenizer.unknown is None else (tokenizer.unknown,))
    asked = {name: options.pop(name) for name in ("guard", "exact") if name in options}
    read = Prompt(network, tokenizer, ids, ahead, prompt + ahead)
    return Request(read, SamplingOptions(**options), banned, log_probabilities=True, **asked)


def generation(
    network: Next, tokenizer: Tokenizer = ALPHABET, prompt: str = "a", **options: object
) -> Generation:
    rng = np.random.default_rng(0)
    return Engine(network, tokenizer).join(request(network, tokenizer, prompt, **options), rng)


def found_by_beam(network: Any, tokenizer: Tokenizer, asked: Request) -> list[Hypothesis]:
    engine = Engine(network, tokenizer)
    beam = engine.search(asked)
    while not beam.finished:
        engine.step()
    return beam.found


def scripted(text: str, tokenizer: Tokenizer, **options: object) -> Generation:
    ids = tokenizer.encode(text)
    options = {"length": len(ids)} | options
    return generation(Script(ids, len(tokenizer)), tokenizer, text[:1], **options)


def test_the_alphabet() -> None:
    network = Next()
    text = generation(network, prompt="xyz", length=8)
    assert list(text) == list("abcdefgh")
    assert (text.tokens, text.finish_reason) == (8, "length")
    # The prompt is read as one block except for its last token. Then each token drawn is read
    # once, except for the last.
    assert network.calls == [[23, 24], [25], *([i] for i in range(7))]


def test_no_length_no_text() -> None:
    text = generation(Next(), length=0)
    assert list(text) == []
    assert list(text) == []  # the iterator stays exhausted
    assert (text.tokens, text.finish_reason) == (0, "length")


@pytest.mark.parametrize("temperature", [0, 0.5, 1.0])
def test_a_likely_token_is_drawn_at_any_moderate_temperature(temperature: float) -> None:
    assert "".join(generation(Next(), length=5, temperature=temperature)) == "bcdef"


@pytest.mark.parametrize(
    ("stop", "expected"),
    [
        (("fgh",), "bcde"),
        (("b",), ""),
        (("k", "fgh"), "bcde"),
        (("xyzz",), "bcdefghijk"),
        (("jkl",), "bcdefghijk"),  # starts at the end, but is not completed
    ],
)
def test_stops_across_token_borders(stop: tuple[str, ...], expected: str) -> None:
    text = generation(Next(), length=10, stop=stop)
    assert "".join(text) == expected
    assert text.finish_reason == ("length" if len(expected) == 10 else "stop")


def test_a_stop_is_found_after_a_false_start() -> None:
    text = scripted("zaabz", ALPHABET, stop=("ab",))
    assert "".join(text) == "za"
    assert text.finish_reason == "stop"
    assert text.tokens == 4
    assert "".join(scripted("xababac", ALPHABET, stop=("abac",))) == "xab"


def test_a_stop_inside_a_word() -> None:
    words = WordTokenizer(["The", " lamp", " burnt", ".", " low"])
    text = scripted("The lamp burnt low.", words, stop=("mp bu",))
    assert "".join(text) == "The la"


def test_the_earliest_stop_wins() -> None:
    words = WordTokenizer(["The", " lamp", " burnt"])
    assert "".join(scripted("The lamp burnt", words, stop=("rn", "bu"))) == "The lamp "


def test_only_what_may_begin_a_stop_is_held_back() -> None:
    pieces = iter(scripted("xyabq", ALPHABET, stop=("abc",)))
    assert list(pieces) == ["x", "y", "abq"]


@given(
    text=st.text(st.sampled_from("ab"), min_size=1, max_size=30),
    stops=st.lists(st.text(st.sampled_from("ab"), min_size=1, max_size=4), max_size=3),
)
def test_a_text_ends_where_the_first_stop_is_completed(text: str, stops: list[str]) -> None:
    generated = scripted(text, CharacterTokenizer("ab"), stop=tuple(stops))
    ends = [n for n in range(1, len(text) + 1) if any(text[:n].endswith(s) for s in stops)]
    if ends:
        head = text[: ends[0]]
        expected = min((head[: head.find(s)] for s in stops if s in head), key=len)
        assert ("".join(generated), generated.finish_reason) == (expected, "stop")
    else:
        assert ("".join(generated), generated.finish_reason) == (text, "length")


def test_bytes_come_out_as_whole_characters() -> None:
    assert list(scripted("né☃!", ByteTokenizer())) == ["n", "é", "☃", "!"]


def test_the_unknown_token_is_never_drawn() -> None:
    words = WordTokenizer(["one", "two"])
    script = Script(np.array([0]), 3)  # always expects the unknown token
    text = "".join(generation(script, words, "one", length=50, temperature=1.0))
    assert "unk" not in text
    assert {"one", "two"} == {text[i : i + 3] for i in range(0, len(text), 3)}


class Bigrams:
    """A network whose logits depend on the last token only; its state is that token."""

    def __init__(self, logits: np.ndarray) -> None:
        self.table = logits
        self.steps: list[int] = []  # rows in each

    def zero_state(self, rows: int) -> np.ndarray:
        return np.full(rows, -1)

    def take(self, state: np.ndarray, rows: Sequence[int]) -> np.ndarray:
        return state[rows]

    def join(self, states: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate(states)

    def forward(self, tokens: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self.table[tokens], tokens[-1]

    def step(
        self, tokens: np.ndarray, state: np.ndarray, alone: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        assert len(tokens) == len(state)
        self.steps.append(len(tokens))
        return self.table[tokens], np.array(tokens)


LETTERS = CharacterTokenizer(" .abcd")


def bigrams(seed: int = 0, vocabulary: int = 4) -> Bigrams:
    return Bigrams(np.random.default_rng(seed).normal(size=(vocabulary, vocabulary)))


def texts(
    network: Bigrams, rows: Sequence[int], tokenizer: Tokenizer, prompt: str = "", **options: Any
) -> list[Generation]:
    engine = Engine(network, tokenizer)
    asked = request(network, tokenizer, prompt or tokenizer.decode([0]), **options)
    return [engine.join(asked, np.random.default_rng([7, row])) for row in rows]


def test_texts_written_side_by_side_are_those_written_alone() -> None:
    tokenizer = CharacterTokenizer("abcd")
    options = {"length": 40, "temperature": 1.5, "stop": ("dd", "bca"), "repetition_penalty": 1.3}
    network = bigrams()
    together = texts(network, range(5), tokenizer, **options)
    found = [("".join(text), text.tokens, text.finish_reason) for text in together]
    # A text that has ended takes no part in later steps.
    assert network.steps[1] == 5
    assert network.steps[-1] < 5
    assert sorted(network.steps[1:], reverse=True) == network.steps[1:]
    for row, expected in enumerate(found):
        (alone,) = texts(bigrams(), [row], tokenizer, **options)
        assert ("".join(alone), alone.tokens, alone.finish_reason) == expected
    assert len({text for text, _, _ in found}) > 1


def numpy_network(cell: str = "lstm", units: tuple[int, ...] = (24, 16)) -> NumpyNetwork:
    """Return a network with random weights, large enough for its logits to differ."""
    architecture = Architecture(cell, units, 8, False)
    rng = np.random.default_rng(1)
    shapes = architecture.weight_shapes(len(ALPHABET)).items()
    weights = {name: rng.normal(0, 0.7, shape).astype(np.float32) for name, shape in shapes}
    return NumpyNetwork(architecture, weights)


def various_requests(network: NumpyNetwork, count: int, exact: bool) -> list[Request]:
    """Return requests that differ in prompt, length and every option."""
    rng, every = np.random.default_rng(2), []
    for number in range(count):
        prompt = "".join(rng.choice(list(ALPHABET.vocabulary), size=1 + 37 * (number % 20)))
        options: dict[str, Any] = {"length": 20 + number}
        options["temperature"] = ["0.5,1.5", 0, 1, 1.3, "1.2:0.4"][number % 5]
        options |= [{}, {"top_k": 7}, {"top_p": 0.8}, {"min_p": 0.1}][number % 4]
        options |= [{}, {"stop": ("ab", "q")}, {"repetition_penalty": 1.4}][number % 3]
        options |= [{}, {"guard": Guard([prompt * 2], 3)}][number % 7 == 0]
        options |= [{}, {"banned": (3, 4)}][number % 11 == 0]
        every.append(request(network, ALPHABET, prompt, exact=exact, **options))
    return every


def text_and_figures(text: Generation) -> tuple[str, int, str | None, list[float]]:
    return "".join(text), text.tokens, text.finish_reason, text.log_probabilities


@pytest.mark.parametrize("cell", ["lstm", "gru", "cifg"])
def test_64_requests_alone_and_together_give_the_same_texts(cell: str) -> None:
    network = numpy_network(cell)

    def rng(number: int) -> np.random.Generator:
        return np.random.default_rng([5, number])

    alone = [
        text_and_figures(Engine(network, ALPHABET).join(asked, rng(number)))
        for number, asked in enumerate(various_requests(network, 64, exact=False))
    ]
    engine = Engine(network, ALPHABET)
    together = []
    for number, asked in enumerate(various_requests(network, 64, exact=True)):
        together.append(engine.join(asked, rng(number)))
        # Inexact requests, at other positions in their texts, share the batch.
        engine.join(various_requests(network, number % 5 + 1, exact=False)[-1], rng(number))
        for _ in range(number % 4):
            engine.step()
    assert [text_and_figures(text) for text in together] == alone
    assert len({text for text, *_ in alone}) > 60


def test_texts_join_and_leave_between_steps() -> None:
    network, tokenizer = bigrams(), CharacterTokenizer("abcd")
    engine = Engine(network, tokenizer)
    options = {"length": 9, "temperature": 1.5}

    def join(row: int, **more: Any) -> Generation:
        asked = request(network, tokenizer, "a", **options | more)
        return engine.join(asked, np.random.default_rng([7, row]))

    first = join(0)
    begun = next(first) + next(first)
    second, third = join(1, top_k=3), join(2, length=2)
    found = [begun + "".join(first), "".join(second), "".join(third)]
    # A prompt is read in a step of one row. All three texts then share a step.
    assert network.steps[:2] == [1, 1]
    assert sorted(network.steps)[-1] == 3
    expected = [
        "".join(texts(bigrams(), [0], tokenizer, **options)[0]),
        "".join(texts(bigrams(), [1], tokenizer, **options | {"top_k": 3})[0]),
        "".join(texts(bigrams(), [2], tokenizer, **options | {"length": 2})[0]),
    ]
    assert found == expected


def test_a_text_that_is_ended_from_outside_frees_its_row() -> None:
    network, tokenizer = bigrams(), CharacterTokenizer("abcd")
    engine = Engine(network, tokenizer)
    asked = request(network, tokenizer, "a", length=50)
    one, other, waiting = (engine.join(asked, np.random.default_rng(row)) for row in range(3))
    next(one)
    assert network.steps[-1] == 3
    other.end("cancelled")
    next(one)
    assert network.steps[-1] == 2
    late = engine.join(request(network, tokenizer, "ab" * 300, length=50), np.random.default_rng(4))
    late.end("cancelled")  # before its prompt is read
    rest = "".join(one)
    assert max(network.steps[-40:]) == 2
    assert len(rest) == 48
    assert len("".join(waiting)) == 50
    assert "".join(late) == ""


def test_a_long_prompt_does_not_hold_others_up() -> None:
    network = bigrams(vocabulary=26)
    engine = Engine(network, ALPHABET)
    short = engine.join(request(network, ALPHABET, "a", length=40), np.random.default_rng(0))
    next(short)
    long = engine.join(request(network, ALPHABET, "ab" * 2000, length=5), np.random.default_rng(1))
    also_short = engine.join(request(network, ALPHABET, "b", length=3), np.random.default_rng(2))
    assert "".join(also_short)  # though it came later
    before = short.tokens
    assert before < 10
    next(long)
    assert before + 10 < short.tokens < 40  # 4,000 tokens are 16 blocks, read one per step


def test_a_beam_is_searched_beside_other_texts() -> None:
    tokenizer = CharacterTokenizer("abcd")
    network = bigrams(3)
    asked = request(network, tokenizer, "a", beam=5, length=6, temperature=0.7)
    alone = found_by_beam(network, tokenizer, asked)
    engine = Engine(network, tokenizer)
    before = engine.join(request(network, tokenizer, "b", length=9), np.random.default_rng(0))
    beam = engine.search(request(network, tokenizer, "a", beam=5, length=6, temperature=0.7))
    after = engine.join(request(network, tokenizer, "c", length=12), np.random.default_rng(1))
    while not beam.finished:
        engine.step()
    assert beam.found == alone
    assert (len("".join(before)), len("".join(after))) == (9, 12)


def test_texts_may_be_read_in_any_order_and_in_part() -> None:
    tokenizer = CharacterTokenizer("abcd")
    plain = ["".join(t) for t in texts(bigrams(), range(3), tokenizer, length=9)]
    first, second, third = texts(bigrams(), range(3), tokenizer, length=9)
    begun = next(second)
    assert "".join(third) == plain[2]
    assert begun + "".join(second) == plain[1]
    assert "".join(first) == plain[0]


def test_log_probabilities_are_the_networks_own() -> None:
    network = bigrams()
    (text,) = texts(network, [0], CharacterTokenizer("abcd"), length=6, temperature=0.3, top_k=2)
    ids = [0, *("abcd".index(c) for c in "".join(text))]
    table = np.exp(network.table) / np.exp(network.table).sum(axis=1, keepdims=True)
    expected = [np.log(table[a, b]) for a, b in pairwise(ids)]
    np.testing.assert_allclose(text.log_probabilities, expected)


@pytest.mark.parametrize("stop", ["efg", ("yy", "e")])
def test_log_probabilities_are_those_of_the_text_that_is_returned(stop: str) -> None:
    text = generation(Next(), length=20, stop=stop)
    assert "".join(text) == "bcd"
    assert len(text.log_probabilities) == 3 < text.tokens


def test_a_word_that_is_cut_in_two_keeps_its_log_probability() -> None:
    tokenizer = WordTokenizer(["The", " lamp", " saw", "."])
    text = scripted("The lamp saw.", tokenizer, stop="mp", banned=())
    assert "".join(text) == "The la"
    assert len(text.log_probabilities) == 2


def test_a_sentence_has_the_log_probabilities_up_to_its_end() -> None:
    tokenizer = CharacterTokenizer(" .abcd")
    text = scripted("ab. cd. ab", tokenizer, length=2, until_sentence=True)
    assert "".join(text) == "ab."
    assert len(text.log_probabilities) == 3 < text.tokens


@pytest.mark.parametrize(
    ("last", "expected"),
    [(None, "bcdaaaaa"), (3, "bcdabcda"), (1, "babababa"), (99, "bcdaaaaa")],
)
def test_the_repetition_penalty_sees_so_many_tokens_back(last: int | None, expected: str) -> None:
    # All tokens not seen are equally likely; of these the lowest id is drawn.
    (text,) = texts(
        Bigrams(np.ones((4, 4))),
        [0],
        CharacterTokenizer("abcd"),
        temperature=0,
        repetition_penalty=2,
        repeat_last_n=last,
        length=8,
    )
    assert "".join(text) == expected


@pytest.mark.parametrize(
    ("text", "length", "expected", "reason"),
    [
        ("abc. dab. cab.", 2, "abc.", "sentence"),
        ("abc. dab. cab.", 4, "abc.", "sentence"),  # ends exactly at the length
        ("abc. dab. cab.", 5, "abc.", "sentence"),
        ("abc. dab. cab.", 6, "abc. dab.", "sentence"),
        ("ab.cd. d", 3, "ab.cd.", "sentence"),  # a period inside a word ends no sentence
        ("abcdabcd. ", 3, "abcdab", "length"),  # at most twice the length
        ("abcd", 2, "abcd", "length"),
    ],
)
def test_until_the_sentence_ends(text: str, length: int, expected: str, reason: str) -> None:
    generated = scripted(text, LETTERS, length=length, until_sentence=True)
    assert ("".join(generated), generated.finish_reason) == (expected, reason)


def test_sentences_of_scripts_without_spaces() -> None:
    tokenizer = CharacterTokenizer("。」日本")
    generated = scripted("日本。」本日", tokenizer, length=1, until_sentence=True)
    assert ("".join(generated), generated.finish_reason) == ("日本", "length")
    generated = scripted("日本。」本日", tokenizer, length=3, until_sentence=True)
    assert ("".join(generated), generated.finish_reason) == ("日本。」", "sentence")


def test_a_word_brings_its_own_space() -> None:
    words = WordTokenizer(["One", " two", ".", " It", " is", "\n"])
    generated = scripted("One two. It is.\nOne", words, length=4, until_sentence=True)
    assert "".join(generated) == "One two. It is."


def test_what_a_stop_holds_back_ends_no_sentence_too_soon() -> None:
    generated = scripted("a. abc d.", LETTERS, length=4, until_sentence=True, stop=(". abd",))
    assert "".join(generated) == "a. abc d"


def test_quotation_marks_belong_to_the_sentence() -> None:
    tokenizer = CharacterTokenizer(" !.ab”")
    assert "".join(scripted("a!” b.", tokenizer, length=1, until_sentence=True)) == "a!"
    assert "".join(scripted("a!” b.", tokenizer, length=2, until_sentence=True)) == "a!”"


@given(
    known=st.lists(st.text(st.sampled_from("ab☃"), max_size=30), min_size=1, max_size=3),
    text=st.text(st.sampled_from("ab☃"), max_size=12),
    piece=st.text(st.sampled_from("ab☃"), min_size=1, max_size=4),
    length=st.integers(2, 6),
)
def test_a_guard_knows_every_stretch(known: list[str], text: str, piece: str, length: int) -> None:
    joined = text + piece
    ends = range(max(length, len(text) + 1), len(joined) + 1)
    expected = any(joined[end - length : end] in book for end in ends for book in known)
    assert Guard(known, length).copies(text, piece) == expected


def test_what_would_copy_is_not_drawn() -> None:
    tokenizer, book = CharacterTokenizer("abcd"), "abcabcabcabd"
    network = Bigrams(np.log(np.full((4, 4), 0.02) + np.roll(np.eye(4), 1, axis=1)))
    for top_k in (None, 1):  # with top-k 1 the only token left may be a copy
        options = {"length": 200, "temperature": 1, "top_k": top_k, "guard": Guard([book], 4)}
        (text,) = texts(network, [0], tokenizer, "a", **options)
        written = "a" + "".join(text)
        assert len(written) == 201
        assert not [i for i in range(198) if written[i : i + 4] in book]
        assert any(written[i : i + 3] in book for i in range(199))


def test_a_text_ends_where_everything_would_copy() -> None:
    network = Bigrams(np.zeros((2, 2)))
    guard = Guard([a + b + c for a, b, c in product("ab", repeat=3)], 3)
    for text in texts(network, range(3), CharacterTokenizer("ab"), "a", guard=guard):
        assert len("".join(text)) == 1
        assert (text.tokens, text.finish_reason) == (1, "novel")


def test_the_guard_sees_the_space_that_a_prompt_ends_with() -> None:
    # The token after "The " is " lamp" or " ."; either way the text has the space once.
    words = WordTokenizer(["The", " lamp", " .", "."])
    network = Bigrams(np.zeros((5, 5)))
    for banned, expected in (((0, 1), "lamp"), ((0, 1, 2), "")):
        guard = Guard(["The ."], 5)
        asked = request(network, words, "The", " ", length=1, guard=guard, banned=banned)
        text = Engine(network, words).join(asked, np.random.default_rng(0))
        assert "".join(text) == expected


def exhaustive(table: np.ndarray, length: int, temperature: float) -> list[tuple[int, ...]]:
    """Return all texts that follow token 0, likeliest first."""
    scaled = np.exp(table / temperature)
    logs = np.log(scaled / scaled.sum(axis=1, keepdims=True))

    def score(text: tuple[int, ...]) -> float:
        return sum(float(logs[a, b]) for a, b in pairwise((0, *text)))

    return sorted(product(range(len(table)), repeat=length), key=score, reverse=True)


def test_a_wide_beam_finds_the_likeliest_texts() -> None:
    network, tokenizer = bigrams(3), CharacterTokenizer("abcd")
    asked = request(network, tokenizer, "a", beam=4**3, length=4, temperature=0.7)
    found = [text.tokens for text in found_by_beam(network, tokenizer, asked)]
    assert found[:10] == exhaustive(network.table, 4, 0.7)[:10]


def test_a_beam_of_one_is_greedy() -> None:
    network, tokenizer = bigrams(5), CharacterTokenizer("abcd")
    asked = request(network, tokenizer, "a", beam=1, length=20)
    (found,) = found_by_beam(network, tokenizer, asked)
    (greedy,) = texts(network, [0], tokenizer, length=20, temperature=0)
    assert tokenizer.decode(found.tokens) == "".join(greedy)
    np.testing.assert_allclose(found.log_probabilities, greedy.log_probabilities)


def test_a_beam_heeds_the_repetition_penalty() -> None:
    options = {"length": 12, "repetition_penalty": 3, "repeat_last_n": 2}
    network, tokenizer = bigrams(5), CharacterTokenizer("abcd")
    (found,) = found_by_beam(
        network, tokenizer, request(network, tokenizer, "a", beam=1, **options)
    )
    (greedy,) = texts(network, [0], tokenizer, temperature=0, **options)
    assert tokenizer.decode(found.tokens) == "".join(greedy)


def test_a_beam_ends_at_a_stop_that_begins_in_the_prompt() -> None:
    words = WordTokenizer(["The", " lamp", " burnt"])

    def found(**options: Any) -> list[Hypothesis]:
        network = bigrams()
        return found_by_beam(network, words, request(network, words, "The", " ", beam=8, **options))

    followed = found(length=2, stop=(" lamp", "lamp"))
    assert {text.ended for text in followed if text.tokens[0] == 2} == {True}
    # The space before the word belongs to the prompt.
    assert not any(text.ended for text in found(length=1, stop=(" lamp",)))


def test_beams_end_at_stops_and_never_hold_what_is_banned() -> None:
    network, tokenizer = bigrams(3), CharacterTokenizer("abcd")
    asked = request(network, tokenizer, "a", beam=6, length=9, stop=("c",), banned=(1,))
    for text in found_by_beam(network, tokenizer, asked):
        written = tokenizer.decode(text.tokens)
        assert "b" not in written
        assert text.ended == ("c" in written)
        assert "c" not in written[:-1]
        assert text.ended or len(written) == 9


def test_a_seed_gives_the_same_text_everywhere() -> None:
    # Recorded texts: the draws of a seed must not depend on the platform or on versions.
    tokenizer = CharacterTokenizer("abcd")
    network = Bigrams(np.log([[1, 2, 3, 4], [4, 1, 2, 3], [3, 4, 1, 2], [2, 3, 4, 1.0]]))
    found = ["".join(t) for t in texts(network, range(2), tokenizer, length=40, temperature=1)]
    assert found == [
        "dccacdadcbabacbcdcbdbadaacbdcbbaabcacada",
        "dabacbdbacaaddcbacadbcacaacabaddadcbabcb",
    ]
