"""The network in training: carried state, independent rows, equality with NumPy and Keras."""

import numpy as np
import pytest
import tensorflow as tf

from textgen.options.architecture import Architecture
from textgen.options.training import TrainingOptions
from textgen.preprocess.corpus import Corpus
from textgen.sampling.network import NumpyNetwork
from textgen.training import candidates, step
from textgen.training.network import TrainingNetwork
from textgen.training.step import Stepper
from textgen.training.streams import Batch, Streams

V, B, T = 11, 3, 24
ARCHITECTURES = [
    Architecture("lstm", (9,), 5, False),
    Architecture("lstm", (9, 7, 4), 5, False),
    Architecture("gru", (9,), 5, False),
    Architecture("gru", (9, 4, 5), 5, True),
    Architecture("cifg", (9, 7), 5, False),
]
architectures = pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)


def made(architecture: Architecture, vocabulary: int = V) -> TrainingNetwork:
    network = TrainingNetwork(architecture, vocabulary, seed=3)
    rng = np.random.default_rng(0)  # nonzero biases, so that their errors would show
    network.assign({n: w + rng.normal(0, 0.3, w.shape) for n, w in network.weights().items()})
    return network


def stepper(network: TrainingNetwork, length: int = T, **options: object) -> Stepper:
    asked = TrainingOptions(
        **{"batch_size": B, "chunk_length": length, "precision": "float32", "dropout": 0} | options
    )
    return Stepper(network, asked.resolve(1000, 100))


def tokens(*shape: int, vocabulary: int = V) -> np.ndarray:
    return np.random.default_rng(1).integers(vocabulary, size=shape, dtype=np.int32)


@architectures
@pytest.mark.parametrize("chunk", [1, 5, 24])
def test_chunks_with_carried_state_equal_one_pass(architecture: Architecture, chunk: int) -> None:
    network, ids = made(architecture), tokens(T, B)
    whole, last = network(ids, network.zero_state(B))
    states, parts = network.zero_state(B), []
    for start in range(0, T, chunk):
        logits, states = network(ids[start : start + chunk], states)
        parts.append(logits)
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-5)
    for name, part in network.state_arrays(last).items():
        np.testing.assert_allclose(network.state_arrays(states)[name], part, atol=1e-5)


@architectures
def test_no_row_touches_another(architecture: Architecture) -> None:
    network, ids = made(architecture), tokens(T, B)
    logits = network(ids, network.zero_state(B))[0].numpy()
    other = ids.copy()
    other[:, 1] = (other[:, 1] + 1) % V
    changed = network(other, network.zero_state(B))[0].numpy()
    np.testing.assert_array_equal(logits[:, [0, 2]], changed[:, [0, 2]])
    assert np.abs(logits[:, 1] - changed[:, 1]).max() > 0.01
    alone, _ = network(ids[:, :1], network.zero_state(1))
    np.testing.assert_allclose(alone[:, 0], logits[:, 0], atol=1e-5)


@pytest.mark.parametrize("architecture", [ARCHITECTURES[1], ARCHITECTURES[3]], ids=str)
def test_documents_packed_into_streams_are_read_as_if_alone(architecture: Architecture) -> None:
    network, ids = made(architecture), tokens(200)
    starts = np.array([0, 14, 31, 35, 36, 90, 140])
    order = np.array([3, 5, 0, 6, 2, 1, 4])
    streams = Streams(Corpus(ids, starts), 3, 9, order=order)
    states, parts = network.zero_state(3), []
    for batch in streams:
        logits, states = network(batch.inputs, states, batch.resets)
        parts.append(logits)
    counts = np.concatenate([batch.counts for batch in streams]).T
    packed = np.concatenate(parts).swapaxes(0, 1)[counts]  # row after row
    borders = set(np.flatnonzero(counts.ravel())[::67])  # first places of the rows
    stops, place, compared = np.append(starts[1:], 199), 0, 0
    for number in order:
        document = ids[starts[number] : stops[number]]
        if not borders & set(range(place + 1, place + len(document))):
            alone, _ = network(document[:, None], network.zero_state(1))
            found = packed[place : place + len(document)]
            np.testing.assert_allclose(found, alone[:, 0], atol=1e-5)
            compared += 1
        place += len(document)
    assert compared == 5  # the borders between the three rows cut the two others


