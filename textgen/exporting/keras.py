"""Export to Keras: a model of built-in layers, which takes the state and returns it."""

import tempfile
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from textgen.exporting.portable import PortableNetwork
from textgen.sampling.network import Array
from textgen.training.backend import keras


def keras_model(network: PortableNetwork) -> keras.Model:
    """Return a model from a dictionary of tokens and state to one of logits and state."""
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    state = {
        name: keras.Input((size,), name=name)
        for name, size in zip(network.state_names, network.state_sizes, strict=True)
    }
    given, after = list(state.values()), []
    hidden = keras.layers.Embedding(*network.embedding.shape, name="embedding")(tokens)
    layer_type = keras.layers.LSTM if network.cell == "lstm" else keras.layers.GRU
    parts = network.state_parts
    for n, layer in enumerate(network.layers):
        recurrent = layer_type(
            layer.units, return_sequences=True, return_state=True, name=f"layer{n}"
        )
        hidden, *own = recurrent(hidden, initial_state=given[n * parts : (n + 1) * parts])
        after += own
    logits = keras.layers.Dense(len(network.embedding), name="output")(hidden)
    outputs = {"logits": logits, **dict(zip(state, after, strict=True))}
    model = keras.Model({"tokens": tokens, **state}, outputs, name="textgen")
    weights = [network.embedding, *(part for layer in network.layers for part in layer)]
    model.set_weights([*weights, network.output_kernel, network.output_bias])
    return model


def keras_file(network: PortableNetwork) -> bytes:
    """Return a `.keras` file, which is a zip archive, with `tokenizer.json` added to it.

    Raises OutputError if what Keras loads from it computes other logits.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        keras_model(network).save(path)
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("tokenizer.json", network.tokenizer)
        with keras.device("cpu"):  # a GPU may round products
            model = keras.saving.load_model(path, compile=False)

        def forward(tokens: NDArray[np.int64], state: list[Array]) -> tuple[Array, list[Array]]:
            inputs = {"tokens": tokens, **dict(zip(network.state_names, state, strict=True))}
            with keras.device("cpu"):
                outputs = {name: np.array(part) for name, part in model(inputs).items()}
            return outputs["logits"], [outputs[name] for name in network.state_names]

        network.check(forward)
        return path.read_bytes()
