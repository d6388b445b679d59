"""Compare the sampling speed of textgen, its peers and the bare matrix products.

python benchmarks/sample.py [--rounds N] [--no-peers] [--cells]

The networks are untrained, which does not affect speed. All contenders draw each token at
temperature 0.8 and feed it back. The floor is the matrix products of one step by NumPy and nothing
else. With --cells, the kinds of recurrent layers are compared, by textgen alone.
"""

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
from turns import CellsCase, Maker, alternate, compare_cells

from textgen.kernels import kernels
from textgen.options.architecture import GATES
from textgen.sampling.compiled import reason_against

PLAY = Path(__file__).parents[1] / "corpora" / "the_lamp_at_harrow.txt"
VOCABULARY = 65
SIZES = [(1, 128), (1, 256), (1, 512), (2, 256), (2, 512), (2, 1024)]


class Textgen:
    """Generation as `textgen sample` runs it, by a C kernel if there is one, or by NumPy.

    `how` is the type of the C kernel's weights, float16 or float32, or else "NumPy".
    """

    def __init__(
        self,
        layers: int,
        units: int,
        streams: int,
        how: str,
        exact: bool = False,
        cell: str = "lstm",
    ) -> None:
        from textgen.options.architecture import Architecture
        from textgen.options.sampling import SamplingOptions
        from textgen.preprocess.tokenizers import CharacterTokenizer
        from textgen.sampling.compiled import make_network
        from textgen.sampling.engine import Engine
        from textgen.sampling.network import Network, NumpyNetwork
        from textgen.sampling.prompt import Prompt, Request

        architecture = Architecture(cell, (units,) * layers, 64, False)
        rng = np.random.default_rng(0)
        weights = {
            name: rng.uniform(-0.08, 0.08, shape).astype(np.float32)
            for name, shape in architecture.weight_shapes(VOCABULARY).items()
        }
        network: Network = NumpyNetwork(architecture, weights)
        if how != "NumPy":
            network = make_network(architecture, weights, half=how == "float16")
        tokenizer = CharacterTokenizer("".join(map(chr, range(VOCABULARY))))
        self._engine = Engine(network, tokenizer)
        prompt = Prompt(network, tokenizer, np.array([0]))
        request = Request(prompt, SamplingOptions(length=1 << 40, temperature=0.8), exact=exact)
        self._texts = [
            self._engine.join(request, np.random.default_rng([0, row])) for row in range(streams)
        ]

    def steps(self, count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            self._engine.step()
            for text in self._texts:
                next(text)
        return time.perf_counter() - start


class Floor:
    """The matrix products of one step: one for each layer, and one for the output."""

    def __init__(self, layers: int, units: int, streams: int) -> None:
        rng = np.random.default_rng(0)
        inputs = [units * (1 if layer == 0 else 2) for layer in range(layers)]
        shapes = [*((size, 4 * units) for size in inputs), (units, VOCABULARY)]
        self._pairs = [
            (
                rng.uniform(-1, 1, (streams, rows)).astype(np.float32),
                rng.uniform(-1, 1, (rows, columns)).astype(np.float32),
                np.empty((streams, columns), np.float32),
            )
            for rows, columns in shapes
        ]

    def steps(self, count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            for left, right, product in self._pairs:
                np.matmul(left, right, out=product)
        return time.perf_counter() - start


class Torch:
    """`nn.LSTM`, step by step, without gradients."""

    def __init__(self, layers: int, units: int, streams: int, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self._torch = torch
        self._embedding = torch.nn.Embedding(VOCABULARY, 64)
        self._lstm = torch.nn.LSTM(64, units, layers)
        self._output = torch.nn.Linear(units, VOCABULARY)
        self._tokens = torch.zeros((1, streams), dtype=torch.int64)
        self._state: Any = None

    def steps(self, count: int) -> float:
        torch = self._torch
        start = time.perf_counter()
        with torch.inference_mode():
            for _ in range(count):
                hidden, self._state = self._lstm(self._embedding(self._tokens), self._state)
                weights = torch.softmax(self._output(hidden[0]) / 0.8, -1)
                self._tokens = torch.multinomial(weights, 1).T
                self._tokens.tolist()
        return time.perf_counter() - start


class Keras:
    """Base class: a network of Keras's cells, and its state."""

    def __init__(self, layers: int, units: int, streams: int) -> None:
        import keras
        import tensorflow as tf

        self._tf = tf
        cells = [keras.layers.LSTMCell(units) for _ in range(layers)]
        tokens = keras.Input((), dtype="int32")
        states = [keras.Input((units,)) for _ in range(2 * layers)]
        hidden, after = keras.layers.Embedding(VOCABULARY, 64)(tokens), []
        for layer, cell in enumerate(cells):
            hidden, new = cell(hidden, states[2 * layer : 2 * layer + 2])
            after += new
        self._model = keras.Model(
            [tokens, *states], [keras.layers.Dense(VOCABULARY)(hidden), *after]
        )
        self._tokens = np.zeros(streams, np.int32)
        self._states = [np.zeros((streams, units), np.float32) for _ in states]
        self._rng = np.random.default_rng(0)


class KerasPredict(Keras):
    """`model.predict` for each token."""

    def steps(self, count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            logits, *self._states = self._model.predict([self._tokens, *self._states], verbose=0)
            cumulative = np.exp((logits - logits.max(-1, keepdims=True)) / 0.8).cumsum(-1)
            points = self._rng.random((len(logits), 1)) * cumulative[:, -1:]
            self._tokens = (cumulative < points).sum(-1).astype(np.int32)
        return time.perf_counter() - start


class TensorFlow(Keras):
    """One call of a compiled `tf.function` for each token, which also draws it."""

    def __init__(self, layers: int, units: int, streams: int) -> None:
        super().__init__(layers, units, streams)
        tf = self._tf

        @tf.function(jit_compile=True)
        def step(tokens: Any, states: Any, seed: Any) -> tuple[Any, Any]:
            logits, *states = self._model([tokens, *states])
            noise = tf.random.stateless_uniform(tf.shape(logits), seed, 1e-30)
            # The argmax of logits plus Gumbel noise is a draw from their softmax.
            return tf.argmax(logits / 0.8 - tf.math.log(-tf.math.log(noise)), -1, tf.int32), states

        self._step = step
        self._count = 0

    def steps(self, count: int) -> float:
        tf = self._tf
        start = time.perf_counter()
        for _ in range(count):
            self._count += 1
            self._tokens, self._states = self._step(
                tf.convert_to_tensor(self._tokens),
                [tf.convert_to_tensor(part) for part in self._states],
                tf.constant([0, self._count]),
            )
            self._tokens.numpy()
        return time.perf_counter() - start


def steps_of_a_turn(layers: int, units: int, streams: int) -> int:
    return max(50, 500_000 // (layers * units) // (1 if streams == 1 else 8))


def speeds(layers: int, units: int, streams: int, rounds: int, peers: bool) -> dict[str, float]:
    """Return tokens per second of each contender."""
    sizes = (layers, units, streams)
    makers: dict[str, Maker] = {"textgen": (Textgen, (*sizes, "float16"))}
    makers["float32"] = (Textgen, (*sizes, "float32"))
    makers["NumPy"] = (Textgen, (*sizes, "NumPy"))
    if streams > 1:
        makers["NumPy, exact"] = (Textgen, (*sizes, "NumPy", True))
    makers["floor"] = (Floor, sizes)
    if peers:
        makers |= {
            "torch, 1 thread": (Torch, (*sizes, 1)),
            "torch, 2 threads": (Torch, (*sizes, 2)),
            "tf.function": (TensorFlow, sizes),
            "keras predict": (KerasPredict, sizes),
        }
    steps = steps_of_a_turn(layers, units, streams)
    counts = dict.fromkeys(makers, steps) | {"keras predict": 20}
    found = alternate(makers, counts, rounds)
    return {name: streams * counts[name] / median(found[name][0]) for name in makers}


def ratios(found: dict[str, float]) -> dict[str, str]:
    """Return how the contenders compare with textgen."""
    ours = found["textgen"]
    compared = {"to NumPy": f"{ours / found['NumPy']:.2f}"}
    compared["to floor"] = f"{ours / found['floor']:.2f}"
    compared["float32 to floor"] = f"{found['float32'] / found['floor']:.2f}"
    if "tf.function" in found:
        torch = max(found["torch, 1 thread"], found["torch, 2 threads"])
        compared["to torch"] = f"{ours / torch:.1f}"
        compared["to tf.function"] = f"{ours / found['tf.function']:.1f}"
        compared["to predict"] = f"{ours / found['keras predict']:.0f}"
    return compared


def cells_cases() -> Iterator[CellsCase]:
    for streams in (1, 64):
        for units in (256, 512):
            sizes = (1, units, streams, "float16", False)
            makers: dict[str, Maker] = {cell: (Textgen, (*sizes, cell)) for cell in GATES}
            steps = steps_of_a_turn(1, units, streams)
            yield CellsCase(f"{streams}, 1x{units}", makers, steps, streams)


def first_character(layers: int, units: int, times: int) -> float:
    """Return the median seconds from the start of `textgen sample` to its first byte of text."""
    program = [sys.executable, "-m", "textgen"]
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        sizes = ["--layers", str(layers), "--units", str(units), "--minutes", "0.02"]
        subprocess.run([*program, "train", PLAY, "--out", run, *sizes, "-q"], check=True)
        seconds = []
        for _ in range(times + 1):  # the first fills the disk's cache
            start = time.perf_counter()
            with subprocess.Popen(
                [*program, "sample", run], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            ) as process:
                assert process.stdout is not None
                process.stdout.read(1)
                seconds.append(time.perf_counter() - start)
                process.kill()
    return median(seconds[1:])


@click.command()
@click.option("--rounds", default=7, help="Measured turns of each contender.")
@click.option("--peers/--no-peers", default=True, help="Measure PyTorch and TensorFlow, too.")
@click.option("--cells", is_flag=True, help="Compare kinds of recurrent layers instead.")
def main(rounds: int, peers: bool, cells: bool) -> None:
    names = [kernel.name for kernel in kernels("float32") if reason_against(kernel) is None]
    print(f"C kernel: {names[0] if names else 'none'}")
    if cells:
        compare_cells("streams, layers x units", cells_cases(), rounds)
        return
    print(f"first character of a 2x256 run after {first_character(2, 256, 3 * rounds):.2f} s")
    for streams in (1, 12, 64):
        header: list[str] = []
        for layers, units in SIZES:
            found = speeds(layers, units, streams, rounds, peers)
            compared = ratios(found)
            if not header:
                header = [f"{streams} streams", *found, *compared]
                print("\n| " + " | ".join(header) + " |")
                print("|---|" + "--:|" * (len(header) - 1))
            row = [f"{layers}x{units}", *(f"{speed:,.0f}" for speed in found.values())]
            row += compared.values()
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
