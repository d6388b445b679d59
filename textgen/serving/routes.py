"""The routes of the application: what the server answers at each address."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from textgen.options.serving import ServingOptions
from textgen.serving.guard import RequestGuard
from textgen.serving.messages import Gone, refuse
from textgen.serving.metrics import StatusCounter
from textgen.serving.pages import show_file, show_page
from textgen.serving.refusals import RequestError
from textgen.serving.service import Service

_CLOSED = 499  # nginx's status for a client that went away; nobody receives it


def make_application(
    runs: Sequence[Path], folder: Path, options: ServingOptions, host: str = "localhost"
) -> Starlette:
    """Return the application; `app.state.service` is its Service.

    Arguments and errors are those of Service. `host` is a name that requests may be sent to.
    """
    service = Service(runs, folder, options)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        await service.stop()

    middleware = [
        Middleware(StatusCounter, service.metrics.requests),
        Middleware(RequestGuard, options, host),
    ]
    if options.cors_origin:
        cors = Middleware(
            CORSMiddleware,
            allow_origins=options.cors_origin,
            allow_methods=["*"],
            allow_headers=["*"],
        )
        middleware.insert(1, cors)
    app = Starlette(
        routes=_routes(service),
        middleware=middleware,
        lifespan=lifespan,
        exception_handlers={
            RequestError: _refused,
            HTTPException: _not_routed,
            Gone: _closed,
            RecursionError: _nested_too_deeply,
            Exception: _failed,
        },
    )
    app.state.service = service
    return app


def _routes(service: Service) -> list[Route]:
    runs = service.runs
    routes = [
        Route("/", show_page),
        Route("/page/{path:path}", show_file),
        Route("/v1/completions", service.complete, methods=["POST"]),
        Route("/v1/models", service.list_models),
        Route("/v1/models/{name}", service.show_model),
        Route("/v1/options", service.show_options),
        Route("/v1/passages", service.find_passages, methods=["POST"]),
        Route("/v1/runs", runs.list_runs),
        Route("/v1/runs/{name}/events", runs.follow_training),
        Route("/v1/runs/{name}/metrics", runs.show_evaluations),
        Route("/tokenize", service.tokenize, methods=["POST"]),
        Route("/detokenize", service.detokenize, methods=["POST"]),
        Route("/tokenizer_info", service.tokenizer_info),
        Route("/health", service.health),
        Route("/slots", service.slots),
        Route("/metrics", service.show_metrics),
    ]
    if runs.trainings is not None:
        routes += [
            Route("/v1/runs", runs.begin_training, methods=["POST"]),
            Route("/v1/runs/{name}/training", runs.stop_training, methods=["DELETE"]),
        ]
    return routes


async def _refused(_: Request, refusal: Exception) -> Response:
    assert isinstance(refusal, RequestError)
    return refuse(refusal)


async def _not_routed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = f"there is nothing at {request.url.path}"
    if error.status_code == 405:
        message = f"{request.method} is not answered at {request.url.path}"
    answer = refuse(RequestError(error.status_code, message))
    answer.headers.update(error.headers or {})
    return answer


async def _closed(_: Request, _gone: Exception) -> Response:
    return Response(status_code=_CLOSED)


async def _nested_too_deeply(_: Request, _error: Exception) -> Response:
    """Answer a request with a value that can just be read, but not be shown in a message."""
    return refuse(RequestError(400, "the body is nested too deeply"))


async def _failed(_: Request, _error: Exception) -> Response:
    """Answer a request that met a bug. The server's log has the traceback."""
    return refuse(RequestError(500, "an error in the server; its log tells more"))
