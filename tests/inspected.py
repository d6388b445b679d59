"""The data of a page of an inspected text, made by hand."""

from typing import Any

import numpy as np

from textgen.reporting.packing import packed

TEXT = 'She said: "no".\nHe said: "yes".\n'
HALVES = ("tanh(c)", "h")


def inspected(text: str = TEXT, **changes: Any) -> dict[str, Any]:
    """Return hand-made data: token t has t % 11 bits and the rank t + 1.

    Unit 1 of layer 1 is inside quotation marks; of the others only 10 tokens are known.
    """
    count = len(text)
    lengths = np.array([len(c.encode("utf-16-le", "surrogatepass")) // 2 for c in text], np.uint16)
    vocabulary = sorted(set(text))
    own = np.array([vocabulary.index(c) for c in text])
    guesses = (own[:, None] + np.arange(5)) % len(vocabulary)
    chances = np.tile([0.5, 0.25, 0.125, 0.0625, 0.03125], (count, 1))
    bits = (np.arange(count) % 11 * 100).astype(np.uint16)
    bits[0], chances[0] = 65535, 0
    ranks = np.arange(1, count + 1, dtype=np.uint32)
    ranks[0] = 0
    quoted = np.cumsum([c == '"' for c in text]) % 2
    found = {"layer": 1, "unit": 1, "part": "tanh(c)"}
    known = min(10, count)
    every = np.repeat(np.array([-127, 64, 0], np.int8), known)
    gate = {"low": packed(np.float32([0.1, 0.5, 0])), "high": packed(np.float32([0.2, 0, 0.9]))}
    return {
        "name": "text.txt",
        "run": "checkpoints/book",
        "level": "char",
        "network": "lstm 3",
        "textgen": "0.1.0",
        "figures": {
            "characters": count,
            "tokens": count - 1,
            "loss": 1.5,
            "perplexity": 4.5,
            "bits_per_character": 2.25,
            "unknown": 0.0,
        },
        "truncated": None,
        "text": text,
        "lengths": packed(lengths),
        "documents": [0],
        "bits": packed(bits),
        "ranks": packed(ranks),
        "vocabulary": vocabulary,
        "guesses": {
            "count": 5,
            "tokens": packed(guesses.astype(np.uint16)),
            "probabilities": packed(np.rint(chances * 65535).astype(np.uint16)),
        },
        "units": [{**found, "values": packed((quoted * 254 - 127).astype(np.int8))}],
        "every_unit": {
            "tokens": known,
            "layers": [{"layer": 1, "units": 3, "parts": {p: packed(every) for p in HALVES}}],
        },
        "features": [
            {
                "name": "inside quotation marks",
                "share": 0.25,
                "best": [{**found, "correlation": -0.875, "ranked_by": -0.9}],
            }
        ],
        "saturation": [{"layer": 1, "gates": {"i": gate, "f": gate, "o": gate}}],
        "memory": {
            "lengths": [1, 10, 100],
            "bits": [3.5, 2.5, 2.25],
            "carried": [2.25, 2.25, 2.25],
            "samples": [50, 50, 50],
        },
        "novelty": {
            "least": 5,
            "copied": 0.2,
            "passages": [
                {
                    "start": 4,
                    "length": 5,
                    "source": "book.txt",
                    "source_position": 99,
                    "before": "He ",
                    "after": " nothing",
                }
            ],
            "temperatures": [
                {"temperature": 0.5, "copied": 0.4},
                {"temperature": 1.0, "copied": 0.1},
            ],
            "sampled": 1000,
        },
        "authors": {
            "names": ["Austen", "Dickens"],
            "probabilities": [0.75, 0.25],
            "shares": [0.55, 0.45],
            "bits_per_character": [2.25, 2.5],
            "own_bits_per_character": [2.0, 2.125],
            "passages": [
                {"start": 0, "length": 16, "probabilities": [0.9, 0.1]},
                {"start": 16, "length": 16, "probabilities": [0.2, 0.8]},
            ],
        },
        **changes,
    }
