"""The service: what models, scheduler and trainings answer to requests."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive

from textgen.errors import OptionError, RunError
from textgen.kernels import kernels
from textgen.options.serving import ServingOptions
from textgen.runs.lifecycle import newest
from textgen.serving.answers import END_OF_DOCUMENT, Answer
from textgen.serving.completions import Completion, check_prompt_length, check_token_count
from textgen.serving.controls import sampling_controls
from textgen.serving.fields import Fields
from textgen.serving.jobs import Job
from textgen.serving.messages import (
    BYTES_OF_A_MB,
    EventStream,
    Gone,
    Json,
    LargeJson,
    disconnected,
    event,
    read_json,
    refuse,
)
from textgen.serving.metrics import Metrics
from textgen.serving.models import Models, saved_at
from textgen.serving.passages import LONGEST_TEXT, copied_passages
from textgen.serving.refusals import RequestError, refusing_prompt, without_folder
from textgen.serving.run_service import RunService
from textgen.serving.scheduler import Scheduler
from textgen.serving.trainings import Trainings
from textgen.serving.turns import Turns

_LARGE = 10_000  # tokens or log-probabilities; more in the event loop would delay others
_LEAST_COPIED = 20  # characters of a passage
_MOST_WAITING = 16  # requests for passages
_Result = TypeVar("_Result")


class Service:
    """The answers at each address, and what they share."""

    def __init__(self, runs: Sequence[Path], folder: Path, options: ServingOptions) -> None:
        """Serve `runs`; without any, or if clients may train, also all runs under `folder`.

        Raises RunError if a run cannot be read, or if there is none, TrainingError if
        TEXTGEN_KERNELS names no kernel.
        """
        if not runs and not options.train:
            newest(folder)  # raises RunError if there is none
        if options.train and os.name != "posix":
            raise OptionError("train", "is not possible on this system; leave it out")
        kernels()  # raises TrainingError if TEXTGEN_KERNELS names none
        self._options = options
        self._models = Models(runs, folder if options.train or not runs else None)
        self._scheduler = Scheduler(
            options.slots, options.queue, int(options.cache * BYTES_OF_A_MB)
        )
        train = options.train
        self._trainings = Trainings(folder, options, self._models.folders) if train else None
        self.runs = RunService(self._models, self._trainings)
        self._comparing = Turns()  # for looking for passages, which takes memory
        self._stopping: asyncio.Task[None] | None = None
        self._hurries = False
        self.metrics = Metrics(
            slots_used=lambda: len(self._scheduler.writing()),
            queued_requests=lambda: self._scheduler.queued,
            cache_bytes=lambda: self._scheduler.cached_bytes,
        )

    async def stop(self, seconds: float = 0) -> None:
        """Refuse new texts, stop trainings, and end the texts that are not done in time.

        A second call waits for the first.
        """
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop(seconds))
        await asyncio.shield(self._stopping)

    async def _stop(self, seconds: float) -> None:
        self._scheduler.drain()
        closing = asyncio.create_task(self._trainings.close()) if self._trainings else None
        end = time.monotonic() + seconds
        while self._scheduler.is_busy and time.monotonic() < end and not self._hurries:
            await asyncio.sleep(0.02)
        await to_thread.run_sync(self._scheduler.close)
        if closing:
            await closing

    def hurry(self) -> None:
        """End texts and kill trainings while the service stops; a signal handler may call this."""
        self._hurries = True
        if self._trainings is not None:
            self._trainings.kill()

    async def complete(self, request: Request) -> Response:
        """POST /v1/completions"""
        start = time.monotonic()
        self._scheduler.check_room()  # before a body is read
        asked = Completion.read(await read_json(request, self._options.max_body), self._options)
        model = await self._models.get(asked.model)
        turn: AbstractAsyncContextManager[None] = nullcontext()
        if asked.options.novel is not None:
            most_waiting = self._options.slots + self._options.queue
            turn = model.comparing.turn(request.receive, most_waiting)
        async with turn:
            job = await _call(asked.work, asked.job, model, self._options)
        answer = Answer(asked, job)
        if job.streamed:
            events = self._events(job, answer, request.receive, start)
            # An error before the first text still has its own status.
            return EventStream(events, await anext(events))
        async with self._writing(job, request.receive, start):
            updates = [update async for part in job.updates() for update in part]
        self._count(answer)
        if answer.work(updates) > _LARGE:
            return await to_thread.run_sync(lambda: LargeJson(answer.whole(updates)))
        return Json(answer.whole(updates))

    async def _events(
        self, job: Job, answer: Answer, receive: Receive, start: float
    ) -> AsyncIterator[bytes]:
        """Yield the answer to a request for a stream."""
        first = True
        async with self._writing(job, receive, start):
            try:
                async for updates in job.updates():
                    if first:
                        self.metrics.first_text_seconds.observe(time.monotonic() - start)
                    yield await _call(answer.work(updates), answer.events, updates)
                    first = False
            except RequestError as refusal:
                if first:
                    raise
                yield event(refusal.body)
        self._count(answer)
        yield answer.last_events()

    @asynccontextmanager
    async def _writing(self, job: Job, receive: Receive, start: float) -> AsyncIterator[None]:
        """Submit a job; end it if the client goes away, or if the time is over."""
        self._scheduler.submit(job)
        timer = asyncio.get_running_loop().call_later(
            self._options.max_seconds, self._scheduler.expire, job
        )
        gone = asyncio.ensure_future(disconnected(receive))
        gone.add_done_callback(lambda task: None if task.cancelled() else job.receive(Gone()))
        try:
            yield
        finally:
            timer.cancel()
            gone.cancel()
            self._scheduler.cancel(job)
            self.metrics.completion_seconds.observe(time.monotonic() - start)

    def _count(self, answer: Answer) -> None:
        usage = answer.usage()
        self.metrics.prompt_tokens.inc(usage["prompt_tokens"])
        self.metrics.cached_tokens.inc(usage["prompt_tokens_details"]["cached_tokens"])
        self.metrics.tokens.inc(usage["completion_tokens"])

    async def list_models(self, _: Request) -> Response:
        """GET /v1/models"""
        saved = await to_thread.run_sync(self._models.saved)
        return Json({"object": "list", "data": [_shown_model(name, time) for name, time in saved]})

    async def show_model(self, request: Request) -> Response:
        """GET /v1/models/{name}"""
        name = request.path_params["name"]
        return Json(_shown_model(name, saved_at(self._models.path(name)) or 0.0))

    async def tokenize(self, request: Request) -> Response:
        """POST /tokenize"""
        body = await read_json(request, self._options.max_body)
        model = await self._models.get(Fields(body).text("model"))
        text = body.get("prompt", body.get("content"))
        if not isinstance(text, str):
            raise RequestError(400, "prompt must be a text", param="prompt")
        tokenizer = model.sampler.tokenizer
        if text == END_OF_DOCUMENT and tokenizer.end is not None:
            return Json({"tokens": [tokenizer.end], "count": 1})

        def encode() -> Response:
            check_prompt_length(text, tokenizer, self._options.max_prompt)
            ids = tokenizer.encode(text)
            check_token_count(len(ids), self._options.max_prompt)
            return LargeJson({"tokens": ids.tolist(), "count": len(ids)})

        with refusing_prompt():
            return await to_thread.run_sync(encode)

    async def detokenize(self, request: Request) -> Response:
        """POST /detokenize"""
        body = await read_json(request, self._options.max_body)
        model = await self._models.get(Fields(body).text("model"))
        tokens = body.get("tokens")
        if not isinstance(tokens, list):
            raise RequestError(400, "tokens must be a list of tokens", param="tokens")

        def decode() -> Response:
            text = model.sampler.tokenizer.decode(model.sampler.checked_ids(tokens))
            return Json({"prompt": text, "content": text})

        try:
            return await _call(len(tokens), decode)
        except OptionError as error:
            raise RequestError.of(error, "tokens") from None

    async def tokenizer_info(self, request: Request) -> Response:
        """GET /tokenizer_info"""
        model = await self._models.get(request.query_params.get("model"))
        sampler = model.sampler
        start = END_OF_DOCUMENT
        if sampler.tokenizer.end is None:
            start = sampler.tokenizer.decode(sampler.opening()[:1])
        level, size = sampler.tokenizer.level, len(sampler.tokenizer)
        return Json({"eos_token": start, "level": level, "vocabulary_size": size})

    async def find_passages(self, request: Request) -> Response:
        """POST /v1/passages"""
        fields = Fields(await read_json(request, self._options.max_body))
        name, text = fields.text("model"), fields.text("text")
        least = fields.whole("least", _LEAST_COPIED, 1, LONGEST_TEXT)
        if text is None or len(text) > LONGEST_TEXT:
            raise RequestError(
                400, f"text must be a text of at most {LONGEST_TEXT:,} characters", param="text"
            )
        path = self._models.path(name if name is not None else self._models.newest_name())
        try:
            async with self._comparing.turn(request.receive, _MOST_WAITING):
                found = await to_thread.run_sync(copied_passages, path, text, least)
        except RunError as error:
            raise RequestError(
                404, without_folder(str(error), path), param="model", code="corpus_unavailable"
            ) from None
        return Json(found)

    async def show_options(self, _: Request) -> Response:
        """GET /v1/options"""
        return Json(sampling_controls(self._options.max_tokens))

    async def health(self, _: Request) -> Response:
        """GET /health"""
        if not self._scheduler.is_open:
            return refuse(RequestError(503, "the server is stopping", retry_after=10))
        return Json({"status": "ok"})

    async def slots(self, _: Request) -> Response:
        """GET /slots"""
        used = self._scheduler.writing()
        idle = [{"is_processing": False}] * (self._scheduler.slots - len(used))
        every = [*({"is_processing": True} | slot for slot in used), *idle]
        return Json([{"id": number} | slot for number, slot in enumerate(every)])

    async def show_metrics(self, _: Request) -> Response:
        """GET /metrics"""
        return Response(self.metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _shown_model(name: str, saved: float) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": int(saved), "owned_by": "textgen"}


async def _call(work: int, function: Callable[..., _Result], *arguments: Any) -> _Result:
    """Call a function, in a thread if there is so much work that others would wait."""
    if work > _LARGE:
        return await to_thread.run_sync(function, *arguments)
    return function(*arguments)
