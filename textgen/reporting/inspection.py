"""An inspected text as a page, as JSON, and in a notebook."""

import html
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from textgen import __version__
from textgen.analysis.authors import Authorship
from textgen.analysis.copying import LEAST, Copying
from textgen.analysis.inspection import InspectedText
from textgen.analysis.memory import MemoryWorth
from textgen.analysis.units import FULL, Shades, Unit, WatchedFeature
from textgen.preprocess.tokenizers import code_points
from textgen.reporting.document import html_document
from textgen.reporting.output import write_output
from textgen.reporting.packing import packed
from textgen.runs.folder import Run

_NOT_PREDICTED = 65535  # bits


@dataclass(frozen=True)
class Inspection(InspectedText):
    """What a network makes of a text. A notebook shows it as a page."""

    run: Run
    name: str  # of the text
    left_out: int  # characters of the text after those that were read

    def save(self, path: str | Path, force: bool = False) -> None:
        """Write the page to a file; replace an existing file only with `force`.

        Raises OutputError if the file exists or cannot be written.
        """
        write_output(path, self.html().encode("utf-8", "replace"), force)

    def html(self) -> str:
        """Return a page that needs no other file and no network."""
        return html_document(_page_data(self), f"{self.name}, read by {self.run.path.name}")

    def _repr_html_(self) -> str:
        page = html.escape(self.html())
        return f'<iframe srcdoc="{page}" width="100%" height="700" style="border: 0"></iframe>'

    def to_json(self) -> dict[str, Any]:
        """Return all figures, as `textgen inspect --json` prints them."""
        guesses = [
            [
                [self.vocabulary[token], round(p, 6)]
                for token, p in zip(tokens, ps, strict=True)
                if p
            ]
            for tokens, ps in zip(self.guesses.tolist(), self.probabilities.tolist(), strict=True)
        ]
        return {
            "run": str(self.run.path),
            "evaluation": asdict(self.evaluation),
            "left_out": self.left_out,
            "documents": self.documents,
            "tokens": self.tokens,
            "bits": [None if math.isnan(bits) else round(bits, 4) for bits in self.bits.tolist()],
            "ranks": self.ranks.tolist(),
            "guesses": guesses,
            "features": list(map(_feature, self.units.features)),
            "units": [
                {**unit._asdict(), "values": [round(value / FULL, 3) for value in shades.tolist()]}
                for unit, shades in self.units.shades.items()
            ],
            "saturation": [
                {
                    "layer": layer.layer,
                    "low": {gate: shares.tolist() for gate, shares in layer.low.items()},
                    "high": {gate: shares.tolist() for gate, shares in layer.high.items()},
                }
                for layer in self.units.saturation
            ],
            "memory": None if self.memory is None else asdict(self.memory),
            "copying": None if isinstance(self.copying, str) else asdict(self.copying),
            "authors": None if self.authors is None else asdict(self.authors),
        }


def _feature(feature: WatchedFeature) -> dict[str, Any]:
    best = [
        {**unit._asdict(), "correlation": correlation, "ranked_by": ranked_by}
        for unit, correlation, ranked_by in feature.best
    ]
    return {"name": feature.name, "share": feature.share, "best": best}


