"""What a network makes of a text: surprisals, guesses, units, memory and copies."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from textgen.analysis.authors import Authors, Authorship
from textgen.analysis.copying import Copying, compare_with_training
from textgen.analysis.evaluation import Evaluation, Totals, steps_at_once, utf8_length
from textgen.analysis.features import Feature, features_of
from textgen.analysis.memory import MemoryWorth, worth_of_memory
from textgen.analysis.units import UnitFindings, UnitSurvey
from textgen.errors import RunError
from textgen.options.declare import check_whole
from textgen.preprocess.tokenizers import Ids, Tokenizer
from textgen.sampling.compiled import without_blas_threads
from textgen.sampling.filters import Logits, log_softmax
from textgen.sampling.network import TracedNetwork
from textgen.sampling.sampler import Sampler
from textgen.sampling.scores import likeliest_tokens, surprisals

_GUESSED = 5
_APART = "\n\n"  # stands between documents when the features of a text are computed


@dataclass(frozen=True)
class InspectedText:
    """What a network makes of a text of T tokens.

    A token that was not predicted, the first of a text, has NaN bits. A character that is not in
    the vocabulary has the bits that spelling it takes. Both have the rank 0 and no guesses.
    """

    tokens: list[str]  # (T,): their texts, which concatenate to the text
    documents: list[int]  # which tokens begin a document
    evaluation: Evaluation
    bits: NDArray[np.float64]  # (T,): surprisals
    ranks: NDArray[np.int64]  # (T,): 1 is the first guess
    guesses: Ids  # (T, 5): the likeliest tokens before each token was read, best first
    probabilities: NDArray[np.float32]  # (T, 5): of the guesses; 0 for no guess
    vocabulary: list[str]  # the texts of the tokens that guesses are numbers of
    units: UnitFindings
    memory: MemoryWorth | None  # None for a text that is too short
    copying: Copying | str  # or why it was not looked for copies
    authors: Authorship | None  # of the whole text


def inspect_texts(
    sampler: Sampler,
    texts: Sequence[str],
    units: int = 3,
    authors: Authors | None = None,
    on_read: Callable[[float], object] | None = None,
) -> InspectedText:
    """Read texts with a network, each as a document from a zero state.

    `units` is how many units are found for each feature. `authors` judge the texts as one.
    `on_read` is called with how many more bytes of UTF-8 the network has read, about.

    Raises BookError if there is nothing to predict, or too little to judge, RunError if `sampler`
    has several networks, OptionError if `units` is not positive.
    """
    check_whole("units", units, 1)
    network, tokenizer = sampler.network, sampler.tokenizer
    if not isinstance(network, TracedNetwork):
        raise RunError("only one network can be inspected; name one run")
    authorship = None if authors is None else authors.judge("".join(texts))
    pieces = [tokenizer.pieces(text) for text in texts]
    tokens = [token for _, own in pieces for token in own]
    ids = np.concatenate([np.empty(0, np.int64), *(own for own, _ in pieces)])
    is_read = ids >= 0  # the network does not read a character that is not in the vocabulary
    features = [
        feature._replace(values=feature.values[is_read])
        for feature in _features_of_documents([own for _, own in pieces], tokenizer.level)
    ]
    read = ids[is_read]
    survey = UnitSurvey(sampler.run.settings.architecture, features, len(read), units)
    totals, predicted, starts = Totals(tokenizer), _Predicted(len(read), len(tokenizer)), []
    with without_blas_threads(network):
        for text, (own, own_tokens) in zip(texts, pieces, strict=True):
            starts.append(predicted.done)
            known = own[own >= 0]
            unknown = [own_tokens[place] for place in tokenizer.unknown_places(own)]
            totals.add_text(text, known, unknown, first_is_predicted=tokenizer.end is not None)
            bytes_each = utf8_length(text) / (len(known) + 1)  # the end may be predicted, too
            for losses in _read_document(network, tokenizer, known, predicted, survey):
                totals.add_losses(losses)
                if on_read is not None:
                    on_read(len(losses) * bytes_each)
    evaluation, findings = totals.evaluation(), survey.findings()
    del survey  # its activations take much memory
    memory = worth_of_memory(network, tokenizer, read, starts, predicted.losses)
    try:
        copying: Copying | str = compare_with_training(sampler, "".join(texts))
    except RunError as error:
        copying = str(error)

    after = np.cumsum(is_read) - 1  # the last token read after each token of the text
    bits = np.where(is_read, predicted.losses.take(after, mode="clip"), 0.0) / math.log(2)
    for place in tokenizer.unknown_places(ids):
        bits[place] += tokenizer.spelling.cost(tokens[place]) / math.log(2)
    guessed = is_read & ~np.isnan(bits)
    return InspectedText(
        tokens=tokens,
        documents=np.cumsum([0, *(len(own) for own, _ in pieces[:-1])]).tolist(),
        evaluation=evaluation,
        bits=bits,
        ranks=np.where(guessed, predicted.ranks.take(after, mode="clip"), 0),
        guesses=predicted.guesses.take(after, 0, mode="clip"),
        probabilities=np.where(
            guessed[:, None], predicted.probabilities.take(after, 0, mode="clip"), 0
        ),
        vocabulary=_names(tokenizer),
        units=findings.spread(after),
        memory=memory,
        copying=copying,
        authors=authorship,
    )


class _Predicted:
    """How the tokens that a network read were predicted; N tokens."""

    def __init__(self, tokens: int, vocabulary_size: int) -> None:
        guesses = tokens, min(_GUESSED, vocabulary_size)
        self.losses = np.full(tokens, np.nan)  # (N,), in nats; NaN for one not predicted
        self.ranks = np.zeros(tokens, np.int64)  # (N,)
        self.guesses = np.zeros(guesses, np.int64)
        self.probabilities = np.zeros(guesses, np.float32)
        self.done = 0  # tokens read

    def add(self, logits: Logits, tokens: Ids) -> NDArray[np.float64]:
        """Add the next tokens, (n,), of which the last are predicted by logits, (m, V).

        Return their losses, (m,).
        """
        stop = self.done + len(tokens)
        place, self.done = slice(stop - len(logits), stop), stop
        logs = log_softmax(logits.astype(np.float64))
        own = np.take_along_axis(logs, tokens[len(tokens) - len(logits) :, None], -1)
        self.losses[place] = losses = -own[:, 0]
        self.ranks[place] = (logs > own).sum(1) + 1
        self.guesses[place], guessed = likeliest_tokens(logs, _GUESSED)
        self.probabilities[place] = np.exp(guessed)
        return losses


def _read_document(
    network: TracedNetwork,
    tokenizer: Tokenizer,
    ids: Ids,
    predicted: _Predicted,
    survey: UnitSurvey,
) -> Iterator[NDArray[np.float64]]:
    """Read the tokens of a document from a zero state; yield their losses part by part."""
    state, end = network.zero_state(1), tokenizer.end
    before = np.empty((0, len(tokenizer)), np.float32)  # the logits of the next token
    if end is not None:
        before, state = network.step(np.array([end]), state)
    steps = steps_at_once(tokenizer)
    for start in range(0, len(ids), steps):
        part = ids[start : start + steps]
        traces, state = network.trace(part[:, None], state)
        survey.add(traces)
        after = network.logits(traces[-1].output)[:, 0]
        yield predicted.add(np.concatenate([before, after[:-1]]), part)
        before = after[-1:]
    if end is not None:
        yield surprisals(before, np.array([end]))


def _features_of_documents(documents: Sequence[Sequence[str]], level: str) -> list[Feature]:
    """Return the features of documents, given as tokens; none continues another."""
    apart = [token for document in documents for token in (_APART, *document)]
    borders = np.cumsum([0, *(len(document) + 1 for document in documents)])[:-1]
    found = features_of("".join(apart), [len(token) for token in apart], level)
    return [feature._replace(values=np.delete(feature.values, borders)) for feature in found]


def _names(tokenizer: Tokenizer) -> list[str]:
    """Return a text for each token, also for half a character and the end of a document."""
    names = [tokenizer.spell([token]) for token in range(len(tokenizer))]
    if tokenizer.level == "byte":
        names[128:256] = [f"\\x{byte:02x}" for byte in range(128, 256)]
    if tokenizer.end is not None:
        names[tokenizer.end] = "(end)"
    return names
