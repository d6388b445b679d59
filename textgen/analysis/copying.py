"""What a text copies from the training text, and how much a network copies itself."""

from dataclasses import dataclass

import numpy as np

from textgen.analysis.novelty import LONGEST_COMPARABLE, Novelty, find_copies_in_each
from textgen.errors import RunError
from textgen.options.sampling import SamplingOptions, Temperatures
from textgen.sampling.sampler import Sampler

LEAST = 20  # characters of a copied passage

_TRIED = (0.2, 0.4, 0.6, 0.8, 1.0, 1.2)
_TEXTS_EACH = 4  # for each temperature
_WRITTEN = {"char": 500, "byte": 500, "word": 100}  # tokens of each text
_MOST_COPIES = 1000


@dataclass(frozen=True)
class CopiedShare:
    """The share of the generated characters that are copied, at a temperature."""

    temperature: float
    copied: float
    characters: int  # that were generated


@dataclass(frozen=True)
class Copying:
    """The passages of 20 characters or more that stand in the training text."""

    text: Novelty
    generated: list[CopiedShare]


def compare_with_training(sampler: Sampler, text: str) -> Copying:
    """Find what `text`, and texts generated at several temperatures, copy.

    Raises RunError if the run has no training text, or one that is too long to compare with.
    """
    run, tokenizer = sampler.run, sampler.tokenizer
    if run.tokens * run.means.characters_per_token > LONGEST_COMPARABLE:
        raise RunError(
            f"the training text of {run.path} has more than {LONGEST_COMPARABLE:,} characters; "
            "passages are not looked for in it"
        )
    sources = run.documents_by_name(tokenizer.decode)
    engine, texts = sampler.engine(), []
    for temperature in _TRIED:
        options = SamplingOptions(
            temperature=Temperatures((temperature,)), length=_WRITTEN[tokenizer.level]
        )
        request = sampler.request("", options)
        texts += [engine.join(request, np.random.default_rng([0, n])) for n in range(_TEXTS_EACH)]
    written = ["".join(pieces) for pieces in texts]
    found, *own = find_copies_in_each([text, *written], sources, LEAST, _MOST_COPIES)
    shares = []
    for number, temperature in enumerate(_TRIED):
        group = own[number * _TEXTS_EACH : (number + 1) * _TEXTS_EACH]
        characters = sum(each.characters for each in group)
        copied = sum(each.copied * each.characters for each in group)
        shares.append(CopiedShare(temperature, copied / max(characters, 1), characters))
    return Copying(found, shares)
