"""C kernels compute what automatic differentiation of plain formulas does in float64."""

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from textgen.kernels import Kernel, kernels
from textgen.options.architecture import GATES, STATES, Architecture
from textgen.options.training import TrainingOptions
from textgen.runs.files import Arrays
from textgen.training import compiled, optimizer, step
from textgen.training.compiled import CompiledLoss, Operations, compiled_loss
from textgen.training.network import TrainingNetwork
from textgen.training.step import Stepper
from textgen.training.streams import Batch

pytestmark = pytest.mark.skipif(not kernels(), reason="there is no C kernel for this machine")


@pytest.fixture(autouse=True)
def _all_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TEXTGEN_KERNELS", raising=False)


ALLOWED = {"float32": 1e-5, "bfloat16": 3e-2}


def draw_weights(architecture: Architecture, size: int, rng: np.random.Generator) -> Arrays:
    """Draw weights whose products do not grow with the number of units."""
    return {
        name: rng.normal(0, min(0.5, shape[0] ** -0.5), shape).astype(np.float32)
        for name, shape in architecture.weight_shapes(size).items()
    }


def by_formula(
    architecture: Architecture, weights: Arrays, batch: Batch, states: Any, masks: Any
) -> tuple[float, Arrays, list[np.ndarray]]:
    """Return the summed loss, its gradients, and the states after, in float64."""
    w = {name: tf.constant(array, tf.float64) for name, array in weights.items()}
    with tf.GradientTape() as tape:
        tape.watch(w)
        inputs = [tf.gather(w["embedding"], ids) for ids in batch.inputs]
        after = []
        for layer, state in enumerate(states):
            kernel, recurrent, bias = (
                w[f"layers.{layer}.{part}"] for part in ("kernel", "recurrent_kernel", "bias")
            )
            h, *memory = (tf.constant(part, tf.float64) for part in state)
            outputs = []
            for t, x in enumerate(inputs):
                if batch.resets is not None:
                    keep = (~batch.resets[t, :, None]).astype(np.float64)
                    h, memory = h * keep, [part * keep for part in memory]
                if memory:
                    count = len(GATES[architecture.cell])
                    *i, f, g, o = tf.split(x @ kernel + h @ recurrent + bias, count, 1)
                    i = tf.sigmoid(i[0]) if i else 1 - tf.sigmoid(f)
                    memory = [tf.sigmoid(f) * memory[0] + i * tf.tanh(g)]
                    h = tf.sigmoid(o) * tf.tanh(memory[0])
                else:
                    xz, xr, xh = tf.split(x @ kernel + bias[0], 3, 1)
                    hz, hr, hh = tf.split(h @ recurrent + bias[1], 3, 1)
                    z = tf.sigmoid(xz + hz)
                    h = z * h + (1 - z) * tf.tanh(xh + tf.sigmoid(xr + hr) * hh)
                outputs.append(h if masks is None else h * tf.cast(masks[layer], tf.float64))
            after += [h, *memory]
            inputs = outputs
        output = w.get("output.kernel", w["embedding"])
        logits = tf.tensordot(
            tf.stack(inputs), tf.transpose(output) if architecture.tie else output, 1
        )
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
            batch.targets, logits + w["output.bias"]
        )
        loss = tf.reduce_sum(losses * batch.counts)
    gradients = tape.gradient(loss, w)
    dense = {name: tf.convert_to_tensor(array).numpy() for name, array in gradients.items()}
    return float(loss), dense, [part.numpy() for part in after]


def assert_near(found: Any, expected: np.ndarray, allowed: float) -> None:
    # A small sum of larger products has the rounding of those.
    np.testing.assert_allclose(found, expected, atol=allowed * max(1e-2, np.abs(expected).max()))


