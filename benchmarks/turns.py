"""Time contenders in turns, so that their times are comparable even on a busy machine."""

import resource
import time
from collections.abc import Callable, Iterable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from statistics import median
from typing import Any, NamedTuple

from textgen.options.architecture import GATES

Maker = tuple[Callable[..., Any], tuple[Any, ...]]


def alternate(
    makers: dict[str, Maker], counts: int | dict[str, int], rounds: int
) -> dict[str, tuple[list[float], float]]:
    """Return the seconds of each turn of each contender, and its peak memory in MB.

    Each contender runs in its own process, and waits while another is measured. Its maker is
    called with its arguments and returns an object whose method `steps(count)` returns the
    seconds that the steps took. The first turn includes compilation and does not count.
    """
    context = get_context("spawn")
    pipes: dict[str, Connection] = {}
    processes = []
    for name, maker in makers.items():
        pipes[name], end = context.Pipe()
        processes.append(context.Process(target=_work, args=(*maker, end), daemon=True))
        processes[-1].start()
        end.close()  # so that `recv` fails if the process ends
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


class CellsCase(NamedTuple):
    """A size of network at which the kinds of recurrent layers are compared."""

    name: str
    makers: dict[str, Maker]  # of each cell
    steps: int  # of a turn
    tokens: int  # of a step


def compare_cells(heading: str, cases: Iterable[CellsCase], rounds: int) -> None:
    """Print the tokens per second of each kind of recurrent layer."""
    print(f"| {heading} | " + " | ".join(GATES) + " | cifg to lstm |")
    print("|---|" + "--:|" * (len(GATES) + 1))
    for case in cases:
        found = alternate(case.makers, case.steps, rounds)
        tokens = case.steps * case.tokens
        speeds = {cell: tokens / median(times) for cell, (times, _) in found.items()}
        cells = [f"{speed:,.0f}" for speed in speeds.values()]
        ratio = f"{speeds['cifg'] / speeds['lstm']:.2f}"
        print("| " + " | ".join([case.name, *cells, ratio]) + " |", flush=True)
