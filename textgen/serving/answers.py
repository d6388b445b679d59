"""The answers to requests for completions, in the form of OpenAI's."""

import secrets
import time
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any
from unicodedata import normalize

from textgen.preprocess.tokenizers import ByteTokenizer, Tokenizer, WordTokenizer
from textgen.sampling.scores import ScoredToken
from textgen.serving.completions import Completion
from textgen.serving.jobs import Choice, Job, Update
from textgen.serving.messages import event

END_OF_DOCUMENT = "<|endoftext|>"
"""The name of the end-of-document token, which stands for no text."""

Logprobs = dict[str, list[Any]]


class Answer:
    """The answer to one request, whole or as a stream of events."""

    def __init__(self, asked: Completion, job: Job) -> None:
        self._asked = asked
        self._job = job
        self._tokenizer = job.model.sampler.tokenizer
        self._head = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": job.model.name,
            "system_fingerprint": job.model.fingerprint,
        }
        self._begun: set[int] = set()  # choices with something sent

    def work(self, updates: Iterable[Update]) -> int:
        """Return how many log-probabilities an answer with these updates has."""
        if self._asked.logprobs is None:
            return 0
        tokens = 0
        for choice, _, scores, *_ in updates:
            tokens += len(scores)
            if self._asked.echo and choice.index not in self._begun:
                tokens += len(choice.request.prompt.ids)
        return tokens * (1 + self._asked.logprobs)

    def whole(self, updates: Iterable[Update]) -> dict[str, Any]:
        """Return the answer with all texts, each of which has one update."""
        choices = sorted(map(self._choice, updates), key=lambda choice: choice["index"])
        return self._head | {"choices": choices, "usage": self.usage()}

    def events(self, updates: Iterable[Update]) -> bytes:
        """Return what is new as server-sent events."""
        return b"".join(event(self._head | {"choices": [self._choice(u)]}) for u in updates)

    def last_events(self) -> bytes:
        """Return the events after all texts."""
        done = b"data: [DONE]\n\n"
        if not self._asked.include_usage:
            return done
        return event(self._head | {"choices": [], "usage": self.usage()}) + done

    def usage(self) -> dict[str, Any]:
        """Return the number of tokens read and written."""
        prompts = {id(choice.request.prompt): choice.request.prompt for choice in self._job.choices}
        read = sum(len(prompt.ids) for prompt in prompts.values())
        written = sum(choice.text.tokens for choice in self._job.choices if choice.text)
        return {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": read + written,
            "prompt_tokens_details": {
                "cached_tokens": sum(prompt.skipped for prompt in prompts.values())
            },
        }

    def _choice(self, update: Update) -> dict[str, Any]:
        choice, text, logprobs = update.choice, update.text, None
        offset = len(self._prompt(choice)) if self._asked.echo else 0
        if self._asked.logprobs is not None:
            names = token_names(self._tokenizer, [scored.token for scored in update.scores])
            starts = [offset + at for at in update.starts]
            ahead = choice.request.prompt.ahead if update.starts[:1] == [0] else ""
            logprobs = self._logprobs(update.scores, names, starts, ahead)
        if self._asked.echo and choice.index not in self._begun:
            self._begun.add(choice.index)
            text = self._prompt(choice) + text
            if logprobs is not None:
                read = self._prompt_logprobs(choice)
                logprobs = {name: read[name] + logprobs[name] for name in read}
        reason = update.finish_reason
        return {
            "index": choice.index,
            "text": text,
            "logprobs": logprobs,
            "finish_reason": "stop" if reason not in (None, "length") else reason,
            "stop_reason": self._stop_reason(choice, reason),
        }

    def _stop_reason(self, choice: Choice, reason: str | None) -> str | None:
        """Return the stop text that ended a text, or the option that did."""
        if reason == "stop" and choice.text:
            return choice.text.stopped_by
        return reason if reason in ("sentence", "novel") else None

    def _prompt(self, choice: Choice) -> str:
        prompt = self._asked.prompts[choice.index // self._asked.texts]
        return prompt if isinstance(prompt, str) else self._tokenizer.decode(prompt)

    def _prompt_logprobs(self, choice: Choice) -> Logprobs:
        read, given = choice.request.prompt, self._asked.prompts[choice.index // self._asked.texts]
        ids = (read.ids if len(read.ids) else read.tokens).tolist()  # the start of a document
        names = pieces = token_names(self._tokenizer, ids)
        words = list[str]()
        if isinstance(given, str) and isinstance(self._tokenizer, WordTokenizer):
            words = self._tokenizer.split(given)
        if len(words) == len(ids):  # an empty prompt has a token, but no words
            names = pieces = words  # unknown ones, too
        elif END_OF_DOCUMENT in names or isinstance(self._tokenizer, ByteTokenizer):
            decode = self._tokenizer.decoder()
            pieces = [decode(token) for token in ids]
        offsets = [0, *accumulate(map(len, pieces))]
        if given and isinstance(given, str) and "".join(pieces) != given:
            offsets = starts_in(given, pieces)
        scores = read.scores[-(len(ids) - 1) :] if len(ids) > 1 else []
        found = self._logprobs(scores, names[1:], offsets[1 : len(names)])
        first: Logprobs = {
            "tokens": names[:1],
            "token_logprobs": [None],
            "top_logprobs": [None],
            "text_offset": [0],
        }
        return {name: first[name] + found[name] for name in first}

    def _logprobs(
        self,
        scores: Sequence[ScoredToken],
        names: list[str],
        offsets: list[int],
        ahead: str = "",
    ) -> Logprobs:
        likeliest = [
            self._likeliest(scored, name) for scored, name in zip(scores, names, strict=True)
        ]
        if ahead:  # the first token begins with it, but the text goes on behind it
            names = [names[0].removeprefix(ahead), *names[1:]]
            likeliest[0] = {n.removeprefix(ahead): value for n, value in likeliest[0].items()}
        return {
            "tokens": names,
            "token_logprobs": [scored.log_probability for scored in scores],
            "top_logprobs": likeliest,
            "text_offset": offsets,
        }

    def _likeliest(self, scored: ScoredToken, name: str) -> dict[str, float]:
        """Return the likeliest tokens, and the token itself if it is not one of them."""
        tokens = [token for token, _ in scored.likeliest]
        values = [value for _, value in scored.likeliest]
        found = dict(zip(token_names(self._tokenizer, tokens), values, strict=True))
        found = {other: value for other, value in found.items() if value > float("-inf")}
        return found | {name: scored.log_probability}


def starts_in(text: str, pieces: Sequence[str]) -> list[int]:
    """Return where pieces of a text begin, and end, if it was given in another normal form.

    Decomposed, a text and its pieces have equally many characters.
    """

    def borders(parts: Iterable[str]) -> list[int]:
        return list(accumulate((len(normalize("NFD", part)) for part in parts), initial=0))

    places = borders(text)
    return [bisect_right(places, border) - 1 for border in borders(pieces)]


def token_names(tokenizer: Tokenizer, ids: Sequence[int]) -> list[str]:
    r"""Return a text for each token. A byte outside ASCII is named as in `bytes:\xe9`."""
    if isinstance(tokenizer, ByteTokenizer):
        names = [chr(token) if token < 128 else rf"bytes:\x{token:02x}" for token in ids]
    else:
        names = [tokenizer.decode([token]) for token in ids]
    return [
        END_OF_DOCUMENT if token == tokenizer.end else name
        for token, name in zip(ids, names, strict=True)
    ]
