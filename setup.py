"""Build the C kernels: a library for each kind of processor, where there is a C compiler.

All else about the package is in setup.cfg. Without a compiler, the package is installed without
the kernels, and trains with XLA.
"""

import platform
from pathlib import Path

from setuptools import Extension, setup

_SOURCES = Path("textgen/kernels")
_AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mfma", "-mf16c"]
_BFLOAT16 = [*_AVX512, "-mavx512bf16"]
_TARGETS = {
    "x86_64": {
        "avx2": ["-mavx2", "-mfma", "-mf16c"],
        "avx512": _AVX512,
        "avx512bf16": _BFLOAT16,
        # Clang before 15 defines __AMXBF16__ instead.
        "amx": [*_BFLOAT16, "-mamx-tile", "-mamx-bf16", "-D__AMX_BF16__"],
    },
    "arm64": {"neon": []},
    "aarch64": {"neon": []},
}


def _extension(name: str, sources: list[str], flags: list[str]) -> Extension:
    return Extension(
        f"textgen.kernels._{name}",
        [str(_SOURCES / source) for source in sources],
        depends=[*map(str, _SOURCES.glob("*.h")), "setup.py"],
        extra_compile_args=[
            *["-O3", "-g0", "-std=gnu11", "-Wall", "-Wextra", "-fvisibility=hidden"],
            *["-ffp-contract=fast", "-fno-math-errno", *flags],
        ],
        libraries=["m", "dl", "pthread"],
        py_limited_api=True,  # they do not use Python's interface at all
        optional=True,  # a compiler may lack a target
    )


def _extensions(target: str, flags: list[str]) -> list[Extension]:
    named = [*flags, f"-DVARIANT={target.capitalize()}"]
    training = _extension(target, ["training.c", "optimizer.c", "tensorflow.c"], named)
    if set(_BFLOAT16) <= set(flags):  # sampling computes in float32
        return [training]
    # Else the speed depends on where the linker happens to put the loops.
    flags = [*flags, "-falign-loops=64"]
    return [training, _extension(f"{target}_sampling", ["sampling.c"], flags)]


# Windows: its compiler lacks the vector extensions of GCC and Clang.
_targets = {} if platform.system() == "Windows" else _TARGETS.get(platform.machine(), {})
setup(ext_modules=[made for target in _targets.items() for made in _extensions(*target)])