@settings(max_examples=25)
@given(data=st.data())
def test_loss_gradients_and_states_are_those_of_the_formulas(data: st.DataObject) -> None:
    sizes = st.sampled_from([1, 3, 8, 16, 20, 33, 64])
    cell, tie = data.draw(st.sampled_from(sorted(STATES))), data.draw(st.booleans())
    units = tuple(data.draw(st.lists(sizes, min_size=1, max_size=3)))
    architecture = Architecture(cell, units, units[-1] if tie else data.draw(sizes), tie)
    steps, rows, size = (data.draw(st.integers(1, most)) for most in (6, 20, 70))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    weights = draw_weights(architecture, size, rng)
    candidates = data.draw(st.sampled_from([size, max(1, size // 2)]))
    if candidates < size or not tie:  # as for a sampled softmax
        shape = (candidates, units[-1]) if tie else (units[-1], candidates)
        weights["output.kernel"] = rng.normal(0, 0.2, shape).astype(np.float32)
        weights["output.bias"] = rng.normal(0, 0.2, candidates).astype(np.float32)
    batch = Batch(
        rng.integers(0, size, (steps, rows), np.int32),
        rng.integers(0, candidates, (steps, rows), np.int32),
        rng.random((steps, rows)) < 0.8,
        rng.random((steps, rows)) < 0.2 if data.draw(st.booleans()) else None,
    )
    masks = None
    if data.draw(st.booleans()):
        masks = [((rng.random((rows, n)) < 0.7) * 1.4).astype(np.float32) for n in units]
    states = [
        tuple(rng.normal(0, 0.5, (rows, n)).astype(np.float32) for _ in STATES[cell]) for n in units
    ]
    expected = by_formula(architecture, weights, batch, states, masks)
    for kernel in kernels():
        found = CompiledLoss(kernel.name, compiled.load_operations(kernel), architecture)
        tensors = {name: tf.constant(array) for name, array in weights.items()}
        allowed = ALLOWED[kernel.precision]
        loss, gradients, after = found.gradients(tensors, batch, states, masks)
        assert float(loss) == pytest.approx(expected[0], rel=allowed)
        assert gradients.keys() == expected[1].keys()
        for name, gradient in gradients.items():
            assert_near(gradient, expected[1][name], allowed * 5)
        for part, right in zip(tf.nest.flatten(after), expected[2], strict=True):
            assert_near(part, right, allowed)
        alone, after_alone = found.total_loss(tensors, batch, states, masks)
        assert alone == loss
        tf.nest.map_structure(np.testing.assert_array_equal, after_alone, after)


@pytest.mark.parametrize("cell", sorted(STATES))
def test_as_many_layers_as_anyone_asks_for(cell: str) -> None:
    architecture, rng = Architecture(cell, (2,) * 100, 3, False), np.random.default_rng(0)
    weights = draw_weights(architecture, 5, rng)
    ids = rng.integers(0, 5, (2, 3), np.int32)
    batch = Batch(ids, ids, np.ones(ids.shape, np.bool_), None)
    states = [(np.zeros((3, 2), np.float32),) * len(STATES[cell])] * 100
    expected, _, _ = by_formula(architecture, weights, batch, states, None)
    for kernel in kernels():
        found = CompiledLoss(kernel.name, compiled.load_operations(kernel), architecture)
        loss, _ = found.total_loss(weights, batch, states, None)
        assert float(loss) == pytest.approx(expected, rel=ALLOWED[kernel.precision])


@pytest.mark.parametrize("kernel", kernels(), ids=lambda kernel: kernel.name)
def test_many_rows_and_a_large_vocabulary_are_the_sum_of_fewer_rows(kernel: Kernel) -> None:
    # The logits of all rows are more than are in memory at once, those of each half are not.
    architecture, rng = Architecture("lstm", (20,), 6, False), np.random.default_rng(0)
    size, shape = 10_000, (64, 32)
    weights = draw_weights(architecture, size, rng)
    inputs, targets = rng.integers(0, size, (2, *shape), np.int32)
    # Half of such a number is NaN in bfloat16, should a kernel read beyond the rows it multiplies.
    states = np.full((2, 32, 20), 0x3F007FC0, np.uint32).view(np.float32)
    found = CompiledLoss(kernel.name, compiled.load_operations(kernel), architecture)

    def compute(rows: slice) -> list[np.ndarray]:
        ids = inputs[:, rows], targets[:, rows]
        batch = Batch(*ids, np.ones(ids[0].shape, np.bool_), None)
        loss, gradients, _ = found.gradients(weights, batch, [tuple(states[:, rows])], None)
        return [loss.numpy(), *(gradient.numpy() for gradient in gradients.values())]

    halves = compute(slice(16)), compute(slice(16, 32))
    for whole, *parts in zip(compute(slice(32)), *halves, strict=True):
        assert_near(whole, sum(parts), ALLOWED[kernel.precision])


def loss_of(operations: Operations, ids: np.ndarray) -> Any:
    architecture = Architecture("lstm", (4,), 3, False)
    weights = draw_weights(architecture, 5, np.random.default_rng(0))
    batch = Batch(ids, ids, np.ones(ids.shape, np.bool_), None)
    states = [(tf.zeros((1, 4)),) * 2]
    return CompiledLoss("", operations, architecture).total_loss(weights, batch, states, None)


def test_a_token_outside_the_vocabulary_is_refused() -> None:
    operations = compiled.load_operations(kernels()[0])
    loss_of(operations, np.array([[4]], np.int32))
    for token in (-1, 5):
        with pytest.raises(tf.errors.InvalidArgumentError, match="not in the vocabulary"):
            loss_of(operations, np.array([[token]], np.int32))


@pytest.fixture
def distrusting(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Forget which kernels were found to be right, before the test and after it."""
    compiled.trusted_operations.cache_clear()
    yield monkeypatch
    compiled.trusted_operations.cache_clear()


SMALL = Architecture("lstm", (4,), 3, False)


def test_a_kernel_that_is_right_is_used(distrusting: pytest.MonkeyPatch) -> None:
    for kernel in kernels():
        distrusting.setenv("TEXTGEN_KERNELS", kernel.name)
        assert compiled_loss(kernel.precision, SMALL).name == kernel.name


@pytest.mark.parametrize("wrong", ["loss", "states", "gradients", "update"])
def test_a_kernel_that_computes_nonsense_is_not_used(
    wrong: str, distrusting: pytest.MonkeyPatch
) -> None:
    load = compiled.load_operations

    def broken(kernel: Kernel) -> Operations:
        right = load(kernel)

        def loss(**arguments: Any) -> Any:
            found = dict(zip(("loss", "states", "gradients"), right.loss(**arguments), strict=True))
            if wrong in found:
                found[wrong] = tf.nest.map_structure(lambda part: part * 1.5, found[wrong])
            return tuple(found.values())

        def update(**arguments: Any) -> Any:
            weights, *averages = right.update(**arguments)
            return [weights[0] + 0.01] if wrong == "update" else weights, *averages

        return Operations(loss, update)

    distrusting.setattr(compiled, "load_operations", broken)
    assert compiled_loss(kernels()[0].precision, SMALL) is None


@pytest.mark.parametrize("content", [None, b"", b"not a library"])
def test_a_damaged_library_is_not_used(
    content: bytes | None, distrusting: pytest.MonkeyPatch
) -> None:
    if content is not None:
        Path("damaged.so").write_bytes(content)
    distrusting.setattr(Kernel, "path", property(lambda _: Path("damaged.so").absolute()))
    distrusting.setattr(Kernel, "can_run", lambda _: True)
    assert compiled_loss("float32", SMALL) is None


def test_a_tensorflow_that_lacks_the_operation_is_done_without(
    distrusting: pytest.MonkeyPatch,
) -> None:
    distrusting.setattr(tf, "load_op_library", lambda _: object())
    assert compiled_loss("float32", SMALL) is None


@pytest.mark.parametrize("error", [TypeError("renamed"), ValueError("a shape"), RuntimeError()])
def test_a_tensorflow_that_calls_the_operation_otherwise_is_done_without(
    error: Exception, distrusting: pytest.MonkeyPatch
) -> None:
    operation = Mock(side_effect=error)
    distrusting.setattr(compiled, "load_operations", lambda _: Operations(operation, operation))
    assert compiled_loss(kernels()[0].precision, SMALL) is None
    assert operation.called


def made_stepper() -> Stepper:
    options = TrainingOptions(units=4, embedding=3, precision="float32").resolve(1000, 100)
    return Stepper(TrainingNetwork(options.architecture, 5), options)


def test_xla_does_what_no_kernel_does_and_says_so(distrusting: pytest.MonkeyPatch) -> None:
    assert made_stepper().advice is None
    distrusting.setenv("TEXTGEN_KERNELS", "off")
    stepper = made_stepper()
    assert stepper.hardware.endswith("by XLA")
    assert stepper.advice is None
    distrusting.delenv("TEXTGEN_KERNELS")
    distrusting.setattr(tf, "load_op_library", lambda _: object())
    compiled.trusted_operations.cache_clear()
    stepper = made_stepper()
    assert stepper.hardware.endswith("by XLA")
    assert "does not work with this TensorFlow" in stepper.advice
    distrusting.setattr(Kernel, "path", property(lambda _: Path("missing.so")))
    assert "reinstall textgen" in made_stepper().advice


@pytest.mark.parametrize("cell", sorted(STATES))
def test_steps_by_kernel_and_by_xla_are_the_same(
    cell: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = TrainingOptions(
        cell=cell, units=(20, 12), embedding=6, batch_size=4, chunk_length=8, precision="float32"
    )
    settings_, names, losses = options.resolve(1000, 100), [], []
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 9, (4, 9, 4), np.int32)
    name = kernels("float32")[0].name
    for variable in ("off", name):
        monkeypatch.setenv("TEXTGEN_KERNELS", variable)
        network = TrainingNetwork(settings_.architecture, 9, seed=1)
        stepper, states, draws = (
            Stepper(network, settings_),
            network.zero_state(4),
            np.random.default_rng(1),
        )
        names.append(stepper.hardware.rpartition("by ")[2])
        losses.append([])
        for chunk in ids:
            batch = Batch(chunk[:-1], chunk[1:], np.ones((8, 4), np.bool_), None)
            loss, norm, states = stepper.train(batch, states, 0.01, draws)
            losses[-1] += [loss, norm]
    assert names == ["XLA", f"the {name} kernel"]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_more_parts_than_cores_train_as_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    options = TrainingOptions(units=(20, 12), embedding=6, batch_size=64, chunk_length=8)
    settings_, losses = options.resolve(1000, 100), []
    ids = np.random.default_rng(0).integers(0, 9, (20, 9, 64), np.int32)
    for parts in (1, 64):
        for module in (step, optimizer):
            monkeypatch.setattr(module, "cores", lambda parts=parts: parts)
        network = TrainingNetwork(settings_.architecture, 9, seed=1)
        stepper, states = Stepper(network, settings_), network.zero_state(64)
        assert stepper.hardware.split(" on ")[1].startswith(f"{parts} core")
        losses.append([])
        for chunk in ids:
            batch = Batch(chunk[:-1], chunk[1:], np.ones((8, 64), np.bool_), None)
            loss, norm, states = stepper.train(batch, states, 0.01, np.random.default_rng(1))
            losses[-1] += [loss, norm]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.03)
