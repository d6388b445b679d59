"""Cut texts, and the validation parts of runs, into extracts of about the same length."""

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from textgen.errors import RunError
from textgen.preprocess.corpus import borders
from textgen.preprocess.tokenizers import Ids
from textgen.runs.folder import Run
from textgen.sampling.generation import SENTENCE_END
from textgen.system.terminal import counted

_CONTEXT_LENGTH = 200  # characters
_MOST_OF_TEXT = 200  # extracts
_OF_VALIDATION = 1000  # characters of an extract
_FEWEST_OF_RUN, _MOST_OF_RUN = 8, 32  # extracts, if there is room
_TOLERANCE = 0.25  # of the length of an extract, by which a border may be moved
_GAP = "\x1f"  # always a token of its own, as no word begins or ends with it
_BORDERS = [
    re.compile(pattern) for pattern in (r"\n\s*\n", rf"(?:{SENTENCE_END.pattern})\s*", r"\s+")
]  # in order of preference


class Extract(NamedTuple):
    """A part of a text. The context stands before it; it is read, but does not count.

    Nor does a gap: a character that stands for each word that a run of words does not know.
    """

    context: str
    text: str
    gap: str = ""

    @property
    def is_known(self) -> NDArray[np.bool_]:
        """Which characters of the text are not gaps, (n,)."""
        return np.array([character != self.gap for character in self.text], np.bool_)


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

    They have about 1,000 characters. There are at most `most`, but 8 to 32 if there is room. Words
    that are not in the vocabulary are gaps, because the corpus does not have their texts.

    Raises RunError if the run has no validation part, or one of fewer than `shortest` characters.
    """
    path, reading = run.path, run.settings.reading
    if not reading.validation:
        raise RunError(
            f"{path} has no validation part to calibrate with; train it without --validation 0"
        )
    corpus, tokenizer, scale = run.corpus(), run.tokenizer, run.means.characters_per_token
    unknown = "" if tokenizer.unknown is None else tokenizer.decode([tokenizer.unknown])
    gap = _GAP if unknown else ""
    begin, end = borders(len(corpus), reading)
    length, before = round(_OF_VALIDATION / scale), round(_CONTEXT_LENGTH / scale)  # in tokens
    most = max(_FEWEST_OF_RUN, min(_MOST_OF_RUN, most))
    count = max(1, min(most, (end - begin) // length))
    starts = np.linspace(begin, max(begin, end - length), count).astype(np.int64)

    def text_of(start: int, stop: int) -> str:
        if tokenizer.level == "byte":
            start, stop = (_character_start(corpus.ids, place) for place in (start, stop))
        part = corpus.part(start, stop)
        documents = np.split(part.ids, part.documents[1:])
        text = "\n\n".join(map(tokenizer.decode, documents))
        return text.replace(unknown, gap) if unknown else text

    extracts = [
        Extract(
            text_of(max(0, start - before), start), text_of(start, min(start + length, end)), gap
        )
        for start in starts.tolist()
    ]
    known = sum(int(each.is_known.sum()) for each in extracts)
    if known < shortest:
        raise RunError(
            f"the validation part of {path} has only {counted(known, 'character')}, too few to "
            "calibrate with; train it on more text, or with a larger --validation"
        )
    return extracts


def _character_start(ids: Ids, place: int) -> int:
    """Return the first place from `place` on where a character begins in the bytes of UTF-8."""
    while place < len(ids) and ids[place] & 0xC0 == 0x80:
        place += 1
    return place
