"""Apply a function to items on all cores, in order and in bounded memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from textgen.errors import BookError
from textgen.system.processor import cores

_Item = TypeVar("_Item")
_Output = TypeVar("_Output")

_FEW_ITEMS = 8  # not worth starting other processes for
_WAITING_PER_CORE = 2
_IDLE_SECONDS = 60.0  # until an idle worker ends, even if this process was killed


def in_parallel(
    function: Callable[..., _Output],
    items: Iterable[_Item],
    *arguments: Any,
    initializer: Callable[[], None] | None = None,
) -> Iterator[_Output]:
    """Yield `function(item, *arguments)` for each item; if there are many, use all cores.

    Each worker process calls `initializer` first. Raises BookError if one of them is killed.
    """
    items = iter(items)
    for item in islice(items, _FEW_ITEMS):
        yield function(item, *arguments)
    if cores() == 1:
        yield from (function(item, *arguments) for item in items)
        return
    first = next(items, None)
    if first is None:
        return
    # Unlike the standard library's, its processes do not import the user's main module.
    from loky import BrokenProcessPool, ProcessPoolExecutor

    with ProcessPoolExecutor(cores(), timeout=_IDLE_SECONDS, initializer=initializer) as executor:
        try:
            waiting = deque([executor.submit(function, first, *arguments)])
            for item in items:
                waiting.append(executor.submit(function, item, *arguments))
                if len(waiting) > _WAITING_PER_CORE * cores():
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise BookError(
                "a process that reads the text was killed, perhaps because memory ran out; "
                "try again"
            ) from None
        except BaseException:
            executor.shutdown(wait=False, kill_workers=True)
            raise
