"""Networks whose next token is known, and texts of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from textgen.options.sampling import SamplingOptions
from textgen.preprocess.tokenizers import CharacterTokenizer, Tokenizer
from textgen.sampling.engine import Engine
from textgen.sampling.generation import Generation
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


def scripted(text: str, tokenizer: Tokenizer, **options: object) -> Generation:
    ids = tokenizer.encode(text)
    options = {"length": len(ids)} | options
    return generation(Script(ids, len(tokenizer)), tokenizer, text[:1], **options)


def bigrams(seed: int = 0, vocabulary: int = 4) -> Bigrams:
    return Bigrams(np.random.default_rng(seed).normal(size=(vocabulary, vocabulary)))


def texts(
    network: Bigrams, rows: Sequence[int], tokenizer: Tokenizer, prompt: str = "", **options: Any
) -> list[Generation]:
    engine = Engine(network, tokenizer)
    asked = request(network, tokenizer, prompt or tokenizer.decode([0]), **options)
    return [engine.join(asked, np.random.default_rng([7, row])) for row in rows]
