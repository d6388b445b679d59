"""A text being generated: its pieces, and where it ends."""

import re
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator

from textgen.options.sampling import SamplingOptions
from textgen.preprocess.tokenizers import Tokenizer
from textgen.sampling.scores import ScoredToken

SENTENCE_END = re.compile(r"[.!?…][\"'”’»)\]]*(?=\s|$)|[。！？][」』）]*")
_TAIL = 8  # characters before the held text that a sentence end may include


class Generation(Iterator[str]):
    """An iterator over the pieces of a text, as they are drawn.

    Attributes:
        tokens: the number of tokens drawn so far.
        drawn: these tokens, if they are kept.
        scores: how likely each token of the text was; empty unless requested. A token that is cut
            off whole, as a stop text is, has no score.
        starts: where in the text each scored token starts.
        finish_reason: None until the text ends. Then "length"; "end" at the end of a document;
            "stop" before a stop text; "sentence" if `until_sentence` ended it; "novel" if every
            remaining token would copy the training text.
        stopped_by: the stop text that ended it, if one did.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        options: SamplingOptions,
        ahead: str,
        advance: Callable[[], object] | None = None,
        keep_tokens: bool = False,
    ) -> None:
        """Start a text.

        Args:
            ahead: the end of the prompt, if the first token repeats it.
            advance: called when more pieces are needed; None if all tokens are added beforehand.
            keep_tokens: whether to keep the tokens drawn.
        """
        self._advance = advance if options.length else None
        self._decode = tokenizer.decoder()
        self._end = tokenizer.end
        self._options = options
        self._holds = bool(options.stop or options.until_sentence)
        self._limit = options.longest
        self._ahead = ahead
        self._pieces: deque[str] = deque()
        self._held = ""  # text that may still have to be cut off
        self._tail = ""  # the end of the text before the held text
        self._earliest = 0  # the first index in the held text where the text may end
        self._released = 0  # characters before the held text
        self.tokens = 0
        self.drawn: list[int] | None = [] if keep_tokens else None
        self.scores: list[ScoredToken] = []
        self.starts: list[int] = []
        self.finish_reason = None if options.length else "length"
        self.stopped_by: str | None = None

    @property
    def log_probabilities(self) -> list[float]:
        """The log-probabilities of the scored tokens."""
        return [scored.log_probability for scored in self.scores]

    def __next__(self) -> str:
        while not self._pieces:
            if self._advance is None:
                raise StopIteration
            self._advance()
        return self._pieces.popleft()

    def ready(self) -> tuple[str, int]:
        """Return the text that is drawn and not yet returned, without drawing more.

        The number is that of the scored tokens up to its end.
        """
        text = "".join(self._pieces)
        self._pieces.clear()
        if self.finish_reason is not None:
            return text, len(self.scores)
        return text, bisect_left(self.starts, self._released)

    def add(self, token: int, scored: ScoredToken | None = None) -> None:
        """Add the next token, and end the text if the token completes it."""
        piece = self._decode(token)
        if not self.tokens:
            piece = piece.removeprefix(self._ahead)
        self.tokens += 1
        if self.drawn is not None:
            self.drawn.append(token)
        if scored is not None:
            self.scores.append(scored)
            self.starts.append(self._released + len(self._held))
        if token == self._end:
            self.end("end")
            return
        last = self.tokens >= self._limit
        if not self._holds:
            if piece:
                self._pieces.append(piece)
                self._released += len(piece)
            if last:
                self.end("length")
            return
        options, stops = self._options, self._options.stop
        if self.tokens == options.length:
            # The space before a word does not belong to the sentence before it.
            self._earliest = len(self._held) + (piece[:1].isspace() and not piece.isspace())
        self._held += piece
        if ends := [(at, stop) for stop in stops if (at := self._held.find(stop)) >= 0]:
            at, self.stopped_by = min(ends)
            self.end("stop", at)
        elif options.until_sentence and (end := self._sentence_end(last)) is not None:
            self.end("sentence", end)
        elif last:
            self.end("length")
        else:
            self._release(len(self._held) - _overhang(self._held, stops))

    def end(self, reason: str, at: int | None = None) -> None:
        """End the text with the held text, up to the index `at` if given."""
        self.finish_reason = reason
        self._advance = None  # drops the reference to the engine, and so to the network
        if at is None:
            at = len(self._held)
        else:
            kept = bisect_left(self.starts, self._released + at)
            del self.scores[kept:], self.starts[kept:]
        self._release(at)

    def _release(self, count: int) -> None:
        if count:
            self._pieces.append(self._held[:count])
            self._tail = (self._tail + self._held[:count])[-_TAIL:]
            self._held = self._held[count:]
            self._released += count
            self._earliest = max(self._earliest - count, 0)

    def _sentence_end(self, last: bool) -> int | None:
        """Return the index in the held text where a sentence ends, if any.

        The very end counts only if `last`, as more text may continue the sentence.
        """
        if self.tokens < self._options.length:
            return None
        text = self._tail + self._held
        ends = [match.end() for match in SENTENCE_END.finditer(text)]
        ends = [end - len(self._tail) for end in ends if last or end < len(text)]
        return next((end for end in ends if end >= self._earliest), None)


def _overhang(text: str, stops: tuple[str, ...]) -> int:
    """Return the length of the longest suffix of `text` that is a prefix of one of `stops`."""
    if not stops:
        return 0
    longest = max(map(len, stops)) - 1
    return next(
        (
            length
            for length in range(min(longest, len(text)), 0, -1)
            if any(stop.startswith(text[-length:]) for stop in stops)
        ),
        0,
    )
