"""Compare the training speed of textgen and its peers: python benchmarks/train.py BOOK

Each contender runs in its own process and waits while another is measured. They take turns for
several rounds; the table shows medians, and ratios of the medians. With --words the tokens are
words and the softmax is over a large vocabulary. The peers need the extra `benchmarks`.

To compare what an older processor would do, hold all contenders to its instructions:

TEXTGEN_KERNELS=avx2 XLA_FLAGS=--xla_cpu_max_isa=AVX2 ONEDNN_MAX_CPU_ISA=AVX2 \\
ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 \\
python benchmarks/train.py BOOK --precision float32

With --start, the seconds from the command `textgen train` to its first update are measured. With
--cells, the kinds of recurrent layers are compared, by textgen alone.
"""

import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
from peers import TRAINERS, Ids, Sizes, Textgen
from turns import CellsCase, alternate, compare_cells

from textgen.kernels import kernels
from textgen.options.architecture import GATES
from textgen.preprocess.reading import read_text

CHARACTERS = [  # cell, layers, units, rows
    *(("lstm", 1, 128, 32), ("lstm", 1, 256, 32), ("lstm", 1, 512, 32), ("lstm", 1, 1024, 32)),
    *(("lstm", 2, 256, 64), ("lstm", 2, 512, 64), ("gru", 1, 256, 32), ("gru", 1, 512, 32)),
]
PRECISIONS = ("float32", "bfloat16")
_STEP_TOKENS = 1 << 17  # approximate tokens per turn of the smallest network


class Ceiling:
    """Matrix products of 2048 x 2048, by TensorFlow or NumPy, whichever is faster."""

    SIZE = 2048

    def __init__(self, precision: str) -> None:
        from textgen.training.backend import tf

        factor = tf.random.stateless_normal((self.SIZE, self.SIZE), (0, 0))
        self._factors = [tf.cast(factor, precision)]
        if precision == "float32":
            self._factors.append(factor.numpy())

    def steps(self, count: int) -> float:
        del count
        times = []
        for factor in self._factors:
            start = time.perf_counter()
            for _ in range(10):
                np.asarray(factor @ factor)
            times.append((time.perf_counter() - start) / 10)
        return min(times)


def measure(
    names: list[str], ids: Ids, sizes: Sizes, rounds: int, precision: str
) -> dict[str, tuple[float, float]]:
    """Return tokens per second (operations for the ceilings) and peak MB of each contender."""
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
    made: dict[str, Any] = {}
    for name in names:
        maker, own = TRAINERS[name]
        made[name] = maker, (ids, sizes, precision if own == "auto" else own)
    # oneDNN cannot multiply in bfloat16 when it is held to AVX2.
    kinds = PRECISIONS if precision == "bfloat16" else (precision,)
    ceilings = {name: (Ceiling, (name,)) for name in kinds}
    found = alternate(made | ceilings, steps, rounds)
    work = dict.fromkeys(names, steps * tokens) | dict.fromkeys(ceilings, 2.0 * Ceiling.SIZE**3)
    return {name: (work[name] / median(times), peak) for name, (times, peak) in found.items()}


def cells_cases(ids: Ids, vocabulary: int, precision: str) -> Iterator[CellsCase]:
    for units in (256, 512):
        sizes = {cell: Sizes(1, units, 32, vocabulary, cell=cell) for cell in GATES}
        makers = {cell: (Textgen, (ids, sizes[cell], precision)) for cell in GATES}
        yield CellsCase(f"1x{units}, 32", makers, round(80 * (256 / units) ** 2), 32 * 64)


def seconds_to_first_update(book: str, run: str, kernels: str) -> float:
    """Return the seconds from the command to the first update of 1x256."""
    command = [sys.executable, "-c", _FIRST_UPDATE, "train", book, "--units", "256"]
    environment = os.environ | {"TEXTGEN_KERNELS": kernels}
    start = time.perf_counter()
    subprocess.run([*command, "--out", run, "--force", "-q"], env=environment, check=True)
    return time.perf_counter() - start


def time_the_start(book: str, rounds: int) -> None:
    """Print how long the first update of a prepared book takes, with the C kernels and by XLA."""
    with tempfile.TemporaryDirectory() as folder:
        run = f"{folder}/run"
        prepare = [sys.executable, "-m", "textgen", "prepare", book, "--out", run, "-q"]
        subprocess.run(prepare, check=True)
        times: dict[str, list[float]] = {"": [], "off": []}
        for _ in range(rounds):
            for chosen, taken in times.items():
                taken.append(seconds_to_first_update(book, run, chosen))
    for chosen, name in (("", "with the C kernels"), ("off", "by XLA")):
        print(f"first update, {name}: {median(times[chosen]):.1f} s")


_FIRST_UPDATE = """
import os
from textgen.cli import main
from textgen.training.trainer import Trainer
step = Trainer.step
def first(*arguments):
    step(*arguments)
    os._exit(0)
Trainer.step = first
main()
"""


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
@click.option("--precision", type=click.Choice(PRECISIONS), help="Of textgen; by default, auto.")
@click.option("--start", is_flag=True, help="Time the start of a training instead.")
@click.option("--cells", is_flag=True, help="Compare kinds of recurrent layers instead.")
def main(
    book: str, rounds: int, words: bool, precision: str | None, start: bool, cells: bool
) -> None:
    from textgen.options.training import TrainingOptions
    from textgen.preprocess.tokenizers import word_splitter

    print(processor())
    if start:
        time_the_start(book, rounds)
        return
    precision = TrainingOptions(precision=precision or "auto").resolve(0, 100).precision

    text = read_text(book)
    tokens = word_splitter()(text) if words else list(text)
    kinds, ids = np.unique(tokens, return_inverse=True)
    ids = ids.astype(np.int32)
    if cells:
        cases = cells_cases(ids, len(kinds), precision)
        compare_cells("layers x units, batch", cases, rounds)
        return
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
    if precision == "float32":
        names.remove("torch bfloat16")
    columns = ["layers x units, batch", *names, "to torch", "to XLA", "to keras", "of ceiling"]
    columns += [f"{name} ceiling" for name in PRECISIONS]
    print("| " + " | ".join(columns) + " |")
    print("|---|" + "--:|" * (len(columns) - 1))
    for sizes in settings:
        found = measure(names, ids, sizes, rounds, precision)
        speeds = {name: speed for name, (speed, _) in found.items()}
        torch = max(speed for name, speed in speeds.items() if name.startswith("torch"))
        row = [
            f"{sizes.cell.upper()} {sizes.layers}x{sizes.units}, {sizes.batch_size}",
            *(f"{speeds[name]:,.0f}" for name in names),
            f"{speeds['textgen'] / torch:.2f}",
            f"{speeds['textgen'] / speeds['by XLA']:.2f}",
            f"{speeds['textgen'] / speeds['keras fit']:.2f}" if "keras fit" in speeds else "-",
            f"{speeds['textgen'] * sizes.operations() / speeds[precision]:.2f}",
            *(f"{speeds[name] / 1e9:,.0f}" if name in speeds else "-" for name in PRECISIONS),
        ]
        print("| " + " | ".join(row) + " |", flush=True)
        if words:
            peaks = ", ".join(f"{name} {found[name][1]:,.0f} MB" for name in names)
            print(f"peak memory: {peaks}", file=sys.stderr)


if __name__ == "__main__":
    main()
