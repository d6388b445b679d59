"""The network for generation, by a C kernel."""

import ctypes
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import cache
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
_FLOAT, _ID = 4, 8  # bytes
_LARGEST_ERRORS = {False: 1e-4, True: 1e-2}  # of a tiny network's logits; True: in float16
# A thread of its own has at least so many rows and multiplications; it costs about 50 us.
_ROWS_OF_A_PART, _WORK_OF_A_PART = 12, 1 << 23
_WEIGHTS_FOR_TWO = 1 << 19  # weights of a recurrent kernel that two threads read for one row
_UNKNOWN_ID = "a token is not in the vocabulary"

_Room: TypeAlias = tuple[int, int, NDArray[np.uint8]]  # rows, address, memory


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
        self._logits, self._room = library.textgen_logits, library.textgen_room
        self._packed, self._memory = _aligned(library.textgen_packed_bytes(network, half))
        library.textgen_pack(network, half, _pointers(arrays), self._packed)
        self._width: int = library.textgen_state_size(self._packed)  # S
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
        logits = np.empty((rows, self._size), np.float32)
        after = np.empty((rows, self._width), np.float32)
        ids = np.asarray(tokens, np.int64).tobytes()
        to, out = _place_of(after), _place_of(logits)
        known, start = self._last
        if known is not state:  # an address takes as long as a step of 30 units
            start = _place_of(state)
        if rows < 2 * _ROWS_OF_A_PART:
            done = self._step_rows(rows, ids, start, to, out)
        else:
            wide, long = _FLOAT * self._width, _FLOAT * self._size
            done = self._by_parts(
                rows,
                1,
                lambda first, last: self._step_rows(
                    last - first,
                    ids[_ID * first : _ID * last],
                    start + wide * first,
                    to + wide * first,
                    out + long * first,
                ),
            )
        if not done:
            raise IndexError(_UNKNOWN_ID)
        self._last = after, to
        return logits, after

    def forward(self, tokens: Ids, state: Array) -> tuple[Array, Array]:
        """Return the last layer's output, (T, B, U), and the state."""
        steps, rows = tokens.shape
        units = self._architecture.units[-1]
        outputs = np.empty((steps, rows, units), np.float32)
        after = np.empty((rows, self._width), np.float32)
        ids = np.ascontiguousarray(tokens, np.int64)
        start, before, to = ids.ctypes.data, _place_of(state), _place_of(after)
        out, wide, long = _place_of(outputs), _FLOAT * self._width, _FLOAT * units

        def read(first: int, last: int) -> bool:
            states = before + wide * first, to + wide * first
            own = start + _ID * first, *states, out + long * first, None
            return self._read_rows(steps, rows, last - first, *own)

        if not self._by_parts(rows, steps, read):
            raise IndexError(_UNKNOWN_ID)
        return outputs, after

    def logits(self, hidden: Array) -> Array:
        hidden = np.ascontiguousarray(hidden)
        logits = np.empty((*hidden.shape[:-1], self._size), np.float32)
        rows, units = logits.size // self._size, hidden.shape[-1]
        start, to = hidden.ctypes.data, _place_of(logits)

        def multiply(first: int, last: int) -> bool:
            own = start + _FLOAT * units * first, to + _FLOAT * self._size * first
            self._logits(self._packed, last - first, *own)
            return True

        self._by_parts(rows, 1, multiply)
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
        after = np.empty((rows, self._width), np.float32)
        ids = np.ascontiguousarray(tokens, np.int64)
        places = ids.ctypes.data, _place_of(state), _place_of(after), None
        if not self._read_rows(steps, rows, rows, *places, _pointers(arrays)):
            raise IndexError(_UNKNOWN_ID)
        return traces, after

    def _step_rows(self, rows: int, ids: bytes, before: int, after: int, logits: int) -> bool:
        """Call `textgen_step`; return whether all tokens are in the vocabulary."""
        room = self._take_room(rows)
        done = self._step(self._packed, rows, ids, before, after, logits, room[1])
        self._rooms.append(room)
        return bool(done)

    def _read_rows(
        self,
        steps: int,
        batch: int,
        rows: int,
        ids: int,
        before: int,
        after: int,
        outputs: int | None,
        traces: Any,
    ) -> bool:
        """Call `textgen_read`; return whether all tokens are in the vocabulary."""
        room = self._take_room(rows)
        places = ids, before, after, outputs, traces, room[1]
        members = 1
        if rows == 1 and steps > 1 and cores() > 1 and self._largest >= _WEIGHTS_FOR_TWO:
            members = 2  # each reads one half of the weights, for which its cache has room
        team = _CTeam(members)
        meeting = ctypes.addressof(team) if members > 1 else None

        def read(member: int) -> int:
            return self._read(self._packed, steps, batch, rows, *places, meeting, member)

        others = [_threads().submit(read, member) for member in range(1, members)]
        done = read(0)
        for other in others:
            other.result()
        self._rooms.append(room)
        return bool(done)

    def _take_room(self, rows: int) -> _Room:
        """Return memory that no other call works in; `pop` and `append` are atomic."""
        room = self._rooms.pop() if self._rooms else None
        if room is None or room[0] < rows:
            room = rows, *_aligned(self._room(self._packed, rows))
        return room

    def _by_parts(self, rows: int, steps: int, call: Callable[[int, int], bool]) -> bool:
        """Call `call` with the first and the last of some rows, in threads where that is faster.

        Return whether all calls return true.
        """
        work = rows * steps * self._weight_count
        parts = min(cores(), rows // _ROWS_OF_A_PART, work // _WORK_OF_A_PART)
        if parts < 2:
            return call(0, rows)
        borders = [rows * part // parts for part in range(parts + 1)]
        others = [_threads().submit(call, *borders[part : part + 2]) for part in range(1, parts)]
        return all([call(0, borders[1]), *(other.result() for other in others)])


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


class _CTeam(ctypes.Structure):
    """`Team` of kernels/sampling.h."""

    _fields_ = (
        ("members", ctypes.c_int32),
        ("arrived", ctypes.c_int32),
        ("turn", ctypes.c_int32),
    )


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
        ("room", size, [place, number]),
        ("step", number, [place, number, *[place] * 5]),
        ("read", number, [place, number, number, number, *[place] * 7, number]),
        ("logits", None, [place, number, place, place]),
    ):
        function = getattr(library, f"textgen_{name}")
        function.restype, function.argtypes = result, arguments
    return library


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores() - 1, "textgen-rows")


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
