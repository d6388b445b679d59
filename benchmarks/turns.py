"""Contenders that take turns: what is timed beside each other compares, also on a busy machine."""

import resource
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

Maker = tuple[Callable[..., Any], tuple[Any, ...]]


def alternate(
    makers: dict[str, Maker], counts: int | dict[str, int], rounds: int
) -> dict[str, tuple[list[float], float]]:
    """Return for each contender the seconds of each of its turns, and its peak memory in MB.

    A contender is what its maker returns when called with its arguments, in a process of its
    own: it has `steps(count)`, which returns the seconds they took. It waits while another is
    measured. The first turn, in which things are compiled, does not count.
    """
    context = get_context("spawn")
    pipes: dict[str, Connection] = {}
    processes = []
    for name, maker in makers.items():
        pipes[name], end = context.Pipe()
        processes.append(context.Process(target=_work, args=(*maker, end), daemon=True))
        processes[-1].start()
    found: dict[str, tuple[list[float], float]] = {name: ([], 0.0) for name in makers}
    for turn in range(rounds + 1):
        for name, pipe in pipes.items():
            pipe.send(counts if isinstance(counts, int) else counts[name])
            seconds, memory = pipe.recv()
            found[name] = ([*found[name][0], seconds] if turn else [], memory)
            time.sleep(0.3)  # until its threads have stopped spinning
    for pipe, process in zip(pipes.values(), processes, strict=True):
        pipe.send(0)
        process.join()
    return found


def _work(maker: Callable[..., Any], arguments: tuple[Any, ...], pipe: Connection) -> None:
    contender = maker(*arguments)
    while count := pipe.recv():
        seconds = contender.steps(count)
        pipe.send((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))
