"""The C kernels: libraries for several kinds of processors, and the choice of one.

They are built with the package where there is a C compiler. The environment variable
TEXTGEN_KERNELS is "off", or the name of the one that is to be used.
"""

import os
from pathlib import Path
from typing import NamedTuple

from textgen.errors import TrainingError
from textgen.system.processor import instructions

_AVX512 = {"avx512f", "avx512bw", "avx512vl", "avx512dq", "fma", "f16c"}
_CHOICE = "TEXTGEN_KERNELS"


class Kernel(NamedTuple):
    """Functions in C for one kind of processor: a library for training, another for sampling.

    TensorFlow can load the first only if nothing else has loaded it before.
    """

    name: str
    precision: str  # of its matrix products
    needs: frozenset[str]  # instruction sets

    @property
    def path(self) -> Path:
        return Path(__file__).with_name(f"_{self.name}.abi3.so")

    @property
    def sampling_path(self) -> Path:
        return Path(__file__).with_name(f"_{self.name}_sampling.abi3.so")

    def can_run(self) -> bool:
        """Return whether the library was built and this processor has its instructions."""
        return self.needs <= instructions() and self.path.exists()


# The best of each precision comes first.
_KERNELS = (
    Kernel("amx", "bfloat16", frozenset(_AVX512 | {"avx512_bf16", "amx_tile", "amx_bf16"})),
    Kernel("avx512bf16", "bfloat16", frozenset(_AVX512 | {"avx512_bf16"})),
    Kernel("avx512", "float32", frozenset(_AVX512)),
    Kernel("avx2", "float32", frozenset({"avx2", "fma", "f16c"})),
    Kernel("neon", "float32", frozenset({"asimd"})),
)


def are_missing(precision: str) -> bool:
    """Return whether a C compiler could have built a kernel for this processor, but none did."""
    suited = [k for k in _KERNELS if k.precision == precision and k.needs <= instructions()]
    return bool(suited) and not any(kernel.path.exists() for kernel in suited)


def kernels(precision: str | None = None) -> list[Kernel]:
    """Return the kernels that can run here, the best first; those of one precision, if given.

    Raises TrainingError if TEXTGEN_KERNELS names none of them.
    """
    runnable = [kernel for kernel in _KERNELS if kernel.can_run()]
    chosen = os.environ.get(_CHOICE, "")
    if chosen:
        names = ["off", *(kernel.name for kernel in runnable)]
        if chosen not in names:
            raise TrainingError(f"{_CHOICE} is {chosen!r}; here it can be {', '.join(names)}")
        runnable = [kernel for kernel in runnable if kernel.name == chosen]
    return [kernel for kernel in runnable if precision in (None, kernel.precision)]
