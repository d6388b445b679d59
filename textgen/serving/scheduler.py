"""The scheduler: one thread that writes the texts of all requests, step by step."""

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from textgen.sampling.engine import Engine
from textgen.sampling.generation import Generation
from textgen.sampling.prompt import CHECKPOINT_EVERY, Reading
from textgen.serving.cache import StateCache, block_digests
from textgen.serving.jobs import Choice, Job, Update
from textgen.serving.models import ServedModel
from textgen.serving.refusals import RequestError

_log = logging.getLogger(__name__)

_STREAMED_EVERY = 0.03  # seconds; a message for each token would take longer than the token
_SHARE = 0.5  # of the slots that one request may have, so that others are served meanwhile
_CANCELLED = "cancelled"


class _Slot:
    """A text that is being written."""

    def __init__(self, job: Job, choice: Choice, text: Generation) -> None:
        self.job = job
        self.choice = choice
        self.prompt = choice.request.prompt
        self.text = text
        self.due = 1  # tokens drawn; then there is something to do


class Scheduler:
    """Writes texts in a thread, with one step of a network for all texts of a model.

    Each text has a slot while it is written. Requests get slots in turn, in the order of their
    arrival. Other threads may call all public methods.
    """

    def __init__(self, slots: int, queue: int, cache_bytes: int) -> None:
        """Write up to `slots` texts at once, while up to `queue` requests wait."""
        self.slots = slots
        self._queue_limit = queue
        self._orders: deque[Callable[[], None]] = deque()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._unbegun = 0  # jobs without a slot
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        # The thread's own.
        self._queue: deque[Job] = deque()  # jobs with waiting choices
        self._live: list[_Slot] = []
        self._streams_due = 0.0  # when streams get what is new
        self._engines: dict[ServedModel, Engine] = {}
        self._cache = StateCache(cache_bytes)
        self._outbox: list[tuple[Job, Update | RequestError]] = []

    @property
    def queued(self) -> int:
        """The number of requests that wait for a slot."""
        return self._unbegun

    @property
    def cached_bytes(self) -> int:
        return self._cache.size

    def writing(self) -> list[dict[str, Any]]:
        """Return what each slot in use does."""
        return [
            {
                "model": slot.job.model.name,
                "reading": slot.prompt.logits is None,
                "prompt_tokens": len(slot.prompt.ids),
                "tokens": slot.text.tokens,
                "max_tokens": slot.choice.request.options.length,
                "seconds": round(time.monotonic() - slot.job.started, 3),
            }
            for slot in list(self._live)
        ]

    def check_room(self) -> None:
        """Raise RequestError if a request would be refused."""
        if self._closed:
            raise RequestError(503, "the server is stopping", retry_after=10)
        free = self.slots - len(self._live)
        if self._unbegun >= self._queue_limit + free:
            raise RequestError(
                503,
                f"{self._unbegun - free} requests wait already; try again later",
                code="queue_full",
                retry_after=1,
            )

    def submit(self, job: Job) -> None:
        """Begin to write a job's texts; called in the event loop.

        Raises RequestError if too many requests wait.
        """
        self.check_room()
        with self._lock:
            self._unbegun += 1
            if self._thread is None:
                self._loop = asyncio.get_running_loop()
                self._thread = threading.Thread(target=self._run, name="scheduler", daemon=True)
                self._thread.start()
        self._order(partial(self._queue.append, job))

    def cancel(self, job: Job) -> None:
        """Stop writing a job's texts, and deliver nothing more."""
        if all(choice.finished for choice in job.choices):
            return  # waking the thread would take longer than anything else here
        self._order(partial(self._cancel, job))

    def expire(self, job: Job) -> None:
        """End a job's texts where they are; refuse the job if it has none yet."""
        self._order(partial(self._expire, job))

    def drain(self) -> None:
        """Refuse new jobs; the thread ends after the last text."""
        self._closed = True
        self._wake.set()

    @property
    def is_open(self) -> bool:
        return not self._closed

    @property
    def is_busy(self) -> bool:
        return bool(self._orders or self._queue or self._live)

    def close(self) -> None:
        """Refuse new jobs, end all texts where they are, and wait for the thread."""
        self.drain()
        self._order(self._expire_all)
        if self._thread is not None:
            self._thread.join()

    def _order(self, order: Callable[[], None]) -> None:
        """Let the thread do something before its next step."""
        self._orders.append(order)
        self._wake.set()

    def _run(self) -> None:
        while True:
            if not self._live and not self._queue:
                if self._closed and not self._orders:
                    return
                self._wake.wait()
                self._wake.clear()
            try:
                self._turn()
            except Exception as error:  # the thread must go on
                self._fail(error)
            self._send()

    def _turn(self) -> None:
        """Follow the orders, begin texts, and let each model take a step."""
        changed = bool(self._orders or self._queue)
        while self._orders:
            self._orders.popleft()()
        if self._queue:
            self._admit()
        for model, engine in self._engines.items():
            try:
                changed = engine.step() or changed
            except Exception as error:
                self._fail(error, model)
                changed = True
                break
        self._collect(changed)

    def _admit(self) -> None:
        """Give free slots to waiting texts: one to each job in turn."""
        most = max(1, math.floor(self.slots * _SHARE))
        passed = 0  # jobs in a row that have all the slots they may have
        while self._queue and len(self._live) < self.slots and passed < len(self._queue):
            job = self._queue[0]
            if job.waiting and job.writing < most:
                self._begin(job, job.waiting.popleft())
                passed = 0
            else:
                passed += 1
            self._queue.popleft()
            if job.waiting:
                self._queue.append(job)

    def _begin(self, job: Job, choice: Choice) -> None:
        if not job.begun:
            job.begun = True
            with self._lock:
                self._unbegun -= 1
        job.writing += 1
        model, request = job.model, choice.request
        engine = self._engines.get(model)
        if engine is None:
            engine = self._engines[model] = model.sampler.engine()
        prompt = request.prompt
        choice.digests = job.digests_of(prompt)
        if not prompt.known.tokens and not prompt.is_scored:
            unread = len(prompt.tokens) % CHECKPOINT_EVERY == 0  # the last token must be read
            before = choice.digests[:-1] if unread else choice.digests
            if known := self._cache.longest(before, request.exact):
                prompt.start_from(known)
        choice.text = engine.join(request, choice.rng)
        self._live.append(_Slot(job, choice, choice.text))
        if prompt.is_scored and not request.options.length:
            engine.read(prompt)

    def _collect(self, changed: bool) -> None:
        """Deliver what is drawn, and keep states; free the slots of texts that have ended.

        `changed` is whether a text may have begun or ended since the last call.
        """
        now = time.monotonic()
        streams_due = now >= self._streams_due
        if streams_due:
            self._streams_due = now + _STREAMED_EVERY
        if changed or streams_due:
            due = self._live
        else:  # after most steps there is nothing to do, which must be quick to see
            due = [slot for slot in self._live if slot.text.tokens >= slot.due]
        ended = [slot for slot in due if self._look_at(slot, streams_due)]
        if ended:
            self._live = [slot for slot in self._live if not slot.choice.finished]
            used = {slot.job.model for slot in self._live}
            self._engines = {m: engine for m, engine in self._engines.items() if m in used}

    def _look_at(self, slot: _Slot, stream_due: bool) -> bool:
        """Keep the state of a text if it is due, deliver it; return whether it has ended."""
        job, prompt, text = slot.job, slot.prompt, slot.text
        if slot.choice.remembered < prompt.checkpoint.tokens:
            self._remember_prompt(slot.choice)
        if text.finish_reason is not None:
            if prompt.logits is None and prompt.is_scored and not slot.choice.finished:
                return False  # only its prompt is wanted
            self._finish(slot)
            return True
        if text.tokens:
            rest = (len(prompt.tokens) + text.tokens) % CHECKPOINT_EVERY
            if not rest and text.tokens >= slot.due:  # once, if another model's step failed
                self._remember(slot)
            if job.streamed and (job.each_token or stream_due or slot.due == 1):
                self._deliver(slot)
            slot.due = text.tokens + (1 if job.each_token else CHECKPOINT_EVERY - rest)
        return False

    def _send(self) -> None:
        """Hand what is new to the event loop."""
        if self._outbox and self._loop is not None:
            outbox, self._outbox = self._outbox, []
            try:
                self._loop.call_soon_threadsafe(_hand_over, outbox)
            except RuntimeError:  # the loop is closed
                self._closed = True

    def _remember_prompt(self, choice: Choice) -> None:
        """Keep the last state of a prompt after a whole block."""
        reading = choice.request.prompt.checkpoint
        choice.remembered = reading.tokens
        self._cache.add(choice.digests[reading.tokens // CHECKPOINT_EVERY - 1], reading)

    def _remember(self, slot: _Slot) -> None:
        """Keep the state of a text that has just completed a block."""
        choice, text, tokens = slot.choice, slot.text, slot.prompt.tokens
        length = len(tokens) + text.tokens
        drawn = (text.drawn or [])[-CHECKPOINT_EVERY:]
        block = [*tokens[length - CHECKPOINT_EVERY :].tolist(), *drawn]
        before = choice.digests[-1] if choice.digests else slot.job.model.key
        digest = block_digests(before, np.array(block))[0]
        choice.digests = [digest]
        state = self._engines[slot.job.model].state_of(text)
        exact = choice.request.exact and slot.prompt.known.exact
        self._cache.add(digest, Reading(length, state, exact))

    def _deliver(self, slot: _Slot) -> None:
        choice, text = slot.choice, slot.text
        new, scored = text.ready()
        if new or text.finish_reason is not None:
            first, choice.scores_sent = choice.scores_sent, scored
            scores, starts = text.scores[first:scored], text.starts[first:scored]
            update = Update(choice, new, scores, starts, text.finish_reason)
            self._outbox.append((slot.job, update))

    def _finish(self, slot: _Slot) -> None:
        if slot.choice.finished:  # it was cancelled
            return
        slot.choice.finished = True
        slot.job.writing -= 1
        self._deliver(slot)

    def _cancel(self, job: Job) -> None:
        self._drop_waiting(job)
        for slot in self._slots_of(job):
            slot.choice.finished = True
            if slot.text.finish_reason is None:
                slot.text.end(_CANCELLED)
            elif engine := self._engines.get(job.model):
                engine.forget(slot.prompt)

    def _expire(self, job: Job) -> None:
        slots = self._slots_of(job)
        if job.waiting or any(slot.prompt.logits is None for slot in slots):
            self._cancel(job)
            refusal = RequestError(
                503, "the server had no time for this request; try again later", retry_after=10
            )
            self._outbox.append((job, refusal))
            return
        for slot in slots:
            if slot.text.finish_reason is None:
                slot.text.end("length")

    def _expire_all(self) -> None:
        for job in {*self._queue, *(slot.job for slot in self._live)}:
            self._expire(job)

    def _slots_of(self, job: Job) -> list[_Slot]:
        return [slot for slot in self._live if slot.job is job]

    def _fail(self, error: Exception, model: ServedModel | None = None) -> None:
        """Refuse all requests for a model whose step failed, or all that have begun."""
        if isinstance(error, MemoryError):
            refusal = RequestError(503, "there is not enough memory for this", retry_after=10)
        else:
            _log.error("writing failed", exc_info=error)
            refusal = RequestError(500, "writing failed; the server's log tells more")
        jobs = {slot.job for slot in self._live if model in (None, slot.job.model)}
        if model is None:
            jobs |= {job for job in self._queue if job.begun}
        for job in jobs:
            self._cancel(job)
            self._outbox.append((job, refusal))
        if model is None:
            self._live, self._engines = [], {}
        else:
            del self._engines[model]

    def _drop_waiting(self, job: Job) -> None:
        job.waiting.clear()
        if job in self._queue:
            self._queue.remove(job)
        if not job.begun:
            job.begun = True
            with self._lock:
                self._unbegun -= 1


def _hand_over(outbox: list[tuple[Job, Update | RequestError]]) -> None:
    for job, update in outbox:
        job.receive(update)
