"""The processor: the number of cores, and its instructions."""

import os
import platform
from functools import cache
from pathlib import Path


def cores() -> int:
    """Return the number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def instructions() -> frozenset[str]:
    """Return the words of Linux's /proc/cpuinfo: the processor's maker, instruction sets and more.

    Other systems do not list them. There, only what every processor of the kind has is known.
    """
    if platform.machine() in ("arm64", "aarch64"):
        return frozenset({"asimd"})
    try:
        return frozenset(Path("/proc/cpuinfo").read_text("ascii", "replace").split())
    except OSError:
        return frozenset()


def has_bfloat16() -> bool:
    """Return whether the processor multiplies faster in bfloat16; False if unknown.

    Intel's AVX512-BF16, unlike AMD's, is no faster than float32.
    """
    return "amx_bf16" in instructions() or {"avx512_bf16", "AuthenticAMD"} <= instructions()
