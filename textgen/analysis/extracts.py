"""Cut texts, and the validation parts of runs, into extracts of about the same length."""

import re
from typing import NamedTuple

import numpy as np

from textgen.errors import RunError
from textgen.preprocess.corpus import borders
from textgen.runs.folder import Run
from textgen.sampling.generation import SENTENCE_END
from textgen.system.terminal import counted

_CONTEXT_LENGTH = 200  # characters
_MOST_OF_TEXT = 200  # extracts
_OF_VALIDATION = 1000  # characters of an extract
_FEWEST_OF_RUN, _MOST_OF_RUN = 8, 32  # extracts, if there is room
_TOLERANCE = 0.25  # of the length of an extract, by which a border may be moved
_BORDERS = [
    re.compile(pattern) for pattern in (r"\n\s*\n", rf"(?:{SENTENCE_END.pattern})\s*", r"\s+")
]  # in order of preference


class Extract(NamedTuple):
    """A part of a text. The context stands before it; it is read, but does not count."""

    context: str
    text: str


def extract(text: str, start: int, stop: int) -> Extract:
    """Return a part of a text with its context."""
    return Extract(text[max(0, start - _CONTEXT_LENGTH) : start], text[start:stop])


def spans_of(text: str, length: int) -> list[tuple[int, int]]:
    """Return where parts of about `length` characters start and stop.

    They stop at the end of a paragraph, a sentence or a word, if there is one near. If there are
    more than 200, only as many are returned, spread evenly.
    """
    count = max(1, round(len(text) / length))
    chosen = np.linspace(0, count - 1, min(count, _MOST_OF_TEXT)).astype(np.int64)
    reach = int(len(text) / count * _TOLERANCE)

    def border(number: int) -> int:
        ideal = round(len(text) * number / count)
        if number in (0, count):
            return ideal
        first, last = ideal - reach, ideal + reach
        for pattern in _BORDERS:
            ends = [match.end() for match in pattern.finditer(text, first, last)]
            # The searched part ends at `last`, so a match there may be half of one.
            if near := [end for end in ends if end < last]:
                return min(near, key=lambda end: abs(end - ideal))
        return ideal

    return [(border(number), border(number + 1)) for number in chosen.tolist()]


def validation_extracts(run: Run, most: int, shortest: int) -> list[Extract]:
    """Return extracts of the validation part of a run, spread evenly.

    They have about 1,000 characters. There are at most `most`, but 8 to 32 if there is room.

    Raises RunError if the run has no validation part, or one of fewer than `shortest` characters.
    """
    path, reading = run.path, run.settings.reading
    if not reading.validation:
        raise RunError(
            f"{path} has no validation part to calibrate with; train it without --validation 0"
        )
    corpus, scale = run.corpus(), run.means.characters_per_token
    begin, end = borders(len(corpus), reading)
    length, before = round(_OF_VALIDATION / scale), round(_CONTEXT_LENGTH / scale)  # in tokens
    most = max(_FEWEST_OF_RUN, min(_MOST_OF_RUN, most))
    count = max(1, min(most, (end - begin) // length))
    starts = np.linspace(begin, max(begin, end - length), count).astype(np.int64)

    def text_of(start: int, stop: int) -> str:
        part = corpus.part(start, min(stop, end))
        documents = np.split(part.ids, part.documents[1:])
        return "\n\n".join(map(run.tokenizer.decode, documents))

    extracts = [
        Extract(text_of(max(0, start - before), start), text_of(start, start + length))
        for start in starts.tolist()
    ]
    if len(extracts[0].text) < shortest:
        raise RunError(
            f"the validation part of {path} has only "
            f"{counted(len(extracts[0].text), 'character')}, too few to calibrate with; train it "
            "on more text, or with a larger --validation"
        )
    return extracts
