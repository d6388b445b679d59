"""Jobs: the texts that requests ask for, and what is delivered of them."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import NamedTuple

import numpy as np

from textgen.sampling.generation import Generation
from textgen.sampling.prompt import Prompt, Request
from textgen.sampling.scores import ScoredToken
from textgen.serving.cache import block_digests
from textgen.serving.models import ServedModel


class Update(NamedTuple):
    """The next part of a text."""

    choice: "Choice"
    text: str
    scores: list[ScoredToken]
    starts: list[int]  # of the scored tokens, in the whole text
    finish_reason: str | None


class Choice:
    """One text of a job."""

    def __init__(self, index: int, request: Request, rng: np.random.Generator) -> None:
        self.index = index
        self.request = request
        self.rng = rng
        self.text: Generation | None = None  # None until it has a slot
        self.finished = False
        self.scores_sent = 0
        self.digests: list[bytes] = []  # of the whole blocks of the prompt
        self.remembered = 0  # tokens; the last state in the cache


class Job:
    """The texts of one request, in order of their index."""

    def __init__(
        self, model: ServedModel, choices: list[Choice], streamed: bool, each_token: bool = False
    ) -> None:
        """Collect the texts of `choices`.

        Args:
            streamed: whether parts of a text are delivered as they are drawn.
            each_token: whether parts are delivered at each step.
        """
        self.model = model
        self.choices = choices
        self.streamed = streamed
        self.each_token = each_token
        self.waiting = deque(choices)
        self.writing = 0  # choices that have a slot
        self.begun = False
        self.started = time.monotonic()
        self._digests: dict[int, list[bytes]] = {}
        self._updates: list[Update] = []
        self._arrived = asyncio.Event()
        self._refusal: Exception | None = None

    def digests_of(self, prompt: Prompt) -> list[bytes]:
        """Return the digests of a prompt's blocks; several texts may share a prompt."""
        if id(prompt) not in self._digests:
            self._digests[id(prompt)] = block_digests(self.model.key, prompt.tokens)
        return self._digests[id(prompt)]

    async def updates(self) -> AsyncIterator[list[Update]]:
        """Yield what is new until all texts are finished; raise RequestError if none can be."""
        unfinished = len(self.choices)
        while unfinished:
            await self._arrived.wait()
            self._arrived.clear()
            if self._refusal:
                raise self._refusal
            updates, self._updates = self._updates, []
            unfinished -= sum(update.finish_reason is not None for update in updates)
            yield updates

    def receive(self, update: Update | Exception) -> None:
        """Take an update, or what `updates` raises; called in the event loop."""
        if isinstance(update, Exception):
            self._refusal = update
        else:
            self._updates.append(update)
        self._arrived.set()
