"""The engine: generate many texts as a batch, with one step of the network for all of them."""

from collections import deque
from collections.abc import Hashable
from typing import Any, Protocol, TypeAlias

import numpy as np

from textgen.preprocess.tokenizers import Ids, Tokenizer
from textgen.sampling.beam import Beam
from textgen.sampling.filters import Logits
from textgen.sampling.generation import Generation
from textgen.sampling.network import Network
from textgen.sampling.prompt import Prompt, Request
from textgen.sampling.rows import DrawnRows, Row

_PROMPT_TOKENS_A_STEP = 256  # approximate; reading them delays the other texts
_Waiting: TypeAlias = tuple[Prompt, Request | None, "Row | Beam | None"]  # None: reads only


class RowGroup(Protocol):
    """Neighbouring rows whose next tokens are chosen together."""

    exact: bool

    def __len__(self) -> int:
        """Return the number of rows."""

    def advance(self, logits: Logits) -> tuple[list[int] | None, Ids]:
        """Choose the next tokens from the logits, (B, V).

        Returns the rows to keep, which may repeat, and their tokens. None instead of the rows
        keeps all rows unchanged.
        """


class Engine:
    """Generates texts from one network. Texts join and leave the batch between steps.

    Each text has its own prompt, options, random numbers and position. Prompts are read in blocks
    between steps, so a long one does not delay the other texts for long. An engine is not
    thread-safe.
    """

    def __init__(self, network: Network, tokenizer: Tokenizer) -> None:
        self._network = network
        self._tokenizer = tokenizer
        self._waiting: deque[_Waiting] = deque()
        self._groups: list[RowGroup] = []  # exact ones first
        self._drawn: dict[Hashable, DrawnRows] = {}  # the groups that draw, by key
        self._logits: Logits = np.empty((0, 0))  # of the rows of all groups
        self._state: Any = None

    def join(self, request: Request, rng: np.random.Generator) -> Generation:
        """Start a text. Iterating over it, or calling `step`, generates its pieces."""
        text = Generation(
            self._tokenizer, request.options, request.prompt.ahead, self.step, request.keep_tokens
        )
        if text.finish_reason is None:
            self._waiting.append((request.prompt, request, Row(request, text, rng)))
        return text

    def search(self, request: Request) -> Beam:
        """Start a beam search. Call `step` until it is finished."""
        beam = Beam(request, self._tokenizer)
        if not beam.finished:
            self._waiting.append((request.prompt, request, beam))
        return beam

    def read(self, prompt: Prompt) -> None:
        """Read a prompt between the steps, without generating a text."""
        self._waiting.append((prompt, None, None))

    def forget(self, prompt: Prompt) -> None:
        """Stop reading a prompt."""
        self._waiting = deque(waiting for waiting in self._waiting if waiting[0] is not prompt)

    def state_of(self, text: Generation) -> Any:
        """Return the state of one row after the tokens of a text that is being drawn."""
        first = 0
        for group in self._groups:
            if isinstance(group, DrawnRows) and (row := group.find(text)) is not None:
                return self._network.take(self._state, [first + row])
            first += len(group)
        raise ValueError("the text has no row")

    def step(self) -> bool:
        """Read some of the waiting prompts, then choose the next token of every text.

        Return whether a prompt was read, or a text has begun or ended.
        """
        changed = bool(self._waiting)
        if changed:
            self._read_prompts()
        if not self._groups:
            return changed
        rows, tokens = self._advance()
        if not len(tokens):
            self._groups, self._drawn, self._state = [], {}, None
            return True
        if rows is not None:
            self._groups = [group for group in self._groups if len(group)]
            self._state = self._network.take(self._state, rows)
        if self._groups[0].exact:
            alone = sum(len(group) for group in self._groups if group.exact)
            self._logits, self._state = self._network.step(tokens, self._state, alone)
        else:
            self._logits, self._state = self._network.step(tokens, self._state)
        return changed or rows is not None

    def _advance(self) -> tuple[list[int] | None, Ids]:
        """Let each group choose; return the rows to keep, and all tokens."""
        if len(self._groups) == 1:
            return self._groups[0].advance(self._logits)
        rows, tokens, changed, first = list[int](), [], False, 0
        for group in self._groups:
            last = first + len(group)
            own, chosen = group.advance(self._logits[first:last])
            rows += range(first, last) if own is None else [first + row for row in own]
            tokens.append(chosen)
            changed = changed or own is not None
            first = last
        return rows if changed else None, np.concatenate(tokens)

    def _read_prompts(self) -> None:
        """Read blocks of the waiting prompts in turn, up to about _PROMPT_TOKENS_A_STEP tokens."""
        left, ready = _PROMPT_TOKENS_A_STEP, []
        while self._waiting and left > 0:
            prompt, request, entry = self._waiting.popleft()
            if isinstance(entry, Row) and entry.text.finish_reason is not None:
                continue  # the caller ended it
            if prompt.logits is None:
                left -= prompt.read_block()
            if prompt.logits is None:
                self._waiting.append((prompt, request, entry))
            elif request and entry:
                ready.append((prompt, request, entry))
        if ready:
            self._admit(ready)

    def _admit(self, ready: list[tuple[Prompt, Request, Row | Beam]]) -> None:
        """Give rows to texts whose prompts have been read."""
        sizes = {id(group): len(group) for group in self._groups}
        new: dict[int, list[int]] = {}  # the new rows of each group
        count = sum(sizes.values())
        for number, (prompt, request, entry) in enumerate(ready, count):
            group = self._group_for(prompt, request, entry)
            new.setdefault(id(group), []).append(number)
        logits = [p.logits for p, _, _ in ready if p.logits is not None]
        states = [p.state for p, _, _ in ready]
        if count:
            logits, states = [self._logits, *logits], [self._state, *states]
        order, first = list[int](), 0
        for group in self._groups:
            size = sizes.get(id(group), 0)
            order += [*range(first, first + size), *new.get(id(group), [])]
            first += size
        self._logits = np.concatenate(logits)[order]
        self._state = self._network.take(self._network.join(states), order)

    def _group_for(self, prompt: Prompt, request: Request, entry: Row | Beam) -> RowGroup:
        """Add an entry to its group, or to a new one; return the group."""
        if isinstance(entry, Beam):
            self._groups.append(entry)
            return entry
        key = DrawnRows.key_of(request)
        group = self._drawn.get(key)
        if group is None or not len(group):
            assert prompt.logits is not None
            group = DrawnRows(request, self._tokenizer, prompt.logits.shape[-1])
            self._drawn[key] = group
            if request.exact:
                self._groups.insert(0, group)
            else:
                self._groups.append(group)
        group.join(entry)
        return group
