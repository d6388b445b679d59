"""Read a request for completions, with the checks of the library's own options."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from textgen.errors import OptionError
from textgen.options.sampling import SamplingOptions
from textgen.options.serving import ServingOptions
from textgen.preprocess.tokenizers import Tokenizer
from textgen.sampling.sampler import Sampler, new_seed
from textgen.serving.fields import Fields, shown
from textgen.serving.jobs import Choice, Job
from textgen.serving.models import ServedModel
from textgen.serving.refusals import RequestError, refusing_prompt

_DEFAULT_TOKENS = 16  # OpenAI's
_MOST_LIKELIEST = 100
_MOST_TEXTS = {"stop": 64, "ban": 1000}
_MOST_CHARACTERS = 10_000  # in the texts of a field
_MOST_BIASES = 1024
_LARGEST_BIAS = 100.0
_LARGEST_SEED = 1 << 63
_LONGEST_COMPARED = 50_000_000  # tokens of a corpus that `novel` may compare with
_MOST_GUARDS = 8  # for `novel`; each takes 8 bytes for each character of the corpus

# Fields that are options of `textgen sample` with the same meaning.
SAMPLING_OPTIONS = (
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "repeat_last_n",
    "ban",
    "novel",
    "stop",
    "until_sentence",
)
# Values of other programs for an option that is switched off.
_OFF: dict[str, tuple[Any, ...]] = {"top_k": (0, -1), "novel": (0,), "stop": ([],), "ban": ([],)}
# Fields that are refused unless they have one of these values.
_REFUSED: dict[str, tuple[Any, ...]] = {
    "suffix": (None, ""),
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
    "beam": (None,),
    "length": (None,),
}
_INSTEAD = {
    "frequency_penalty": "; use repetition_penalty",
    "presence_penalty": "; use repetition_penalty",
    "length": "; use max_tokens",
}


@dataclass(frozen=True)
class Completion:
    """A checked request: what to write after which prompts."""

    model: str | None
    prompts: list[str | list[int]]
    options: SamplingOptions  # its `length` is `max_tokens`
    texts: int  # for each prompt
    seed: int | None
    stream: bool
    include_usage: bool
    echo: bool
    logprobs: int | None
    bias: dict[str, float]

    @classmethod
    def read(cls, body: Mapping[str, Any], limits: ServingOptions) -> "Completion":
        """Check the fields of a request; raise RequestError for one that is wrong.

        Unknown fields are ignored, because clients send fields of other programs.
        """
        fields = Fields(body)
        for name, values in _REFUSED.items():
            if body.get(name) not in values:
                raise RequestError(
                    400, f"{name} is not supported{_INSTEAD.get(name, '')}", param=name
                )
        prompts = _prompts(body.get("prompt"))
        texts = fields.whole("n", 1, 1, limits.max_texts)
        if body.get("best_of") not in (None, texts):
            raise RequestError(400, "best_of is not supported unless it equals n", param="best_of")
        if texts * len(prompts) > limits.max_texts:
            raise RequestError(
                400, f"a request may have at most {limits.max_texts} texts", param="n"
            )
        echo = fields.flag("echo")
        most = fields.whole("max_tokens", _DEFAULT_TOKENS, 0, limits.max_tokens)
        if not most and not echo:
            raise RequestError(
                400, "max_tokens must be at least 1 without echo", param="max_tokens"
            )
        seed = fields.whole("seed", -1, -1, _LARGEST_SEED)
        logprobs = fields.whole("logprobs", -1, 0, _MOST_LIKELIEST)
        stream = fields.flag("stream")
        stream_options = fields.mapping("stream_options")
        return cls(
            model=fields.text("model"),
            prompts=prompts,
            options=_options(body, most),
            texts=texts,
            seed=None if seed < 0 else seed,
            stream=stream,
            include_usage=Fields(stream_options).flag("include_usage"),
            echo=echo,
            logprobs=None if logprobs < 0 else logprobs,
            bias=_bias(fields.mapping("logit_bias")),
        )

    def job(self, model: ServedModel, limits: ServingOptions) -> Job:
        """Return the texts to write; raise RequestError if they do not fit the model."""
        sampler = model.sampler
        seed = new_seed() if self.seed is None else self.seed
        greedy = max(self.options.temperature.values) == 0
        if self.options.novel is not None:
            _check_novel(self.options.novel, model)
        bias, choices = _known_bias(self.bias, sampler), list[Choice]()
        for prompt in self.prompts:
            check_prompt_length(prompt, sampler.tokenizer, limits.max_prompt)
            with refusing_prompt():
                request = sampler.request(
                    prompt,
                    self.options,
                    score_prompt=self.echo and self.logprobs is not None,
                    bias=bias,
                    log_probabilities=self.logprobs is not None,
                    likeliest=self.logprobs or 0,
                    keep_tokens=True,
                    exact=self.seed is not None or greedy,
                )
            check_token_count(len(request.prompt.ids), limits.max_prompt)
            choices += [
                Choice(len(choices) + k, request, np.random.default_rng([seed, k]))
                for k in range(self.texts)
            ]
        self._check_answer(choices, limits)
        return Job(model, choices, self.stream, self.stream and self.logprobs is not None)

    @property
    def work(self) -> int:
        """About how many characters and tokens there are to look up before the texts begin."""
        if self.options.novel is not None:  # the whole training text
            return _LONGEST_COMPARED
        return sum(len(prompt) + len(self.options.ban) for prompt in self.prompts)

    def _check_answer(self, choices: list[Choice], limits: ServingOptions) -> None:
        """Refuse a request whose answer may need far more memory than its prompt.

        A log-probability takes about 100 bytes until the answer is complete.
        """
        each, scored = 1 + (self.logprobs or 0), self.logprobs is not None
        size = sum(
            each * (self.echo * len(c.request.prompt.ids) + scored * self.options.longest)
            for c in choices
        )
        if size > (most := 2 * (limits.max_prompt + limits.max_tokens)):
            raise RequestError(
                400,
                f"the answer may have {size:,} tokens of prompts and log-probabilities; the most "
                f"is {most:,}",
                param="logprobs" if scored else "echo",
            )


def _prompts(value: Any) -> list[str | list[int]]:
    """Return the prompts of a request: one or several texts or lists of tokens."""
    if value is None:
        return [""]
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value:
        if all(type(token) is int for token in value):
            return [value]
        if all(isinstance(prompt, str) for prompt in value):
            return value
        if all(
            isinstance(prompt, list) and all(type(token) is int for token in prompt)
            for prompt in value
        ):
            return value
    raise RequestError(
        400,
        f"prompt must be a text, a list of texts, tokens or a list of tokens, not {shown(value)}",
        param="prompt",
    )


def _options(body: Mapping[str, Any], length: int) -> SamplingOptions:
    given = {
        name: value
        for name in SAMPLING_OPTIONS
        if (value := body.get(name)) is not None and value not in _OFF.get(name, ())
    }
    try:
        options = SamplingOptions(length=length, **given)
    except OptionError as error:
        raise RequestError.of(error) from None
    for name, most in _MOST_TEXTS.items():
        texts = getattr(options, name)
        if len(texts) > most or sum(map(len, texts)) > _MOST_CHARACTERS:
            raise RequestError(
                400,
                f"{name} may have at most {most} texts, with {_MOST_CHARACTERS:,} characters in "
                "all",
                param=name,
            )
    return options


def _bias(given: Mapping[str, Any]) -> dict[str, float]:
    if len(given) > _MOST_BIASES:
        raise RequestError(
            400, f"logit_bias may have at most {_MOST_BIASES:,} tokens", param="logit_bias"
        )
    for value in given.values():
        if isinstance(value, bool) or not isinstance(value, int | float):
            value = None
        if value is None or not abs(value) <= _LARGEST_BIAS:
            raise RequestError(
                400, "logit_bias must have numbers from -100 to 100", param="logit_bias"
            )
    return {token: float(value) for token, value in given.items()}


def _known_bias(bias: Mapping[str, float], sampler: Sampler) -> tuple[tuple[int, float], ...]:
    known = dict[int, float]()
    for token, value in bias.items():
        if not token.isascii() or not token.isdecimal() or len(token) > 9:
            raise RequestError(400, "logit_bias must have ids of tokens", param="logit_bias")
        if int(token) >= len(sampler.tokenizer):
            raise RequestError(
                400,
                f"logit_bias has token {token}, but the vocabulary has {len(sampler.tokenizer):,}",
                param="logit_bias",
            )
        known[int(token)] = value
    return tuple(sorted(known.items()))


def _check_novel(length: int, model: ServedModel) -> None:
    """Refuse a request before the training text is read for it."""
    sampler = model.sampler
    if sampler.run.tokens > _LONGEST_COMPARED:
        raise RequestError(
            400, f"the training text of {model.name} is too long for novel", param="novel"
        )
    if length in sampler.guards:
        return
    sampler.last_guard = None  # makes room, unless a text needs it
    if len(sampler.guards) >= _MOST_GUARDS:
        raise RequestError(
            503, "too many texts have other values of novel; try again later", retry_after=10
        )


def check_prompt_length(prompt: str | list[int], tokenizer: Tokenizer, most: int) -> None:
    """Refuse a prompt that is surely too long before it is split into tokens."""
    if tokenizer.level != "word":
        check_token_count(len(prompt), most)


def check_token_count(tokens: int, most: int) -> None:
    """Raise RequestError if a prompt has more tokens than `--max-prompt`."""
    if tokens > most:
        raise RequestError(
            400, f"the prompt has {tokens:,} tokens; the most is {most:,}", param="prompt"
        )
