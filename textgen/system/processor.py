"""The processor: number of cores, and support for bfloat16."""

import os
from functools import cache
from pathlib import Path


def cores() -> int:
    """Return the number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def has_bfloat16() -> bool:
    """Return whether the processor has bfloat16 instructions; False if unknown.

    Only Linux lists the instructions, in /proc/cpuinfo.
    """
    try:
        words = set(Path("/proc/cpuinfo").read_text("ascii", "replace").split())
    except OSError:
        return False
    return not words.isdisjoint({"avx512_bf16", "amx_bf16"})
