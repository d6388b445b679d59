"""What is answered about runs and their trainings."""

import asyncio
import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive

from textgen.errors import RunError
from textgen.runs.locking import is_locked
from textgen.serving.events import Event, replayed
from textgen.serving.messages import EventStream, Json, disconnected, event, parts_of
from textgen.serving.models import Models
from textgen.serving.records import GOING_ON, RunRecords, read_evaluations
from textgen.serving.refusals import RequestError, no_run, without_folder
from textgen.serving.trainings import Trainings


class RunService:
    """The answers at the addresses below /v1/runs."""

    def __init__(self, models: Models, trainings: Trainings | None) -> None:
        """Tell of the runs of `models`, and let clients train with `trainings` if given."""
        self._models = models
        self.trainings = trainings
        self._records = RunRecords()

    async def list_runs(self, _: Request) -> Response:
        """GET /v1/runs"""
        trainings = self.trainings.states() if self.trainings else {}

        def describe() -> list[dict[str, Any]]:
            return self._records.describe(self._models.folders(), trainings)

        runs = await to_thread.run_sync(describe)
        return Json({"trains": self.trainings is not None, "runs": runs})

    async def show_evaluations(self, request: Request) -> Response:
        """GET /v1/runs/{name}/metrics"""
        name = request.path_params["name"]
        if name not in self._models.folders() and self._training(name):  # it has not begun
            return Json({"metrics": [], "previews": []})
        path = self._folder(name)
        try:
            return Json(await to_thread.run_sync(read_evaluations, path))
        except RunError as error:
            message = without_folder(str(error), path)
            raise RequestError(404, message, code="run_unavailable") from None

    async def follow_training(self, request: Request) -> Response:
        """GET /v1/runs/{name}/events"""
        events = await self._events(request.path_params["name"])
        parts = _named_events(events, request.receive)
        return EventStream(parts, await anext(parts))

    async def begin_training(self, request: Request) -> Response:
        """POST /v1/runs"""
        assert self.trainings is not None
        options = dict(request.query_params)
        name = options.pop("name", "")
        parts = parts_of(request, math.inf)  # the training bounds its text
        return Json(await self.trainings.begin(name, options, parts), 202)

    async def stop_training(self, request: Request) -> Response:
        """DELETE /v1/runs/{name}/training"""
        assert self.trainings is not None
        return Json(self.trainings.stop(request.path_params["name"]), 202)

    async def _events(self, name: str) -> AsyncIterator[Event]:
        """Return the events of a training, told by this server or by the files of the run."""
        training = self._training(name)
        if self.trainings is None or training is None:
            return replayed(self._folder(name))
        path = self._models.folders().get(name)
        is_over = training["state"] not in GOING_ON
        if is_over and path and await to_thread.run_sync(is_locked, path):
            return replayed(path)  # another process has resumed it
        return self.trainings.events(name)

    def _training(self, name: str) -> dict[str, Any] | None:
        """Return the state of a training that the server remembers."""
        return self.trainings.describe(name) if self.trainings is not None else None

    def _folder(self, name: str) -> Path:
        path = self._models.folders().get(name)
        if path is None:
            raise no_run(name)
        return path


async def _named_events(events: AsyncIterator[Event], receive: Receive) -> AsyncIterator[bytes]:
    """Yield events with names, until the client goes away."""
    gone = asyncio.ensure_future(disconnected(receive))
    try:
        while True:
            following = asyncio.ensure_future(anext(events, None))
            await asyncio.wait({following, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                following.cancel()
                return
            if (found := following.result()) is None:
                return
            name, data = found
            yield event(data, name)
    finally:
        gone.cancel()