@pytest.mark.parametrize("vocabulary", [V, 5000])
@architectures
def test_numpy_equals_tensorflow(architecture: Architecture, vocabulary: int) -> None:
    network, ids = made(architecture, vocabulary), tokens(T, B, vocabulary=vocabulary)
    expected, _ = network(ids, network.zero_state(B))
    ours = NumpyNetwork(architecture, network.weights())
    hidden, _ = ours.forward(ids, ours.zero_state(B))
    np.testing.assert_allclose(ours.logits(hidden), expected, atol=1e-4)
    states = ours.zero_state(B)
    for t in range(T):
        before = [[part.copy() for part in state] for state in states]
        logits, after = ours.step(ids[t], states)
        np.testing.assert_allclose(logits, expected[t], atol=1e-4)
        for state, copies in zip(states, before, strict=True):
            np.testing.assert_array_equal(state[0], copies[0])  # never changed in place
            np.testing.assert_array_equal(state[1], copies[1])
        states = after


def test_resetting_touches_only_the_rows_named() -> None:
    network = made(ARCHITECTURES[1])
    _, states = network(tokens(T, B), network.zero_state(B))
    before = network.state_arrays(states)
    after = network.state_arrays(network.reset_rows(states, np.array([False, True, False])))
    for name, part in after.items():
        np.testing.assert_array_equal(part[[0, 2]], before[name][[0, 2]])
        assert not part[1].any()


def test_outputs_are_masked_but_not_the_recurrent_path() -> None:
    network = made(ARCHITECTURES[0])
    ids, weights, zero = tokens(T, B), network.tensors(), network.zero_state(B)
    mask = np.full((B, 9), 4 / 3, np.float32)
    mask[1, 2:5] = 0
    plain, unmasked = network.hidden(weights, ids, zero)
    outputs, states = network.hidden(weights, ids, zero, masks=[mask])
    np.testing.assert_allclose(outputs, plain * mask, atol=1e-6)
    for ours, theirs in zip(states[0], unmasked[0], strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_step_lowers_the_loss_and_padding_counts_for_nothing() -> None:
    streams = Streams(Corpus(tokens(B * T + 1), np.array([0])), B, T)
    results = []
    for length in (T, T + 7):  # the second pads every batch by seven steps
        network = made(ARCHITECTURES[0])
        steps = stepper(network, length)
        losses = []
        for _ in range(10):
            states = network.zero_state(B)
            loss, _, _ = steps.train(streams[0], states, 0.01, np.random.default_rng(0))
            losses.append(loss)
        assert losses == sorted(losses, reverse=True)
        results.append([*losses, steps.loss(streams)])
    np.testing.assert_allclose(results[0], results[1], rtol=1e-5)


def test_the_gradient_norm_is_that_of_automatic_differentiation() -> None:
    network = made(ARCHITECTURES[0])
    network.assign({name: 20 * weight for name, weight in network.weights().items()})
    ids, targets = tokens(T, B), tokens(T, B)[::-1].copy()
    states = network.zero_state(B)
    with tf.GradientTape() as tape:
        logits, _ = network(ids, states)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits))
    gradients = tape.gradient(loss, [variable.value for variable in network.variables.values()])
    expected = np.sqrt(sum(np.sum(tf.convert_to_tensor(g).numpy() ** 2) for g in gradients))
    assert expected > 5  # it is clipped
    batch = Batch(ids, targets, np.ones((T, B), bool), None)
    _, norm, _ = stepper(network).train(batch, states, 0.01, np.random.default_rng(0))
    assert norm == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES[1::2] + ARCHITECTURES[4:], ids=str)
