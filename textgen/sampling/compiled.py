"""The network for generation, by a C kernel."""

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache, partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from textgen.kernels import Kernel, kernels
from textgen.options.architecture import GATES, STATES, Architecture
from textgen.preprocess.tokenizers import Ids
from textgen.runs.files import Arrays
from textgen.sampling.network import Array, LayerTrace, Network, NumpyNetwork
from textgen.system.processor import cores

_ALIGNMENT = 64  # bytes
_LARGEST_ERRORS = {False: 1e-4, True: 1e-2}  # of a tiny network's logits; True: in float16
# A thread of its own has at least so many rows and multiplications; it costs about 50 us.
_ROWS_OF_A_PART, _WORK_OF_A_PART = 12, 1 << 23
_WEIGHTS_FOR_TWO = 1 << 19  # weights of a recurrent kernel that two threads read for one row
_OTHER_ROWS = "a state has one row for each row of tokens"
_UNKNOWN_ID = "a token is not in the vocabulary"

_Room: TypeAlias = tuple[int, int, NDArray[np.uint8]]  # bytes, address, memory


class CompiledNetwork:
    """A network whose steps are calls of a C kernel; T steps, B rows, U units, V tokens.

    The state is an array, (B, S): h and, unless the cell is a GRU, c of each layer. The results of
    a row are the same to the last bit, whatever the other rows, and however its tokens are divided
    between `step` and `forward`.
    """

    def __init__(
        self, kernel: Kernel, architecture: Architecture, weights: Arrays, half: bool = False
    ) -> None:
        """Pack the weights for the kernel; if `half`, in float16.

        Half the bytes take half the time to read, where the weights are larger than a cache of the
        processor. Raises OSError or AttributeError if the kernel cannot be used.
        """
        self._architecture = architecture
        self._size = len(weights["embedding"])  # V
        self._weight_count = sum(weights[name].size for name in weights if "bias" not in name)
        self._largest = max(
            weights[name].size for name in weights if name.endswith("recurrent_kernel")
        )
        names = ["embedding"]
        for layer in range(architecture.layers):
            names += [f"layers.{layer}.{part}" for part in ("kernel", "recurrent_kernel", "bias")]
        names += ["embedding" if architecture.tie else "output.kernel", "output.bias"]
        arrays = [np.ascontiguousarray(weights[name], np.float32) for name in names]
        self._embedding = arrays[0]  # the kernel reads that of a large vocabulary
        network = _CNetwork.of(architecture, self._size)
        library = _load_library(kernel)
        self._step, self._read = library.textgen_step, library.textgen_read
        self._logits = library.textgen_logits
        self._packed, self._memory = _aligned(library.textgen_packed_bytes(network, half))
        library.textgen_pack(network, half, _pointers(arrays), self._packed)
        self._width: int = library.textgen_state_size(self._packed)  # S
        self._room_bytes = cache(partial(library.textgen_room, self._packed))
        self._rooms: list[_Room] = []  # those that no call works in
        self._last: tuple[Array | None, int] = None, 0  # the state of the last step; its address

    def zero_state(self, rows: int) -> Array:
        return np.zeros((rows, self._width), np.float32)

    def take(self, state: Array, rows: Sequence[int]) -> Array:
        return state[rows]

    def join(self, states: Sequence[Array]) -> Array:
        return np.concatenate(states)

    def step(self, tokens: Ids, state: Array, alone: int = 0) -> tuple[Array, Array]:
        rows = len(tokens)
        if len(state) != rows:
            raise ValueError(_OTHER_ROWS)
        logits = np.empty((rows, self._size), np.float32)
        after = np.empty((rows, self._width), np.float32)
        ids = np.asarray(tokens, np.int64).tobytes()
        to, out = _place_of(after), _place_of(logits)
        known, start = self._last
        if known is not state:  # an address takes as long as a step of 30 units
            start = _place_of(state)
        # One text is the common case, in which even a call of a method counts.
        threads = 1 if rows < 2 * _ROWS_OF_A_PART else self._threads_for(rows, 1)
        room = self._take_room(rows, threads)
        done = self._step(self._packed, rows, threads, ids, start, to, out, room[1])
        self._rooms.append(room)
        if not done:
            raise IndexError(_UNKNOWN_ID)
        self._last = after, to
        return logits, after

    def forward(self, tokens: Ids, state: Array) -> tuple[Array, Array]:
        """Return the last layer's output, (T, B, U), and the state."""
        outputs = np.empty((*tokens.shape, self._architecture.units[-1]), np.float32)
        return outputs, self._read_tokens(tokens, state, _place_of(outputs), None)

    def logits(self, hidden: Array) -> Array:
        hidden = np.ascontiguousarray(hidden)
        logits = np.empty((*hidden.shape[:-1], self._size), np.float32)
        rows = logits.size // self._size
        threads = self._threads_for(rows, 1)
        self._logits(self._packed, rows, threads, hidden.ctypes.data, _place_of(logits))
        return logits

    def trace(self, tokens: Ids, state: Array) -> tuple[list[LayerTrace], Array]:
        """Read tokens, (T, B); return the activations of each layer, and the state."""
        steps, rows = tokens.shape
        cell = self._architecture.cell
        traces, arrays = list[LayerTrace](), list[Array]()
        for units in self._architecture.units:
            gates = np.empty((steps, rows, len(GATES[cell]), units), np.float32)
            hidden, *memory = (np.empty((steps, rows, units), np.float32) for _ in STATES[cell])
            arrays += [gates, hidden, *memory]
            by_name = {name: gates[:, :, gate] for gate, name in enumerate(GATES[cell])}
            traces.append(LayerTrace(hidden, memory[0] if memory else None, hidden, by_name))
        return traces, self._read_tokens(tokens, state, None, _pointers(arrays))

    def _read_tokens(self, tokens: Ids, state: Array, outputs: int | None, traces: Any) -> Array:
        """Call `textgen_read`; return the state."""
        steps, rows = tokens.shape
        if len(state) != rows:  # the kernel would read what lies behind it
            raise ValueError(_OTHER_ROWS)
        after = np.empty((rows, self._width), np.float32)
        ids = np.ascontiguousarray(tokens, np.int64)
        places = ids.ctypes.data, _place_of(state), _place_of(after), outputs, traces
        threads = self._threads_for(rows, steps)
        room = self._take_room(rows, threads)
        done = self._read(self._packed, steps, rows, threads, *places, room[1])
        self._rooms.append(room)
        if not done:
            raise IndexError(_UNKNOWN_ID)
        return after

    def _threads_for(self, rows: int, steps: int) -> int:
        """Return in how many threads the kernel reads so many rows fastest."""
        if rows == 1 and steps > 1 and self._largest >= _WEIGHTS_FOR_TWO:
            return min(cores(), 2)  # the cache of each has room for one half of the weights
        if rows < 2 * _ROWS_OF_A_PART:
            return 1
        work = rows * steps * self._weight_count
        return max(1, min(cores(), rows // _ROWS_OF_A_PART, work // _WORK_OF_A_PART))

    def _take_room(self, rows: int, threads: int) -> _Room:
        """Return memory that no other call works in; `pop` and `append` are atomic."""
        size = self._room_bytes(rows, threads)
        room: _Room | None
        try:
            room = self._rooms.pop()
        except IndexError:
            room = None
        return room if room and room[0] >= size else (size, *_aligned(size))


def make_network(
    architecture: Architecture, weights: Arrays, half: bool = False
) -> CompiledNetwork | NumpyNetwork:
    """Return a network by the best C kernel that can be trusted, or by NumPy.

    If `half`, a C kernel rounds the weights to float16, which is faster. That changes the loss of
    a text by about 1e-6 nats, and a logit by up to 0.003.
    """
    for kernel in kernels("float32"):
        if reason_against(kernel) is None:
            return CompiledNetwork(kernel, architecture, weights, half)
    return NumpyNetwork(architecture, weights)


@contextmanager
def without_blas_threads(network: Network) -> Iterator[None]:
    """Let NumPy multiply in one thread while a C kernel reads a text.

    Between two products, the threads of NumPy's BLAS spin, on a core that the kernel needs.
    """
    with threadpool_limits(1, "blas") if isinstance(network, CompiledNetwork) else nullcontext():
        yield


@cache
def reason_against(kernel: Kernel) -> str | None:
    """Return why a kernel cannot generate, or None if it computes what NumPy does."""
    rng = np.random.default_rng(0)
    tokens = np.array([[1, 0], [2, 4]])
    for cell in STATES:
        architecture = Architecture(cell, (3, 2), 4, False)
        shapes = architecture.weight_shapes(5).items()
        weights = {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes}
        expected = _tiny_logits(NumpyNetwork(architecture, weights), tokens)
        for half, allowed in _LARGEST_ERRORS.items():
            try:
                network = CompiledNetwork(kernel, architecture, weights, half)
            except (OSError, AttributeError) as error:
                return str(error)
            if not np.allclose(_tiny_logits(network, tokens), expected, 0, allowed):
                return "it computes nonsense"
    return None


def _tiny_logits(network: CompiledNetwork | NumpyNetwork, tokens: Ids) -> Array:
    state: Any = network.zero_state(tokens.shape[1])
    for step in tokens:
        logits, state = network.step(step, state)
    return logits


class _CNetwork(ctypes.Structure):
    """`Network` of kernels/network.h."""

    _fields_ = (
        ("cell", ctypes.c_int32),
        ("layers", ctypes.c_int32),
        ("embedding", ctypes.c_int32),
        ("vocabulary", ctypes.c_int32),
        ("outputs", ctypes.c_int32),
        ("transposed", ctypes.c_int32),
        ("units", ctypes.POINTER(ctypes.c_int32)),
    )

    @classmethod
    def of(cls, architecture: Architecture, size: int) -> "_CNetwork":
        cell = list(STATES).index(architecture.cell)
        units = (ctypes.c_int32 * architecture.layers)(*architecture.units)
        sizes = architecture.layers, architecture.embedding, size, size
        return cls(cell, *sizes, architecture.tie, units)


@cache
def _load_library(kernel: Kernel) -> ctypes.CDLL:
    """Load a kernel's library, and declare the functions of kernels/sampling.h."""
    library = ctypes.CDLL(str(kernel.sampling_path))
    size, number, place = ctypes.c_size_t, ctypes.c_int32, ctypes.c_void_p
    network = ctypes.POINTER(_CNetwork)
    for name, result, arguments in (
        ("packed_bytes", size, [network, number]),
        ("pack", None, [network, number, place, place]),
        ("state_size", size, [place]),
        ("room", size, [place, number, number]),
        ("step", number, [place, number, number, *[place] * 5]),
        ("read", number, [place, number, number, number, *[place] * 6]),
        ("logits", None, [place, number, number, place, place]),
    ):
        function = getattr(library, f"textgen_{name}")
        function.restype, function.argtypes = result, arguments
    return library


def _place_of(array: Any) -> int:
    """Return the address of an array; `array.ctypes.data` takes three times as long."""
    return ctypes.addressof(ctypes.c_char.from_buffer(array)) if array.size else 0


def _pointers(arrays: Sequence[Array]) -> Any:
    return (ctypes.c_void_p * len(arrays))(*(array.ctypes.data for array in arrays))


def _aligned(size: int) -> tuple[int, NDArray[np.uint8]]:
    """Return the address of aligned memory, and the array that it belongs to."""
    memory = np.empty(size + _ALIGNMENT, np.uint8)
    address: int = memory.ctypes.data
    return address + -address % _ALIGNMENT, memory