def _page_data(found: Inspection) -> dict[str, Any]:
    """Return the figures as the script of the page reads them. Positions are in UTF-16 units.

    The page shows bytes as the characters that they complete.
    """
    run = found.run
    last = np.flatnonzero([bool(token) for token in found.tokens])  # byte of each character
    first = np.concatenate([[0], last[:-1] + 1])
    bits = np.add.reduceat(found.bits, first)
    used, guesses = np.unique(found.guesses[first], return_inverse=True)
    text = "".join(found.tokens)
    at = _utf16_offsets(text)
    shown = [found.tokens[place] for place in last]
    ends = np.cumsum([len(token) for token in shown])
    return {
        "name": found.name,
        "run": str(run.path),
        "level": run.settings.reading.level,
        "network": str(run.settings.architecture),
        "textgen": __version__,
        "figures": {
            "characters": len(text),
            "tokens": found.evaluation.tokens,
            "loss": found.evaluation.loss,
            "perplexity": found.evaluation.perplexity,
            "bits_per_character": found.evaluation.bits_per_character,
            "unknown": found.evaluation.unknown,
        },
        "truncated": len(text) + found.left_out if found.left_out else None,
        "text": text,
        "lengths": packed(np.diff(at[ends], prepend=0).astype(np.uint16)),
        "documents": np.searchsorted(last, found.documents).tolist(),
        "bits": packed(
            np.where(np.isnan(bits), _NOT_PREDICTED, np.minimum(bits * 100, 65534)).astype(
                np.uint16
            )
        ),
        "ranks": packed(np.maximum.reduceat(found.ranks, first).astype(np.uint32)),
        "vocabulary": [found.vocabulary[token] for token in used],
        "guesses": {
            "count": found.guesses.shape[1],
            "tokens": packed(guesses.reshape(-1).astype(np.min_scalar_type(len(used)))),
            "probabilities": packed(
                np.rint(found.probabilities[first] * 65535).reshape(-1).astype(np.uint16)
            ),
        },
        "units": [
            {**unit._asdict(), "values": packed(shades[last])}
            for unit, shades in found.units.shades.items()
        ],
        "every_unit": _every_unit(found.units.beginning, last),
        "features": list(map(_feature, found.units.features)),
        "saturation": [
            {
                "layer": layer.layer,
                "gates": {
                    gate: {
                        "low": packed(layer.low[gate].astype(np.float32)),
                        "high": packed(layer.high[gate].astype(np.float32)),
                    }
                    for gate in layer.low
                },
            }
            for layer in found.units.saturation
        ],
        "memory": _memory(found.memory),
        **_copies(found.copying, at),
        "authors": _judged(found.authors, at),
    }


def _every_unit(beginning: dict[Unit, Shades], last: NDArray[np.int64]) -> dict[str, Any]:
    """Return the activations of all units after the first tokens, by layer and part."""
    layers: dict[int, dict[str, list[Shades]]] = {}
    tokens = 0
    for unit, shades in beginning.items():
        own = shades[last[: np.searchsorted(last, len(shades))]]
        layers.setdefault(unit.layer, {}).setdefault(unit.part, []).append(own)
        tokens = len(own)
    return {
        "tokens": tokens,
        "layers": [
            {
                "layer": layer,
                "units": len(next(iter(parts.values()))),
                "parts": {part: packed(np.concatenate(units)) for part, units in parts.items()},
            }
            for layer, parts in layers.items()
        ],
    }


def _memory(memory: MemoryWorth | None) -> dict[str, Any] | None:
    if memory is None:
        return None
    return {
        "lengths": memory.lengths,
        "bits": [loss / math.log(2) for loss in memory.losses],
        "carried": [memory.carried / math.log(2)] * len(memory.lengths),
        "samples": memory.samples,
    }


def _copies(copying: Copying | str, at: NDArray[np.int64]) -> dict[str, Any]:
    if isinstance(copying, str):
        return {"novelty": None, "novelty_missing": copying}
    passages = [
        {
            **_utf16_place(at, passage.position, len(passage.text)),
            "source": passage.source,
            "source_position": passage.source_position,
            "before": passage.before,
            "after": passage.after,
        }
        for passage in sorted(copying.text.longest, key=lambda passage: passage.position)
    ]
    return {
        "novelty": {
            "least": LEAST,
            "copied": copying.text.copied,
            "passages": passages,
            "temperatures": [
                {"temperature": share.temperature, "copied": share.copied}
                for share in copying.generated
            ],
            "sampled": copying.generated[0].characters,
        }
    }


def _judged(found: Authorship | None, at: NDArray[np.int64]) -> dict[str, Any] | None:
    if found is None:
        return None
    passages = [
        {
            **_utf16_place(at, passage.start, passage.length),
            "probabilities": passage.probabilities,
        }
        for passage in found.passages
    ]
    return {**asdict(found), "passages": passages}


def _utf16_place(at: NDArray[np.int64], start: int, length: int) -> dict[str, int]:
    """Return where a passage is in UTF-16, given its place in characters."""
    return {"start": int(at[start]), "length": int(at[start + length] - at[start])}


def _utf16_offsets(text: str) -> NDArray[np.int64]:
    """Return where each character begins in UTF-16, as JavaScript counts, and the end."""
    return np.concatenate([[0], np.cumsum(1 + (code_points(text) > 0xFFFF))])