def test_keras_layers_do_the_same_as_ours(architecture: Architecture) -> None:
    # On a GPU they replace ours; here they run on the processor.
    ours = made(architecture)
    theirs = TrainingNetwork(architecture, V, on_gpu=True)
    theirs.assign(ours.weights())
    ids, targets = tokens(T, B), tokens(T, B)[::-1].copy()
    logits, states = ours(ids, ours.zero_state(B))
    expected, states_after = theirs(ids, theirs.zero_state(B))
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    for name, part in ours.state_arrays(states).items():
        np.testing.assert_allclose(theirs.state_arrays(states_after)[name], part, atol=1e-5)
    batch = Batch(ids, targets, np.ones((T, B), bool), None)
    for network in (ours, theirs):
        steps = stepper(network)
        for _ in range(3):
            steps.train(batch, network.zero_state(B), 0.01, np.random.default_rng(0))
    for name, weight in ours.weights().items():
        np.testing.assert_allclose(theirs.weights()[name], weight, atol=1e-4)


@pytest.mark.parametrize(
    ("kernels", "cell", "units", "batch_size", "length", "vocabulary", "tie"),
    [
        ("off", "lstm", (32,), 4, 16, 20, False),
        ("", "lstm", (1,), 1, 1, 2, False),
        ("off", "gru", (33,), 3, 5, 400, True),
        ("", "gru", (40, 33), 3, 5, 400, True),
        ("", "lstm", (16,), 5, 4, 400, False),
        ("off", "cifg", (20,), 4, 16, 20, False),
    ],
)
def test_a_step_in_bfloat16_is_near_one_in_float32(
    kernels: str,
    cell: str,
    units: tuple[int, ...],
    batch_size: int,
    length: int,
    vocabulary: int,
    tie: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEXTGEN_KERNELS", kernels)
    monkeypatch.setattr(step, "LARGEST_FULL_SOFTMAX", 100)  # for 400 tokens it is sampled
    monkeypatch.setattr(candidates, "_FREQUENT", 60)
    monkeypatch.setattr(candidates, "_SAMPLED", 100)
    rng = np.random.default_rng(0)
    ids = rng.integers(vocabulary, size=(length + 1, batch_size), dtype=np.int32)
    batch = Batch(ids[:-1], ids[1:], np.ones((length, batch_size), bool), None)
    losses = []
    for precision in ("float32", "bfloat16"):
        architecture = Architecture(cell, units, units[-1], tie)
        network = TrainingNetwork(architecture, vocabulary)
        options = {"precision": precision, "batch_size": batch_size, "dropout": 0.1}
        steps, draws = stepper(network, length, **options), np.random.default_rng(0)
        states = network.zero_state(batch_size)
        losses.append([steps.train(batch, states, 0.01, draws)[0] for _ in range(5)])
        assert all(np.isfinite(weight).all() for weight in network.weights().values())
    np.testing.assert_allclose(*losses, rtol=0.02)
    assert losses[0][-1] < losses[0][0]


@pytest.mark.parametrize("architecture", [ARCHITECTURES[0], ARCHITECTURES[2]], ids=str)
def test_several_gpus_share_the_rows_of_a_batch(
    architecture: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = Streams(Corpus(tokens(4 * T + 1), np.array([0])), 4, T)
    results = []
    for devices in (["CPU:0"], ["CPU:0", "CPU:0"]):  # as if they were GPUs
        network = TrainingNetwork(architecture, V, on_gpu=True)
        steps = stepper(network, batch_size=4, dropout=0.3)
        monkeypatch.setattr(steps, "_devices", devices)
        states = network.zero_state(4)
        loss, _, states = steps.train(streams[0], states, 0.01, np.random.default_rng(0))
        results.append((loss, network.weights(), network.state_arrays(states)))
    (loss, weights, states), (loss_of_two, weights_of_two, states_of_two) = results
    assert loss == pytest.approx(loss_of_two, rel=1e-5)
    for one, two in ((weights, weights_of_two), (states, states_of_two)):
        for name, values in one.items():
            np.testing.assert_allclose(values, two[name], atol=1e-5)
