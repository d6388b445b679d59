"""Which author most likely wrote a text: the one whose network predicts it best."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from textgen.analysis.calibration import SHORTEST, AuthorCalibration, Losses
from textgen.analysis.extracts import Extract, extract, spans_of, validation_extracts
from textgen.analysis.reading import character_losses
from textgen.errors import BookError, RunError
from textgen.options.declare import check_whole
from textgen.preprocess.reading import read_blocks
from textgen.runs.folder import Run, distinct_names
from textgen.sampling.sampler import Sampler
from textgen.system.terminal import counted

_LONGEST_FILE = 1 << 24  # characters of a file
_CALIBRATION_EXTRACTS = 160  # of all authors together


@dataclass(frozen=True)
class JudgedPassage:
    """A passage of a text, and who wrote it."""

    start: int  # characters of the text before it
    length: int  # characters
    probabilities: list[float]  # of each author


@dataclass(frozen=True)
class Authorship:
    """Who wrote a text, if it was one of R authors.

    `probabilities` are those of one author for the whole text. `shares` are the parts of a text
    that may have several: the means of the probabilities of its passages, weighted by length.

    `own_bits_per_character` is how well each network predicts the validation part of its own book.
    A text that all networks predict much worse is probably by none of the authors.
    """

    names: list[str]  # (R,): the folders of the runs, with their paths if two are equal
    probabilities: list[float]  # (R,)
    shares: list[float]  # (R,)
    bits_per_character: list[float]  # (R,): of the text, with the spelling of unknown tokens
    own_bits_per_character: list[float]  # (R,)
    characters: int  # length of the text
    passages: list[JudgedPassage]
    left_out: int = 0  # characters of a file after those that were judged


class Authors:
    """The networks of several authors, calibrated on texts that they did not learn from."""

    def __init__(self, runs: Sequence[Run]) -> None:
        """Load the networks. They read the validation parts of all runs before the first text.

        Raises RunError if there are fewer than two runs, or the same one twice, if a run is
        damaged, or if it has no validation part or one that is too short.
        """
        paths = [run.path.resolve() for run in runs]
        if len(paths) < 2:
            raise RunError("there must be two authors to choose from; name two runs or more")
        for number, path in enumerate(paths):
            if path in paths[:number]:
                raise RunError(f"{runs[number].path} is named twice; name each run once")
        self._names = distinct_names(runs)
        share = _CALIBRATION_EXTRACTS // len(runs)
        self._known = [validation_extracts(run, share, SHORTEST) for run in runs]
        self._samplers = [Sampler([run]) for run in runs]

    def judge(self, text: str, passage: int = 1000) -> Authorship:
        """Return who most likely wrote a text, and each passage of it.

        Args:
            passage: about how many characters a passage has. It ends at the end of a paragraph or
                a sentence if there is one near. At most 200 passages are read, spread evenly.

        Raises BookError if the text has fewer than 50 characters, OptionError if `passage` is
        smaller than that.
        """
        return self.judge_all([text], passage)[0]

    def judge_all(self, texts: Sequence[str], passage: int = 1000) -> list[Authorship]:
        """Judge several texts, each by itself; faster than one after the other."""
        check_whole("passage", passage, SHORTEST)
        if short := [text for text in texts if len(text) < SHORTEST]:
            raise BookError(
                f"a text of {counted(len(short[0]), 'character')} is too short to tell its author; "
                f"give at least {SHORTEST}"
            )
        spans = [spans_of(text, passage) for text in texts]
        extracts = [
            extract(text, start, stop)
            for text, own in zip(texts, spans, strict=True)
            for start, stop in own
        ]
        totals = np.array([losses.sum(1) for losses in self._losses(extracts)])  # (passages, R)
        borders = np.cumsum([len(own) for own in spans])[:-1]
        return [
            self._judgement(text, own, losses)
            for text, own, losses in zip(texts, spans, np.split(totals, borders), strict=True)
        ]

    def judge_file(
        self,
        path: str | Path,
        passage: int = 1000,
        encoding: str | None = None,
        keep_gutenberg: bool = False,
    ) -> Authorship:
        """Judge a text file, or standard input ("-").

        Only the first 16,777,216 characters are judged, and `left_out` counts the others.

        Raises BookError if it cannot be read; other arguments and errors are those of `judge`.
        """
        blocks, length, left_out = list[str](), 0, 0
        for block in read_blocks(path, encoding, keep_gutenberg):
            blocks.append(block[: _LONGEST_FILE - length])
            length += len(blocks[-1])
            left_out += len(block) - len(blocks[-1])
        return replace(self.judge("".join(blocks), passage), left_out=left_out)

    @cached_property
    def _known_losses(self) -> list[list[Losses]]:
        """The losses of all networks in the validation part of each run."""
        return [self._losses(extracts) for extracts in self._known]

    @cached_property
    def _calibration(self) -> AuthorCalibration:
        return AuthorCalibration(
            [
                [losses[:, each.is_known] for each, losses in zip(extracts, own, strict=True)]
                for extracts, own in zip(self._known, self._known_losses, strict=True)
            ]
        )

    @cached_property
    def _own_bits(self) -> list[float]:
        """How well each network predicts its own validation part, in bits per character.

        The spelling of unknown words, whose texts are not known, is the mean of this part.
        """
        own_bits = []
        for number, sampler in enumerate(self._samplers):
            pieces = [sampler.tokenizer.pieces(each.text)[1] for each in self._known[number]]
            loss = sum(float(losses[number].sum()) for losses in self._known_losses[number])
            mean = loss / sum(map(len, pieces))
            own_bits.append(sampler.run.means.bits_per_character(mean))
        return own_bits

    def _judgement(self, text: str, spans: Sequence[tuple[int, int]], totals: Losses) -> Authorship:
        """Judge a text by the losses of its passages, (passages, R), in nats."""
        lengths = np.array([stop - start for start, stop in spans])
        mean = totals.sum(0) / lengths.sum()
        whole = self._calibration.probabilities(mean[None], lengths.sum(keepdims=True))
        each = self._calibration.probabilities(totals / lengths[:, None], lengths)
        return Authorship(
            names=self._names,
            probabilities=whole[0].tolist(),
            shares=(lengths @ each / lengths.sum()).tolist(),
            bits_per_character=(mean / math.log(2)).tolist(),
            own_bits_per_character=self._own_bits,
            characters=len(text),
            passages=[
                JudgedPassage(start, stop - start, probabilities)
                for (start, stop), probabilities in zip(spans, each.tolist(), strict=True)
            ],
        )

    def _losses(self, extracts: Sequence[Extract]) -> list[Losses]:
        """Return the losses of the characters of each extract by all networks, (R, n), in nats."""
        each = [character_losses(sampler, extracts) for sampler in self._samplers]
        return [np.stack(losses) for losses in zip(*each, strict=True)]
