"""What this machine's processor offers to training."""

import os
from functools import cache
from pathlib import Path


def cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware; False where nothing tells."""
    try:
        words = set(Path("/proc/cpuinfo").read_text("ascii", "replace").split())
    except OSError:
        return False
    return not words.isdisjoint({"avx512_bf16", "amx_bf16"})
