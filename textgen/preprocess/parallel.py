"""The same work on all cores, in order and in bounded memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from textgen.errors import BookError
from textgen.system.processor import cores

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_ALONE = 8  # items that are not worth starting other processes for
_AHEAD = 2  # items for each core that wait for their turn
_IDLE = 60.0  # seconds until a process without work ends, as where this one was killed


def in_parallel(
    function: Callable[..., _Result],
    items: Iterable[_Item],
    *arguments: Any,
    begin: Callable[[], None] | None = None,
) -> Iterator[_Result]:
    """Yield `function(item, *arguments)` for each item, computed on all cores if there are many.

    Other processes call `begin` before. Raises BookError where one is ended from outside.
    """
    items = iter(items)
    for item in islice(items, _ALONE):
        yield function(item, *arguments)
    if cores() == 1:
        yield from (function(item, *arguments) for item in items)
        return
    first = next(items, None)
    if first is None:
        return
    # Unlike the standard library's, its processes need no guard around a user's main module.
    from loky import BrokenProcessPool, ProcessPoolExecutor

    with ProcessPoolExecutor(cores(), timeout=_IDLE, initializer=begin) as executor:
        try:
            waiting = deque([executor.submit(function, first, *arguments)])
            for item in items:
                waiting.append(executor.submit(function, item, *arguments))
                if len(waiting) > _AHEAD * cores():
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise BookError(
                "a process that prepares the text was ended, perhaps as memory is short; try again"
            ) from None
        except BaseException:
            executor.shutdown(wait=False, kill_workers=True)
            raise
