"""The peers of textgen: the same network in PyTorch and in Keras, written as their users would.

All trainers have the same interface: they take the ids of a text, sizes and a precision, and
`steps(count)` trains on the next chunks and returns the seconds that took.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]


@dataclass(frozen=True)
class Sizes:
    """The sizes of a network and of its batches."""

    layers: int
    units: int
    batch_size: int
    vocabulary: int
    chunk_length: int = 64
    embedding: int = 64
    cell: str = "lstm"

    def operations(self) -> float:
        """Return the multiplications and additions per token of the matrix products in training.

        The backward pass needs twice as many as the forward pass. The first layer's inputs are
        left out, because looking up an embedding needs none.
        """
        gates = 4 if self.cell == "lstm" else 3
        recurrent = gates * self.units * self.units * (2 * self.layers - 1)
        return 6.0 * (recurrent + self.units * self.vocabulary)


def chunks(ids: Ids, sizes: Sizes) -> Iterator[tuple[Ids, Ids]]:
    """Yield contiguous aligned chunks of inputs and targets, each (B, T), without end."""
    length = (len(ids) - 1) // sizes.batch_size
    inputs = ids[: length * sizes.batch_size].reshape(sizes.batch_size, length)
    targets = ids[1 : length * sizes.batch_size + 1].reshape(sizes.batch_size, length)
    while True:
        for start in range(0, length - sizes.chunk_length + 1, sizes.chunk_length):
            stop = start + sizes.chunk_length
            yield inputs[:, start:stop], targets[:, start:stop]


class Textgen:
    """The training step as `textgen train` runs it."""

    def __init__(
        self, ids: Ids, sizes: Sizes, precision: str, document_length: int | None = None
    ) -> None:
        """Cut the text into documents of `document_length` tokens, if given, and shuffle them."""
        from textgen.options.training import TrainingOptions
        from textgen.preprocess.corpus import Corpus
        from textgen.training.network import TrainingNetwork
        from textgen.training.step import Stepper
        from textgen.training.streams import Streams

        settings = TrainingOptions(
            cell=sizes.cell,
            layers=sizes.layers,
            units=sizes.units,
            embedding=sizes.embedding,
            batch_size=sizes.batch_size,
            chunk_length=sizes.chunk_length,
            precision=precision,
            dropout=0.0,  # the peers have none
        ).resolve(len(ids), sizes.vocabulary)
        documents = np.arange(0, len(ids), document_length or len(ids))
        order = np.random.default_rng(0).permutation(len(documents)) if document_length else None
        self._streams = Streams(
            Corpus(ids, documents), sizes.batch_size, sizes.chunk_length, order=order
        )
        network = TrainingNetwork(settings.architecture, sizes.vocabulary)
        self._stepper = Stepper(network, settings)
        self._states = network.zero_state(sizes.batch_size)
        self._rng = np.random.default_rng(0)
        self._step = 0

    def steps(self, count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            batch = self._streams[self._step % (len(self._streams) - 1)]
            *_, self._states = self._stepper.train(batch, self._states, 2e-3, self._rng)
            self._step += 1
        return time.perf_counter() - start


class TextgenByXla(Textgen):
    """The same without the C kernels."""

    def __init__(self, ids: Ids, sizes: Sizes, precision: str) -> None:
        os.environ["TEXTGEN_KERNELS"] = "off"
        super().__init__(ids, sizes, precision)


class Torch:
    """`nn.LSTM` or `nn.GRU` with truncated backpropagation, the state carried, and fused Adam."""

    largest_norm = 5.0  # of the gradient

    def __init__(self, ids: Ids, sizes: Sizes, precision: str, seed: int = 0) -> None:
        import torch

        torch.manual_seed(seed)
        self._torch = torch
        self._sizes = sizes
        self._precision = precision
        self._chunks = chunks(ids, sizes)
        self.embedding = torch.nn.Embedding(sizes.vocabulary, sizes.embedding)
        layers = torch.nn.LSTM if sizes.cell == "lstm" else torch.nn.GRU
        self.layers = layers(sizes.embedding, sizes.units, sizes.layers)
        self.output = torch.nn.Linear(sizes.units, sizes.vocabulary)
        parts = (self.embedding, self.layers, self.output)
        self._parameters = [p for part in parts for p in part.parameters()]
        self._optimizer = torch.optim.Adam(self._parameters, 2e-3, fused=True)
        self._state: Any = None

    def loss(self, inputs: Ids, targets: Ids, state: Any) -> tuple[Any, Any]:
        torch = self._torch
        x, y = (torch.from_numpy(part.T.astype(np.int64)) for part in (inputs, targets))
        bfloat16 = self._precision == "bfloat16"
        with torch.autocast("cpu", torch.bfloat16) if bfloat16 else contextlib.nullcontext():
            hidden, state = self.layers(self.embedding(x), state)
            logits = self.output(hidden)
        logits = logits.float().reshape(-1, logits.shape[-1])
        return torch.nn.functional.cross_entropy(logits, y.reshape(-1)), state

    def train(self, inputs: Ids, targets: Ids) -> float:
        if self._state is not None:
            parts = self._state
            lstm = isinstance(parts, tuple)
            self._state = tuple(part.detach() for part in parts) if lstm else parts.detach()
        loss, self._state = self.loss(inputs, targets, self._state)
        self._optimizer.zero_grad()
        loss.backward()
        self._torch.nn.utils.clip_grad_norm_(self._parameters, self.largest_norm)
        self._optimizer.step()
        return float(loss.item())

    def steps(self, count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            self.train(*next(self._chunks))
        return time.perf_counter() - start


class Keras:
    """Stateful `keras.layers.LSTM` or `GRU`, and `fit`."""

    def __init__(self, ids: Ids, sizes: Sizes, precision: str) -> None:
        import keras

        del precision  # always float32
        keras.utils.set_random_seed(0)
        self._chunks = chunks(ids, sizes)
        self._sizes = sizes
        inputs = keras.Input(batch_shape=(sizes.batch_size, sizes.chunk_length), dtype="int32")
        hidden = keras.layers.Embedding(sizes.vocabulary, sizes.embedding)(inputs)
        layer_type = keras.layers.LSTM if sizes.cell == "lstm" else keras.layers.GRU
        self._recurrent = [
            layer_type(sizes.units, return_sequences=True, stateful=True)
            for _ in range(sizes.layers)
        ]
        for layer in self._recurrent:
            hidden = layer(hidden)
        self.model = keras.Model(inputs, keras.layers.Dense(sizes.vocabulary)(hidden))
        self.model.compile(
            keras.optimizers.Adam(2e-3, global_clipnorm=5.0),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )

    def steps(self, count: int) -> float:
        inputs, targets = map(
            np.concatenate, zip(*(next(self._chunks) for _ in range(count)), strict=True)
        )
        start = time.perf_counter()
        self.model.fit(
            inputs, targets, batch_size=self._sizes.batch_size, epochs=1, shuffle=False, verbose=0
        )
        return time.perf_counter() - start


TRAINERS: dict[str, tuple[Callable[..., Any], str]] = {
    "textgen": (Textgen, "auto"),
    "by XLA": (TextgenByXla, "auto"),
    "torch float32": (Torch, "float32"),
    "torch bfloat16": (Torch, "bfloat16"),
    "keras fit": (Keras, "float32"),
}
