"""What the server has done, as Prometheus reads it."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class StatusCounter:
    """Counts the answers of an application by their status."""

    def __init__(self, app: ASGIApp, requests: Counter) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def counted_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._requests.labels(message["status"]).inc()
            await send(message)

        await self._app(scope, receive, counted_send)


class Metrics:
    """Counters of requests and tokens, times of requests, and what goes on at the moment."""

    def __init__(
        self,
        slots_used: Callable[[], float],
        queued_requests: Callable[[], float],
        cache_bytes: Callable[[], float],
    ) -> None:
        self._registry = registry = CollectorRegistry()
        for name, help_, value in (
            ("textgen_slots_used", "Texts being written.", slots_used),
            ("textgen_queued_requests", "Requests that wait for a slot.", queued_requests),
            ("textgen_cache_bytes", "Memory of the states of texts read before.", cache_bytes),
        ):
            Gauge(name, help_, registry=registry).set_function(value)
        self.requests = Counter(
            "textgen_requests", "Requests answered.", ["status"], registry=registry
        )
        self.prompt_tokens = Counter(
            "textgen_prompt_tokens", "Tokens of prompts.", registry=registry
        )
        self.cached_tokens = Counter(
            "textgen_cached_tokens", "Tokens of prompts found in the cache.", registry=registry
        )
        self.tokens = Counter("textgen_tokens", "Tokens generated.", registry=registry)
        self.completion_seconds = Histogram(
            "textgen_completion_seconds",
            "Time of a request for completions.",
            buckets=_BUCKETS,
            registry=registry,
        )
        self.first_text_seconds = Histogram(
            "textgen_first_text_seconds",
            "Time to the first text of a stream.",
            buckets=_BUCKETS,
            registry=registry,
        )

    def page(self) -> bytes:
        """Return all figures in Prometheus's text format."""
        return generate_latest(self._registry)
