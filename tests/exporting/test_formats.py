"""Exports to Keras, ONNX and PyTorch compute what textgen computes."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import fabricate, make_book
from safetensors import safe_open
from safetensors.numpy import load_file

import textgen
from textgen.errors import OutputError, RunError
from textgen.exporting.portable import PortableNetwork
from textgen.model import Model
from textgen.options.architecture import Architecture
from textgen.runs.files import Arrays
from textgen.runs.folder import Run
from textgen.sampling.network import NumpyNetwork

NETWORKS: list[dict[str, Any]] = [
    {"cell": "lstm"},
    {"cell": "gru"},
    {"cell": "cifg", "units": (9, 5)},
    {"cell": "lstm", "units": (9, 5), "level": "word"},
    {"cell": "gru", "units": (9, 5), "level": "byte"},
    {"cell": "lstm", "units": (7, 6), "tie": True, "embedding": 6},
    {"cell": "gru", "units": 6, "tie": True, "embedding": 6},
]


@pytest.fixture(params=NETWORKS, ids=lambda options: "-".join(map(str, options.values())))
def network_run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    book = tmp_path / "book.txt"
    book.write_text(make_book(), "utf-8")
    return fabricate("run", book, **request.param)


def expected_chunks(run: Run) -> list[tuple[Any, Any]]:
    """Return three chunks of tokens, (2, 5), and their logits, with the state carried."""
    network = NumpyNetwork(run.settings.architecture, run.weights())
    rng, state, chunks = np.random.default_rng(5), network.zero_state(2), []
    for _ in range(3):
        tokens = rng.integers(len(run.tokenizer), size=(2, 5))
        hidden, state = network.forward(tokens.T, state)
        chunks.append((tokens, network.logits(hidden).transpose(1, 0, 2)))
    return chunks


def state_names(architecture: Architecture) -> list[str]:
    parts = "h" if architecture.cell == "gru" else "hc"
    return [f"{part}{n}" for n in range(architecture.layers) for part in parts]


def test_keras_loads_it_without_textgen(network_run: Run) -> None:
    from textgen.training.backend import keras

    path = textgen.load(network_run.path).export("keras", "book.keras")
    model = keras.saving.load_model(path)
    assert {type(layer).__module__.partition(".")[0] for layer in model.layers} == {"keras"}
    names = state_names(network_run.settings.architecture)
    state = {name: np.zeros((2, model.input[name].shape[1]), np.float32) for name in names}
    for tokens, logits in expected_chunks(network_run):
        outputs = model({"tokens": tokens, **state})
        np.testing.assert_allclose(outputs["logits"], logits, 1e-4, 1e-4)
        state = {name: keras.ops.convert_to_numpy(outputs[name]) for name in names}
    tokenizer = json.loads(zipfile.ZipFile(path).read("tokenizer.json"))
    assert tokenizer == network_run.tokenizer.to_json()


def test_onnx_runtime_runs_it(network_run: Run) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    path = textgen.load(network_run.path).export("onnx", "book.onnx")
    session = onnxruntime.InferenceSession(str(path))
    names = state_names(network_run.settings.architecture)
    assert [each.name for each in session.get_inputs()] == ["tokens", *names]
    assert [each.name for each in session.get_outputs()] == [
        "logits",
        *(f"{name}_next" for name in names),
    ]
    sizes = {each.name: each.shape[1] for each in session.get_inputs()}
    state = {name: np.zeros((2, sizes[name]), np.float32) for name in names}
    for tokens, logits in expected_chunks(network_run):
        found, *after = session.run(None, {"tokens": tokens, **state})
        np.testing.assert_allclose(found, logits, 1e-4, 1e-4)
        state = dict(zip(names, after, strict=True))
    stored = json.loads(session.get_modelmeta().custom_metadata_map["tokenizer"])
    assert stored == network_run.tokenizer.to_json()


def test_pytorch_runs_it(network_run: Run) -> None:
    torch = pytest.importorskip("torch")
    path = textgen.load(network_run.path).export("torch", "book.safetensors")
    arrays = {name: torch.from_numpy(array) for name, array in load_file(path).items()}
    architecture = network_run.settings.architecture
    kind = torch.nn.GRU if architecture.cell == "gru" else torch.nn.LSTM
    model = torch.nn.Module()
    model.embedding = torch.nn.Embedding(*arrays["embedding.weight"].shape)
    sizes = zip(architecture.inputs, architecture.units, strict=True)
    model.layers = torch.nn.ModuleList([kind(inputs, units) for inputs, units in sizes])
    model.output = torch.nn.Linear(*reversed(arrays["output.weight"].shape))
    model.load_state_dict(arrays)
    states = [None] * architecture.layers
    for tokens, logits in expected_chunks(network_run):
        hidden = model.embedding(torch.from_numpy(tokens.T))
        for n, layer in enumerate(model.layers):
            hidden, states[n] = layer(hidden, states[n])
        found = model.output(hidden).detach().numpy().transpose(1, 0, 2)
        np.testing.assert_allclose(found, logits, 1e-4, 1e-4)
    with safe_open(path, "numpy") as file:
        metadata = file.metadata()
    assert metadata["cell"] == kind.__name__.lower()
    assert json.loads(metadata["tokenizer"]) == network_run.tokenizer.to_json()


def test_a_wrong_export_is_not_written(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    made = PortableNetwork.__init__

    def spoiled(network: PortableNetwork, run: Run, weights: Arrays) -> None:
        made(network, run, weights)
        network.output_bias = network.output_bias + np.float32(0.01)

    monkeypatch.setattr(PortableNetwork, "__init__", spoiled)
    before = sorted(Path().iterdir())
    for to in ("keras", "onnx", "torch"):
        with pytest.raises(OutputError, match="computes other logits than the run"):
            model.export(to)
    assert sorted(Path().iterdir()) == before


def test_an_ensemble_is_refused(model: Model) -> None:
    both = Model([model.run, model.run])
    with pytest.raises(RunError, match="an export holds one network"):
        both.export("torch")
