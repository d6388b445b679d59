"""Networks by C kernels compute what those by NumPy and Keras do."""

import ctypes
import multiprocessing
import os
import platform
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from textgen.kernels import Kernel, kernels
from textgen.options.architecture import STATES, Architecture
from textgen.runs.files import Arrays
from textgen.sampling import compiled
from textgen.sampling.compiled import CompiledNetwork, make_network, reason_against
from textgen.sampling.network import NumpyNetwork

with pytest.MonkeyPatch.context() as patch:
    patch.delenv("TEXTGEN_KERNELS", raising=False)
    KERNELS = kernels("float32")
pytestmark = pytest.mark.skipif(not KERNELS, reason="there is no C kernel for this machine")
each_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)

ALLOWED = {False: 1e-5, True: 5e-3}  # True: weights in float16
IDS = np.arange(100)[:, None] % 9
SIZES = st.integers(1, 40) | st.sampled_from([64, 100])


def weights_of(architecture: Architecture, size: int, rng: np.random.Generator) -> Arrays:
    """Draw weights whose products do not grow with the number of units."""
    return {
        name: rng.normal(0, min(0.5, shape[0] ** -0.5), shape).astype(np.float32)
        for name, shape in architecture.weight_shapes(size).items()
    }


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    units = tuple(draw(st.lists(SIZES, min_size=1, max_size=3)))
    tie = draw(st.booleans())
    embedding = units[-1] if tie else draw(SIZES)
    return Architecture(draw(st.sampled_from(sorted(STATES))), units, embedding, tie)


