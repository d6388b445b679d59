"""Compare the training speed of textgen and its peers: python benchmarks/train.py BOOK

Each contender runs in its own process and waits while another is measured. They take turns for
several rounds; the table shows medians, and ratios of the medians. With --words the tokens are
words and the softmax is over a large vocabulary. The peers need the extra `benchmarks`.
"""

import platform
import sys
import time
from pathlib import Path
from statistics import median

import click
import numpy as np
from peers import TRAINERS, Ids, Sizes
from turns import alternate

from textgen.kernels import kernels
from textgen.preprocess.reading import read_text

CHARACTERS = [  # cell, layers, units, rows
    *(("lstm", 1, 128, 32), ("lstm", 1, 256, 32), ("lstm", 1, 512, 32), ("lstm", 1, 1024, 32)),
    *(("lstm", 2, 256, 64), ("lstm", 2, 512, 64), ("gru", 1, 256, 32), ("gru", 1, 512, 32)),
]
_STEP_TOKENS = 1 << 17  # approximate tokens per turn of the smallest network


class Ceiling:
    """Matrix products of 2048 x 2048 in textgen's default precision, without any training."""

    SIZE = 2048

    def __init__(self) -> None:
        import tensorflow as tf

        from textgen.options.training import TrainingOptions

        dtype = tf.as_dtype(TrainingOptions().resolve(0).precision)
        self._a = tf.cast(tf.random.stateless_normal((self.SIZE, self.SIZE), (0, 0)), dtype)

    def steps(self, count: int) -> float:
        import tensorflow as tf

        del count
        start = time.perf_counter()
        for _ in range(10):
            product = tf.matmul(self._a, self._a)
        product.numpy()
        return (time.perf_counter() - start) / 10


def measure(
    names: list[str], ids: Ids, sizes: Sizes, rounds: int
) -> dict[str, tuple[float, float]]:
    """Return tokens per second (operations for the ceiling) and peak MB of each contender."""
    tokens = sizes.batch_size * sizes.chunk_length
    steps = max(
        5,
        round(
            _STEP_TOKENS
            * (128 / sizes.units) ** 2
            / sizes.layers
            / tokens
            / max(1, sizes.vocabulary / 2000)
        ),
    )
    made = {n: (TRAINERS[n][0], (ids, sizes, TRAINERS[n][1])) for n in names}
    found = alternate(made | {"ceiling": (Ceiling, ())}, steps, rounds)
    work = dict.fromkeys(names, steps * tokens) | {"ceiling": 2.0 * Ceiling.SIZE**3}
    return {name: (work[name] / median(times), peak) for name, (times, peak) in found.items()}


def processor() -> str:
    """Return the processor, and the kernels that can run on it."""
    names = ", ".join(kernel.name for kernel in kernels()) or "none"
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    model = next((line for line in lines if line.startswith("model name")), platform.machine())
    return f"{model.rpartition(':')[2].strip()}; kernels: {names}\n"


@click.command()
@click.argument("book")
@click.option("--rounds", default=7, help="Measured turns of each contender.")
@click.option("--words", is_flag=True, help="Train on words, with a vocabulary of 20,000.")
def main(book: str, rounds: int, words: bool) -> None:
    from textgen.preprocess.tokenizers import word_splitter

    text = read_text(book)
    tokens = word_splitter()(text) if words else list(text)
    kinds, ids = np.unique(tokens, return_inverse=True)
    ids = ids.astype(np.int32)
    names = [name for name in TRAINERS if not words or name != "keras fit"]
    if words:
        counts = np.argsort(-np.bincount(ids), kind="stable")
        rank = np.empty_like(counts)
        rank[counts] = np.arange(len(counts))
        vocabulary = 20_000
        if len(kinds) < vocabulary:
            sys.exit(f"{book} has only {len(kinds):,} distinct words; use a longer book")
        ids = np.minimum(rank[ids], vocabulary - 1).astype(np.int32)
        settings = [
            Sizes(1, 256, 16, vocabulary, chunk_length=32, embedding=128),
            Sizes(1, 512, 32, vocabulary, chunk_length=64, embedding=128),
        ]
    else:
        settings = [Sizes(*sizes, vocabulary=len(kinds), cell=cell) for cell, *sizes in CHARACTERS]
    print(processor())
    columns = ["layers x units, batch", *names, "to torch", "to XLA", "to keras", "of ceiling"]
    print("| " + " | ".join(columns) + " |")
    print("|---|" + "--:|" * (len(columns) - 1))
    for sizes in settings:
        found = measure(names, ids, sizes, rounds)
        speeds = {name: speed for name, (speed, _) in found.items()}
        torch = max(speeds["torch float32"], speeds["torch bfloat16"])
        cells = [
            f"{sizes.cell.upper()} {sizes.layers}x{sizes.units}, {sizes.batch_size}",
            *(f"{speeds[name]:,.0f}" for name in names),
            f"{speeds['textgen'] / torch:.2f}",
            f"{speeds['textgen'] / speeds['by XLA']:.2f}",
            f"{speeds['textgen'] / speeds['keras fit']:.2f}" if "keras fit" in speeds else "-",
            f"{speeds['textgen'] * sizes.operations() / speeds['ceiling']:.2f}",
        ]
        print("| " + " | ".join(cells) + " |", flush=True)
        if words:
            peaks = ", ".join(f"{name} {found[name][1]:,.0f} MB" for name in names)
            print(f"peak memory: {peaks}", file=sys.stderr)


if __name__ == "__main__":
    main()
