"""Turns: requests do one at a time what takes much memory, and a few may wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Receive

from textgen.serving.messages import Gone, disconnected
from textgen.serving.refusals import RequestError


class Turns:
    """Lets requests do something one at a time, in the order of their arrival."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._waiting = 0

    @asynccontextmanager
    async def turn(self, receive: Receive, most_waiting: int) -> AsyncIterator[None]:
        """Wait for the turn of a request whose body has been read.

        Raises RequestError if `most_waiting` others wait already, Gone if the client went away
        meanwhile.
        """
        if self._lock.locked() and self._waiting >= most_waiting:
            raise RequestError(
                503,
                f"{self._waiting} requests wait already; try again later",
                code="queue_full",
                retry_after=1,
            )
        gone = asyncio.ensure_future(disconnected(receive))
        self._waiting += 1
        try:
            await self._lock.acquire()
        finally:
            self._waiting -= 1
            gone.cancel()
        try:
            if gone.done():
                raise Gone
            yield
        finally:
            self._lock.release()
