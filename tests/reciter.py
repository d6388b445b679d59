"""A network that recites one text, with weights set by hand: what it writes is known exactly."""

from itertools import pairwise
from pathlib import Path

import numpy as np
from helpers import fabricate

from textgen.runs.folder import Run

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_BACK = 10  # characters that it remembers
_SURE = 30.0  # the logit of the next character


def recite(out: str | Path, text: str) -> Run:
    """Create a run that recites `text` again and again, from wherever a prompt is in it.

    The LSTM passes on what it reads: block 0 of its units holds the last character, block 1 the one
    before, and so on. The output layer is solved for.
    """
    book = Path(out).with_suffix(".txt")
    book.write_text(text * max(2, 400 // len(text)), "utf-8")
    size = len(set(text))
    run = fabricate(out, book, units=_BACK * size, embedding=size)
    units, ids = _BACK * size, run.tokenizer.encode(text)
    weights = {name: np.zeros(shape, np.float32) for name, shape in run.weight_shapes.items()}
    weights["embedding"] = np.eye(size, dtype=np.float32)
    # The gates are in Keras's order: input, forget, candidate, output.
    candidate = slice(2 * units, 3 * units)
    weights["layers.0.kernel"][:, candidate][:, :size] = 100 * np.eye(size)
    bias = weights["layers.0.bias"]
    bias[:units], bias[units : 2 * units], bias[3 * units :] = 50, -50, 50
    bias[candidate][:size] = -50
    shift = np.eye(units, k=size)
    weights["layers.0.recurrent_kernel"][:, candidate] = 100 * shift
    # The hidden states of prompts that end anywhere, and of the blank line for an empty one.
    held = np.tanh(1)
    starts = [(np.roll(ids, -k), _BACK - 1) for k in range(len(ids))]
    if "\n" in text:
        starts.append((np.concatenate([run.tokenizer.encode("\n\n"), ids]), 1))
    states, following = [], []
    for start, first in starts:
        state = np.zeros(units)
        for position, (token, after) in enumerate(pairwise(start)):
            onto = np.where(np.arange(size) == token, held, -held)
            state = np.concatenate([onto, state[:-size]])
            if position >= first:
                states.append(state)
                following.append(after)
    wanted = np.full((len(states), size), -_SURE / 2)
    wanted[np.arange(len(states)), following] = _SURE / 2
    weights["output.kernel"] = np.linalg.lstsq(np.array(states), wanted, rcond=None)[0].astype(
        np.float32
    )
    run.save_weights(weights)
    return run
