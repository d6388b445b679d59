"""Measure the server, beside the library and an endpoint with a lock: python benchmarks/serve.py

The networks are untrained, which does not affect speed. Every text has 500 tokens. A client sends
its next request when the answer to the last one is complete. With --processes N, one server is
compared with N, over which the clients are spread.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import click
import numpy as np
from clients import PLAY, PROMPT, TOKENS, Clients, FirstPiece
from turns import Maker, alternate

SIZES = [(2, 256), (1, 512)]
_PROBES = 16  # first pieces in a turn


class Library:
    """The library without a server: texts that are generated as a batch."""

    def __init__(self, run: Path, texts: int) -> None:
        import textgen

        self._model = textgen.load(run)
        self._texts = texts

    def steps(self, count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            settings: dict[str, Any] = {"length": TOKENS, "temperature": 0.8}
            for text in list(self._model.samples(PROMPT, count=self._texts, **settings)):
                for _ in text:
                    pass
        return time.perf_counter() - start


def serve_with_lock(run: Path, port: int) -> None:
    """Serve a run as simply as possible: one text at a time, in a thread."""
    from threading import Lock

    import uvicorn
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    import textgen

    model, lock = textgen.load(run), Lock()

    def generate(prompt: str, max_tokens: int, temperature: float) -> str:
        with lock:
            return model.generate(prompt, length=max_tokens, temperature=temperature)

    async def complete(request: Request) -> JSONResponse:
        body = await request.json()
        settings = [body[name] for name in ("prompt", "max_tokens", "temperature")]
        text = await run_in_threadpool(generate, *settings)
        usage = {"completion_tokens": body["max_tokens"]}
        return JSONResponse({"choices": [{"text": text}], "usage": usage})

    async def health(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    routes = [Route("/v1/completions", complete, methods=["POST"]), Route("/health", health)]
    uvicorn.run(Starlette(routes=routes), port=port, log_level="error")


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def start_server(
    run: Path, port: int, log: Any, threads: int | None = None
) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "textgen", "serve", str(run), "--port", str(port)]
    limit = {} if threads is None else {"OPENBLAS_NUM_THREADS": str(threads)}
    return subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | limit)


def stop_server(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    process.wait()


@contextmanager
def server_of(run: Path, threads: int | None = None) -> Iterator[int]:
    """Serve a run by a process of its own, with so many threads of NumPy; yield the port."""
    port = free_port()
    with tempfile.TemporaryFile() as log:
        process = start_server(run, port, log, threads)
        try:
            wait_until_healthy(port)
            yield port
        except ConnectionError:
            log.seek(0)
            sys.exit(log.read().decode())
        finally:
            stop_server(process)


@contextmanager
def lock_server_of(run: Path) -> Iterator[int]:
    """Serve a run with a lock, by a process of its own; yield the port."""
    port = free_port()
    process = get_context("spawn").Process(target=serve_with_lock, args=(run, port), daemon=True)
    process.start()
    try:
        wait_until_healthy(port)
        yield port
    finally:
        process.terminate()
        process.join()


def wait_until_healthy(port: int) -> None:
    """Raise ConnectionError if a server does not answer within 20 seconds."""
    url = f"http://127.0.0.1:{port}/health"
    for _ in range(400):
        with suppress(OSError), urllib.request.urlopen(url) as answer:
            if answer.status == 200:
                return
        time.sleep(0.05)
    raise ConnectionError("the server does not answer")


def first_answer(run: Path, times: int) -> float:
    """Return the median seconds from the start of `textgen serve` to its first answer."""
    seconds = []
    body = json.dumps({"model": run.name, "prompt": PROMPT}).encode()
    for _ in range(times + 1):  # the first fills the disk's cache
        port = free_port()
        url = f"http://127.0.0.1:{port}/v1/completions"
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        start = time.perf_counter()
        process = start_server(run, port, subprocess.DEVNULL)
        try:
            while process.poll() is None:
                try:
                    with urllib.request.urlopen(request) as answer:
                        answer.read()
                    break
                except urllib.error.HTTPError as error:
                    sys.exit(error.read().decode())
                except OSError:  # not listening yet
                    time.sleep(0.005)
            seconds.append(time.perf_counter() - start)
        finally:
            stop_server(process)
    return median(seconds[1:])


def make_run(folder: Path, layers: int, units: int) -> Path:
    """Create a run with random weights."""
    from textgen.options.training import TrainingOptions
    from textgen.runs.lifecycle import create

    run = create(folder / f"{layers}x{units}", [PLAY], TrainingOptions(layers=layers, units=units))
    rng = np.random.default_rng(0)
    run.save_weights(
        {
            name: rng.uniform(-0.08, 0.08, shape).astype(np.float32)
            for name, shape in run.weight_shapes.items()
        }
    )
    return run.path


def print_row(*cells: str) -> None:
    print("| " + " | ".join(cells) + " |", flush=True)


def print_header(*cells: str) -> None:
    print()
    print_row(*cells)
    print("|---|" + "--:|" * (len(cells) - 1), flush=True)


class Contender(NamedTuple):
    """Who takes part: how to make it, texts that it writes at once, and how often in a turn."""

    maker: Maker
    texts: int
    count: int

    @classmethod
    def of(cls, maker: Maker, texts: int) -> "Contender":
        """Take turns of some seconds, so that the start and the end of one hardly count."""
        return cls(maker, texts, {1: 64, 8: 12, 64: 4}[texts])


def measure(
    contenders: dict[str, Contender], probes: dict[str, Maker], rounds: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Let contenders and probes take turns; return tokens a second, and seconds of the probes."""
    makers = {name: contender.maker for name, contender in contenders.items()} | probes
    counts = {name: contender.count for name, contender in contenders.items()}
    found = alternate(makers, counts | dict.fromkeys(probes, _PROBES), rounds)
    times = {name: median(seconds) for name, (seconds, _) in found.items()}
    speeds = {n: TOKENS * c.count * c.texts / times[n] for n, c in contenders.items()}
    return speeds, {name: times[name] for name in probes}


