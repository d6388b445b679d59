"""Passages of a text that stand word for word in the training text of a run."""

from pathlib import Path
from typing import Any

from textgen.analysis.novelty import LONGEST_COMPARABLE, find_copies
from textgen.runs.folder import Run
from textgen.serving.records import book_name
from textgen.serving.refusals import RequestError

LONGEST_TEXT = 1_000_000  # characters
_MOST_PASSAGES = 1000  # of a text; shorter ones are left out


def copied_passages(path: Path, text: str, least: int) -> dict[str, Any]:
    """Return the share of `text` that a run's training text has, too, and the passages in order.

    Args:
        path: the run.
        text: at most LONGEST_TEXT characters.
        least: the minimum length of a passage, in characters.

    Raises RunError if the run has no training text or is damaged, RequestError if its training
    text is too long.
    """
    run = Run.open(path)
    if run.tokens * run.means.characters_per_token > LONGEST_COMPARABLE:
        raise RequestError(
            400,
            f"the training text of {path.name} has more than {LONGEST_COMPARABLE:,} characters; "
            "passages are not looked for in it",
            param="model",
            code="corpus_too_long",
        )
    found = find_copies(text, run.documents_by_name(run.tokenizer.decode), least, _MOST_PASSAGES)
    passages = [
        {
            "start": passage.position,
            "length": len(passage.text),
            "source": book_name(passage.source),
            "source_position": passage.source_position,
            "before": passage.before,
            "after": passage.after,
        }
        for passage in sorted(found.longest, key=lambda passage: passage.position)
    ]
    return {"copied": found.copied, "passages": passages}
