"""Send mixed traffic to a server, and look for what is left: python benchmarks/traffic.py SECONDS

Requests are good and bad, streamed or not, aborted, slow, and for several models with random
weights. `--aborts N` sends N requests that are aborted at random moments instead, and then one.
What must not happen ends the program with an error: a status of 5xx but 503, another text for a
seed, or a slot that stays in use.
"""

import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
from clients import PLAY
from serve import free_port, print_header, print_row, stop_server, wait_until_healthy

SIZES = {"small": {"units": 64}, "large": {"units": 256}, "words": {"units": 64, "level": "word"}}
PROMPTS = [
    "",
    "ANNE. ",
    "The lamp ",
    "It was the first evening",
    "I do not know what the sea says.",
]
CLIENTS = 24
_LONGEST = 60.0  # seconds of one request
_WARM_UP = 0.2  # of the time; until then caches are filled
_SAMPLE_SECONDS = 2.0
_LAST_SECONDS = 10.0  # for what was aborted at the end to be noticed

Answer = tuple[int, bytes]


class Client:
    """A connection that sends one request after another."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, port: int) -> "Client":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, method: str, path: str, body: bytes = b"") -> Answer:
        """Send a request; return the status and the body of the answer."""
        self.writer.write(as_request(method, path, body))
        return await self.answer()

    async def answer(self) -> Answer:
        head = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").splitlines()
        headers = dict(line.lower().split(": ", 1) for line in lines if line)
        if "content-length" in headers:
            body = await self.reader.readexactly(int(headers["content-length"]))
        else:
            body = b""
            while size := int(await self.reader.readline(), 16):
                body += (await self.reader.readexactly(size + 2))[:-2]
            await self.reader.readline()
        return int(first.split()[1]), body

    def abort(self) -> None:
        self.writer.transport.abort()


def as_request(method: str, path: str, body: bytes) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def texts_of(body: bytes) -> list[str]:
    """Return the texts of an answer, whole or streamed."""
    if body.startswith(b"{"):
        return [choice["text"] for choice in json.loads(body)["choices"]]
    *events, done, _ = body.split(b"\n\n")
    if done != b"data: [DONE]":
        raise ValueError(f"a stream ends with {done!r}")
    texts: dict[int, str] = {}
    for event in events:
        [choice] = json.loads(event.removeprefix(b"data: "))["choices"]
        texts[choice["index"]] = texts.get(choice["index"], "") + choice["text"]
    return [texts[index] for index in sorted(texts)]


class Traffic:
    """Clients that do what clients do, until the time is over."""

    def __init__(self, port: int, seed: int) -> None:
        self.statuses = Counter[str]()
        self.problems = Counter[str]()
        self._port = port
        self._rng = random.Random(seed)
        self._texts: dict[str, list[str]] = {}  # of requests with a seed
        kinds: list[tuple[Callable[[Client], Awaitable[Answer | None]], int]] = [
            *((self._good, 30), (self._seeded, 20), (self._scored, 8), (self._bad, 20)),
            *((self._aborted, 10), (self._slow_reader, 2), (self._slow_writer, 2)),
            *((self._nonsense, 3), (self._others, 5)),
        ]
        self._kinds = [kind for kind, weight in kinds for _ in range(weight)]

    async def run(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        await asyncio.gather(*(self._client(end) for _ in range(CLIENTS)))

    async def abort(self, count: int) -> None:
        """Abort requests at random moments, some at the same time."""
        for _ in range(0, count, CLIENTS):
            clients = [await Client.connect(self._port) for _ in range(CLIENTS)]
            await asyncio.gather(*map(self._aborted, clients))
        self.statuses["aborted"] += count

    async def _client(self, end: float) -> None:
        while time.monotonic() < end:
            client = await Client.connect(self._port)
            for _ in range(self._rng.randint(1, 4)):
                kind = self._rng.choice(self._kinds)
                try:
                    answer = await asyncio.wait_for(kind(client), _LONGEST)
                except (ConnectionError, asyncio.IncompleteReadError):
                    answer = None
                except asyncio.TimeoutError:
                    self.problems[f"{kind.__name__[1:]} without an answer"] += 1
                    break
                if answer is None:
                    self.statuses[kind.__name__[1:] if kind == self._aborted else "closed"] += 1
                    break
                self.statuses[str(answer[0])] += 1
                if answer[0] >= 500 and answer[0] != 503:
                    self.problems[answer[1].decode()] += 1
                if kind == self._nonsense:  # the server closes the connection
                    break
            client.abort()

    def _fields(self, **fields: Any) -> dict[str, Any]:
        rng = self._rng
        chosen: dict[str, Any] = {
            "model": rng.choice(list(SIZES)),
            "prompt": rng.choice(PROMPTS) * rng.choice([1, 1, 1, 20]),
            "max_tokens": rng.randint(1, 60),
            "stream": rng.random() < 0.4,
            "temperature": rng.choice([0, 0.5, 0.8, 1.2, "0.5,1"]),
        }
        options = {"n": 3, "top_k": 5, "top_p": 0.9, "stop": ["\n"], "logprobs": 2}
        more = {"repetition_penalty": 1.2, "until_sentence": True, "logit_bias": {"3": 2}}
        for name, value in (options | more).items():
            if rng.random() < 0.15:
                chosen[name] = value
        return chosen | fields

    async def _complete(self, client: Client, fields: dict[str, Any]) -> Answer:
        return await client.ask("POST", "/v1/completions", json.dumps(fields).encode())

    def _expect(self, holds: bool, problem: str) -> None:
        if not holds:
            self.problems[problem] += 1

    async def _good(self, client: Client) -> Answer:
        fields = self._fields()
        status, body = await self._complete(client, fields)
        if status == 200:
            texts = texts_of(body)
            self._expect(len(texts) == fields.get("n", 1), "a text is missing")
        self._expect(status in (200, 503), f"a good request: {body[:200]!r}")
        return status, body

    async def _seeded(self, client: Client) -> Answer:
        number = self._rng.randrange(50)
        chosen = random.Random(number)
        prompt = chosen.choice(PROMPTS) + chosen.choice(PROMPTS)
        fields = self._fields(seed=number, prompt=prompt, model=chosen.choice(list(SIZES)))
        fields |= {"max_tokens": chosen.randint(1, 60), "temperature": chosen.choice([0.5, 1])}
        for name in ("n", "top_k", "top_p", "stop", "repetition_penalty", "logit_bias"):
            fields.pop(name, None)
        fields["until_sentence"] = False
        status, body = await self._complete(client, fields)
        if status == 200:
            texts = texts_of(body)
            first = self._texts.setdefault(str(number), texts)
            self._expect(texts == first, f"another text for seed {number}")
        return status, body

    async def _scored(self, client: Client) -> Answer:
        fields = self._fields(echo=True, logprobs=1, stream=False, prompt=" ".join(PROMPTS[1:]))
        status, body = await self._complete(client, fields | {"max_tokens": 0, "n": 1})
        if status == 200:
            [choice] = json.loads(body)["choices"]
            lengths = {len(values) for values in choice["logprobs"].values()}
            self._expect(len(lengths) == 1, "lists of scores of different lengths")
            self._expect(choice["text"] == fields["prompt"], "an echo differs")
        return status, body

    async def _bad(self, client: Client) -> Answer:
        rng, wrong = self._rng, {"n": 10_000, "temperature": -1, "top_p": "a", "prompt": "☃ \0"}
        wrong |= {"model": "../small", "stop": [1], "logit_bias": {"a": 1}, "max_tokens": 10**30}
        name = rng.choice(list(wrong))
        body = json.dumps(self._fields(**{name: wrong[name]})).encode()
        body = rng.choice(
            [body, body, b"\xff" + body, body[: rng.randrange(len(body))], b"[" * 999]
        )
        if name == "prompt":  # words and bytes know all characters
            body = body.replace(b'"words"', b'"small"')
        status, answer = await client.ask("POST", "/v1/completions", body)
        is_refused = status in (400, 404, 503) and list(json.loads(answer)) == ["error"]
        self._expect(is_refused, f"a bad request: {status} {answer[:200]!r}")
        return status, answer

    async def _aborted(self, client: Client) -> None:
        """Go away while the request is sent, while it waits, or while the answer is read."""
        fields = self._fields(max_tokens=self._rng.choice([100, 20_000]))
        data = as_request("POST", "/v1/completions", json.dumps(fields).encode())
        if self._rng.random() < 0.2:
            data = data[: self._rng.randrange(len(data))]
        client.writer.write(data)
        await asyncio.sleep(self._rng.uniform(0, 0.3))
        client.abort()

    async def _slow_reader(self, client: Client) -> Answer:
        fields = self._fields(stream=True, max_tokens=500, logprobs=5)
        body = json.dumps(fields).encode()
        client.writer.write(as_request("POST", "/v1/completions", body))
        transport: Any = client.writer.transport
        for _ in range(20):
            transport.pause_reading()
            await asyncio.sleep(0.1)
            transport.resume_reading()
            await asyncio.sleep(0.001)
        return await client.answer()

    async def _slow_writer(self, client: Client) -> Answer:
        data = as_request("POST", "/v1/completions", json.dumps(self._fields()).encode())
        size = len(data) // 20 + 1
        for first in range(0, len(data), size):
            client.writer.write(data[first : first + size])
            await asyncio.sleep(0.05)
        return await client.answer()

    async def _nonsense(self, client: Client) -> Answer:
        lines = [b"nonsense\r\n\r\n", b"\0" * 50, b"GET / HTTP/7\r\n\r\n", b"X" * 70_000]
        client.writer.write(self._rng.choice(lines))
        return await client.answer()

    async def _others(self, client: Client) -> Answer:
        path = self._rng.choice(["/v1/models", "/health", "/slots", "/metrics", "/nothing"])
        return await client.ask("GET", path)


def memory_of(process: int) -> float:
    """Return the memory of a process, in MB."""
    shown = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(process)], capture_output=True, check=True
    )
    return int(shown.stdout) / 1024


async def sample_memory(process: int, seconds: float) -> list[float]:
    """Return the memory after the warm-up, every few seconds."""
    end = time.monotonic() + seconds
    await asyncio.sleep(_WARM_UP * seconds)
    found = [memory_of(process)]
    while (left := end - time.monotonic()) > 0:
        await asyncio.sleep(min(_SAMPLE_SECONDS, left))
        found.append(memory_of(process))
    return found


async def left_over(port: int) -> tuple[int, str, float]:
    """Return the slots in use, the requests in the queue, and the seconds of one answer."""
    client = await Client.connect(port)
    end = time.monotonic() + _LAST_SECONDS
    while True:
        _, slots = await client.ask("GET", "/slots")
        used = sum(slot["is_processing"] for slot in json.loads(slots))
        if not used or time.monotonic() > end:
            break
        await asyncio.sleep(0.05)
    _, figures = await client.ask("GET", "/metrics")
    [queued] = [
        line.split()[1]
        for line in figures.decode().splitlines()
        if line.startswith("textgen_queued_requests ")
    ]
    start = time.monotonic()
    status, answer = await client.ask("POST", "/v1/completions", b'{"model": "large"}')
    if status != 200:
        sys.exit(f"the last request: {answer.decode()}")
    return used, queued, time.monotonic() - start


def make_runs(folder: Path) -> list[Path]:
    """Create runs with random weights."""
    from textgen.options.training import TrainingOptions
    from textgen.runs.lifecycle import create

    rng = np.random.default_rng(0)
    paths = []
    for name, options in SIZES.items():
        run = create(folder / name, [PLAY], TrainingOptions(**options))
        shapes = run.weight_shapes.items()
        run.save_weights({n: rng.normal(0, 0.1, s).astype(np.float32) for n, s in shapes})
        paths.append(run.path)
    return paths


async def measure(process: int, port: int, seconds: float, aborts: int, seed: int) -> bool:
    """Send the traffic, print what came of it, and return whether all is well."""
    traffic = Traffic(port, seed)
    if aborts:
        await traffic.abort(aborts)
        memory = [memory_of(process)]
    else:
        memory, _ = await asyncio.gather(sample_memory(process, seconds), traffic.run(seconds))
    used, queued, last = await left_over(port)
    print_header("traffic", "")
    print_row("requests", f"{traffic.statuses.total():,}")
    for status, count in sorted(traffic.statuses.items()):
        print_row(f"  {status}", f"{count:,}")
    print_row("memory after the warm-up, MB", f"{memory[0]:.0f}")
    print_row("memory at the end", f"{memory[-1]:.0f}")
    print_row("most memory", f"{max(memory):.0f}")
    print_row("slots in use at the end", str(used))
    print_row("requests in the queue at the end", queued)
    print_row("last answer after, s", f"{last:.3f}")
    for problem, count in traffic.problems.items():
        print_row(f"PROBLEM: {problem}", f"{count:,}")
    return not (traffic.problems or used or float(queued))


@click.command()
@click.argument("seconds", default=60.0)
@click.option("--aborts", default=0, help="Abort this many requests, instead.")
@click.option("--seed", default=0, help="Another seed sends other traffic.")
def main(seconds: float, aborts: int, seed: int) -> None:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as log:
        runs = make_runs(Path(folder))
        # A small cache is full after the warm-up.
        command = [sys.executable, "-m", "textgen", "serve", *runs, "--port", str(port)]
        command += ["--cache", "10", "--slots", "16", "--queue", "8"]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=dict(os.environ))
        try:
            wait_until_healthy(port)
            well = asyncio.run(measure(process.pid, port, seconds, aborts, seed))
        finally:
            stop_server(process)
        log.seek(0)
        lines = log.read().decode().splitlines()
        print_row("lines in the log", str(len(lines)))
        if not well or len(lines) > 2:
            sys.exit("\n".join(lines[:50]))


if __name__ == "__main__":
    main()