def compare_with_library(run: Path, rounds: int) -> None:
    """Print the speeds of the server beside those of the library."""
    name = run.name
    with server_of(run) as port, lock_server_of(run) as lock_port:
        contenders = {
            f"library, {texts}": Contender.of((Library, (run, texts)), texts)
            for texts in (1, 8, 64)
        }

        def add(kind: str, clients: int, *settings: bool) -> None:
            maker = (Clients, ([port], name, clients, *settings))
            contenders[f"server, {clients}{kind}"] = Contender.of(maker, clients)

        for clients in (1, 8, 64):
            add("", clients)
            add(", streamed", clients, True)
        add(", own prompts", 64, False, False, True)
        add(", seeds", 64, False, True)
        contenders["lock, 64"] = Contender((Clients, ([lock_port], name, 64)), 64, 1)
        probes: dict[str, Maker] = {
            "alone": (FirstPiece, (port, name, 0)),
            "with 63 others": (FirstPiece, (port, name, 63)),
        }
        speeds, seconds = measure(contenders, probes, rounds)
    print_header(f"{name}, texts at once", "tokens a second", "of the library", "to the lock")
    for contender, speed in speeds.items():
        texts = contender.split(", ")[1]
        of_library, to_lock = speed / speeds[f"library, {texts}"], speed / speeds["lock, 64"]
        print_row(contender, f"{speed:,.0f}", f"{of_library:.2f}", f"{to_lock:.1f}")
    step = 64 / speeds["library, 64"]
    alone, among = seconds["alone"], seconds["with 63 others"]
    print(
        f"\nfirst piece after {1000 * alone:.1f} ms, with 63 others after {1000 * among:.1f} ms: "
        f"{(among - alone) / step:+.1f} steps of {1000 * step:.2f} ms"
    )


def compare_processes(run: Path, processes: int, rounds: int) -> None:
    """Print the speeds of one server and of several, which share the cores."""
    threads = max(1, len(os.sched_getaffinity(0)) // processes)
    with ExitStack() as stack:
        ports = [stack.enter_context(server_of(run, threads)) for _ in range(processes)]
        single = stack.enter_context(server_of(run))
        contenders = {"library, 64": Contender.of((Library, (run, 64)), 64)}
        for kind, streamed in (("", False), (", streamed", True)):
            for used in ([single], ports):
                servers = "1 server" if used == [single] else f"{processes} servers"
                clients = (Clients, (used, run.name, 64, streamed))
                contenders[f"{servers}, 64{kind}"] = Contender.of(clients, 64)
        speeds, _ = measure(contenders, {}, rounds)
    print_header(f"{run.name}, texts at once", "tokens a second", "to one server")
    for contender, speed in speeds.items():
        one = speeds["1 server, 64, streamed" if "streamed" in contender else "1 server, 64"]
        print_row(contender, f"{speed:,.0f}", f"{speed / one:.2f}")


@click.command()
@click.option("--rounds", default=5, help="Measured turns of each contender.")
@click.option("--processes", default=1, help="Compare one server with this many, instead.")
def main(rounds: int, processes: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        runs = [make_run(Path(folder), *sizes) for sizes in SIZES]
        if processes > 1:
            print(f"{processes} servers, {len(os.sched_getaffinity(0))} cores")
        else:
            seconds = first_answer(runs[-1], rounds)
            print(f"first answer of {runs[-1].name} {seconds:.2f} s after the start")
        for run in runs:
            if processes > 1:
                compare_processes(run, processes, rounds)
            else:
                compare_with_library(run, rounds)


if __name__ == "__main__":
    main()
