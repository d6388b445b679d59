"""Requests for completions, and their answers."""

import json
from typing import Any

import httpx

PROMPT = "The ferry saw "
SETTINGS = {"max_tokens": 200, "temperature": 0.9}


def complete(url: str, prompt: Any = PROMPT, **fields: Any) -> dict[str, Any]:
    body = {"model": "char", "prompt": prompt} | SETTINGS | fields
    answer = httpx.post(f"{url}/v1/completions", json=body, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def text_of(url: str, *arguments: Any, **fields: Any) -> str:
    [choice] = complete(url, *arguments, **fields)["choices"]
    return choice["text"]


def streamed(url: str, **fields: Any) -> list[dict[str, Any]]:
    body = {"model": "char", "prompt": PROMPT, "stream": True} | SETTINGS | fields
    found = []
    with httpx.stream("POST", f"{url}/v1/completions", json=body, timeout=60) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                found.append(json.loads(line.removeprefix("data: ")))
    return found