def read(network: Any, ids: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return the logits after each of the ids, (T, B), and the activations."""
    state = network.zero_state(ids.shape[1])
    hidden, _ = network.forward(ids, state)
    traces, _ = network.trace(ids, state)
    activations = list[np.ndarray]()
    for trace in traces:
        activations += [trace.hidden, *(trace.gates[name] for name in sorted(trace.gates))]
        activations += [] if trace.memory is None else [trace.memory]
    return [network.logits(hidden), network.logits(traces[-1].output)], activations


@settings(max_examples=60, deadline=None)
@given(
    architectures(),
    st.sampled_from(KERNELS),
    st.integers(1, 130) | st.just(4097),  # projected by a table, or at each step
    st.integers(0, 7),
    st.integers(1, 14) | st.sampled_from([47, 48, 49, 64]),
    st.booleans(),
    st.integers(0, 1000),
)
def test_it_computes_what_numpy_does(
    architecture: Architecture,
    kernel: Kernel,
    size: int,
    steps: int,
    rows: int,
    half: bool,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    weights, ids = weights_of(architecture, size, rng), rng.integers(size, size=(steps, rows))
    ours = read(CompiledNetwork(kernel, architecture, weights, half), ids)
    theirs = read(NumpyNetwork(architecture, weights), ids)
    for own, expected in zip([*ours[0], *ours[1]], [*theirs[0], *theirs[1]], strict=True):
        np.testing.assert_allclose(own, expected, atol=ALLOWED[half])


@settings(max_examples=60, deadline=None)
@given(
    architectures(),
    st.sampled_from(KERNELS),
    st.integers(1, 70),
    st.lists(st.integers(1, 40), max_size=3),
    st.integers(1, 70),
    st.booleans(),
    st.data(),
)
def test_a_row_does_not_depend_on_the_others_nor_on_the_calls(
    architecture: Architecture,
    kernel: Kernel,
    size: int,
    blocks: Sequence[int],
    rows: int,
    half: bool,
    data: st.DataObject,
) -> None:
    rng = np.random.default_rng(rows)
    network = CompiledNetwork(kernel, architecture, weights_of(architecture, size, rng), half)
    ids = rng.integers(size, size=(sum(blocks) + 1, rows))
    row = data.draw(st.integers(0, rows - 1))
    alone = network.zero_state(1)
    for token in ids[:-1, row]:
        logits, alone = network.step(np.array([token]), alone)
    state, first = network.zero_state(rows), 0
    for count in blocks:
        hidden, state = network.forward(ids[first : first + count], state)
        first += count
    np.testing.assert_array_equal(state[row], alone[0])
    if blocks:
        np.testing.assert_array_equal(network.logits(hidden)[-1, row], logits[0])
    logits, state = network.step(ids[-1, row : row + 1], alone)
    together, joined = network.step(ids[-1], network.join([alone] * rows))
    np.testing.assert_array_equal(together[row], logits[0])
    np.testing.assert_array_equal(network.take(joined, [row]), state)


@pytest.fixture
def many_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute rows in threads, however small the network is."""
    monkeypatch.setattr(compiled, "_WORK_OF_A_PART", 1)
    monkeypatch.setattr(compiled, "cores", lambda: 3)


@each_kernel
@pytest.mark.parametrize("half", [False, True])
def test_rows_are_computed_in_threads(kernel: Kernel, half: bool, many_parts: None) -> None:
    rng, rows = np.random.default_rng(0), 40
    architecture = Architecture("lstm", (20, 9), 6, False)
    network = CompiledNetwork(kernel, architecture, weights_of(architecture, 11, rng), half)
    ids = rng.integers(11, size=(5, rows))
    hidden, state = network.forward(ids, network.zero_state(rows))
    logits, after = network.step(ids[0], state)
    for row in range(rows):
        own_hidden, own = network.forward(ids[:, row : row + 1], network.zero_state(1))
        np.testing.assert_array_equal(hidden[:, row], own_hidden[:, 0])
        np.testing.assert_array_equal(
            network.logits(hidden)[:, row], network.logits(own_hidden)[:, 0]
        )
        own_logits, own_after = network.step(ids[0, row : row + 1], own)
        np.testing.assert_array_equal(logits[row], own_logits[0])
        np.testing.assert_array_equal(after[row], own_after[0])
    with pytest.raises(IndexError, match="not in the vocabulary"):
        network.step(np.where(np.arange(rows) == rows - 1, 11, ids[0]), state)


@each_kernel
def test_a_state_is_a_value(kernel: Kernel) -> None:
    rng = np.random.default_rng(0)
    architecture = Architecture("gru", (20, 9), 6, False)
    network = CompiledNetwork(kernel, architecture, weights_of(architecture, 11, rng))
    _, state = network.step(np.array([1, 2]), network.zero_state(2))
    kept, ids = state.copy(), np.array([3, 4])
    first, after = network.step(ids, state)
    network.forward(ids[None], state)
    network.trace(ids[None], state)
    network.step(ids, after)
    np.testing.assert_array_equal(state, kept)
    again, _ = network.step(ids, state)
    np.testing.assert_array_equal(first, again)
    assert network.step(ids[:0], state[:0])[0].shape == (0, 11)


@each_kernel
@pytest.mark.parametrize("token", [-1, 11])
def test_a_token_outside_the_vocabulary_is_refused(kernel: Kernel, token: int) -> None:
    architecture = Architecture("lstm", (3,), 6, False)
    weights = weights_of(architecture, 11, np.random.default_rng(0))
    network = CompiledNetwork(kernel, architecture, weights)
    state, ids = network.zero_state(2), np.array([[0, 0], [10, token]])
    for call in (network.forward, network.trace):
        with pytest.raises(IndexError, match="not in the vocabulary"):
            call(ids, state)
    with pytest.raises(IndexError, match="not in the vocabulary"):
        network.step(ids[1], state)


@each_kernel
@pytest.mark.parametrize("rows", [0, 1, 3])
def test_a_state_of_other_rows_is_refused(kernel: Kernel, rows: int) -> None:
    architecture = Architecture("lstm", (3,), 6, False)
    weights = weights_of(architecture, 11, np.random.default_rng(0))
    network = CompiledNetwork(kernel, architecture, weights)
    state, ids = network.zero_state(rows), np.array([[1, 2]])
    for call in (network.forward, network.trace):
        with pytest.raises(ValueError, match="one row for each"):
            call(ids, state)
    with pytest.raises(ValueError, match="one row for each"):
        network.step(ids[0], state)


@each_kernel
@pytest.mark.parametrize("cell", sorted(STATES))
def test_a_weight_too_large_for_float16_is_not_infinite(kernel: Kernel, cell: str) -> None:
    architecture = Architecture(cell, (20, 9), 6, False)
    weights = weights_of(architecture, 11, np.random.default_rng(0))
    weights["layers.1.kernel"][0, 0] = 1e6
    ids = np.arange(10)[:, None]
    network = CompiledNetwork(kernel, architecture, weights, half=True)
    (found, _), _ = read(network, ids)
    (expected, _), _ = read(NumpyNetwork(architecture, weights), ids)
    np.testing.assert_allclose(found, expected, atol=ALLOWED[True])


def test_a_kernel_that_cannot_be_trusted_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    architecture = Architecture("lstm", (3,), 6, False)
    weights = weights_of(architecture, 11, np.random.default_rng(0))
    monkeypatch.setattr(compiled, "kernels", lambda _: KERNELS[:1])
    assert isinstance(make_network(architecture, weights), CompiledNetwork)

    reason_against.cache_clear()
    step = CompiledNetwork.step

    def wrong(self: Any, tokens: Any, state: Any, alone: int = 0) -> Any:
        logits, state = step(self, tokens, state)
        return logits + 0.1, state

    with monkeypatch.context() as patch:
        patch.setattr(CompiledNetwork, "step", wrong)
        assert reason_against(KERNELS[0]) == "it computes nonsense"
        assert isinstance(make_network(architecture, weights), NumpyNetwork)
    reason_against.cache_clear()
    compiled._load_library.cache_clear()
    monkeypatch.setattr(Kernel, "sampling_path", property(lambda _: tmp_path / "missing.so"))
    reason = reason_against(KERNELS[0])
    assert reason is not None
    assert "missing.so" in reason
    assert isinstance(make_network(architecture, weights), NumpyNetwork)
    reason_against.cache_clear()


def test_no_kernel_is_used_when_they_are_off(monkeypatch: pytest.MonkeyPatch) -> None:
    architecture = Architecture("lstm", (3,), 6, False)
    weights = weights_of(architecture, 11, np.random.default_rng(0))
    monkeypatch.setenv("TEXTGEN_KERNELS", "off")
    assert isinstance(make_network(architecture, weights), NumpyNetwork)


@each_kernel
@pytest.mark.parametrize("cell", sorted(STATES))
@pytest.mark.parametrize("units", [(7,), (200, 33), (65, 130)])
@pytest.mark.parametrize("rows", [1, 2, 40])
def test_threads_compute_what_one_does(
    rows: int,
    units: tuple[int, ...],
    cell: str,
    kernel: Kernel,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two share the recurrent kernels of one row; several share the rows."""
    rng = np.random.default_rng(0)
    architecture = Architecture(cell, units, 5, False)
    network = CompiledNetwork(kernel, architecture, weights_of(architecture, 9, rng))
    ids, results = rng.integers(9, size=(100, rows)), []
    for count in (1, 3):
        monkeypatch.setattr(CompiledNetwork, "_threads_for", lambda *_, count=count: count)
        logits, activations = read(network, ids)
        results.append([*logits, *activations, *network.step(ids[0], network.zero_state(rows))])
    for one, several in zip(*results, strict=True):
        np.testing.assert_array_equal(one, several)
    with pytest.raises(IndexError, match="not in the vocabulary"):
        network.forward(np.full((3, rows), 9), network.zero_state(rows))


@pytest.fixture
def read_by_two(monkeypatch: pytest.MonkeyPatch) -> CompiledNetwork:
    """A network of which two threads have read one row."""
    monkeypatch.setattr(compiled, "cores", lambda: 2)
    monkeypatch.setattr(compiled, "_WEIGHTS_FOR_TWO", 1)
    architecture = Architecture("lstm", (65,), 5, False)
    weights = weights_of(architecture, 9, np.random.default_rng(0))
    network = CompiledNetwork(KERNELS[0], architecture, weights)
    network.forward(IDS, network.zero_state(1))
    return network


def test_much_work_is_for_several_threads(read_by_two: CompiledNetwork) -> None:
    steps = 2 * compiled._WORK_OF_A_PART // (24 * read_by_two._weight_count) + 1
    calls = {(1, 1): 1, (1, 2): 2, (2, steps): 1, (23, 2 * steps): 1, (24, 1): 1, (24, steps): 2}
    assert {call: read_by_two._threads_for(*call) for call in calls} == calls


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_reads_in_threads(read_by_two: CompiledNetwork) -> None:
    process = multiprocessing.get_context("fork").Process
    child = process(target=read_by_two.forward, args=(IDS, read_by_two.zero_state(1)))
    child.start()
    child.join(20)
    child.kill()
    assert child.exitcode == 0


@pytest.fixture
def no_threads() -> Iterator[None]:
    """Let threads ask for larger stacks than there can be."""
    libc = ctypes.CDLL(None)
    kept, changed = ctypes.create_string_buffer(64), ctypes.create_string_buffer(64)
    for attributes in (kept, changed):
        libc.pthread_getattr_default_np(attributes)
    libc.pthread_attr_setstacksize(changed, ctypes.c_size_t(1 << 47))
    libc.pthread_setattr_default_np(changed)
    yield
    libc.pthread_setattr_default_np(kept)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs functions of glibc")
@pytest.mark.parametrize("rows", [1, 40])
def test_without_threads_the_caller_does_all(
    rows: int,
    read_by_two: CompiledNetwork,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.setattr(compiled, "_WORK_OF_A_PART", 1)
    ids = IDS.repeat(rows, axis=1)
    expected, _ = read(read_by_two, ids)
    request.getfixturevalue("no_threads")
    with pytest.raises(RuntimeError):
        threading.Thread(target=int).start()
    found, _ = read(read_by_two, ids)
    np.testing.assert_array_equal(found, expected)
