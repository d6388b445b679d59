"""What the page of an inspected text is given."""

import json
import re
from dataclasses import asdict
from typing import Any

from markov import Chain

import textgen
from textgen.reporting.inspection import Inspection


def page_data(found: Inspection) -> Any:
    [data] = re.findall(r'<script type="application/json" id="data">([^<]*)</script>', found.html())
    return json.loads(data)


def test_passages_of_authors_are_in_utf16() -> None:
    chains = [Chain(" abc", seed) for seed in (0, 1)]
    for chain, name in zip(chains, ("austen", "byron"), strict=True):
        chain.run(name)
    text = "👩" + chains[0].text(1500) + "👩☃" + chains[1].text(1500)
    authors, model = textgen.authors("austen", "byron"), textgen.load("austen")
    judged, given = authors.judge(text), page_data(model.inspect(text, authors=authors))["authors"]
    wide = text.encode("utf-16-le")
    for passage in given["passages"]:
        start, length = 2 * passage.pop("start"), 2 * passage.pop("length")
        passage["text"] = wide[start : start + length].decode("utf-16-le")
    assert given["passages"] == [
        {"text": text[p.start : p.start + p.length], "probabilities": p.probabilities}
        for p in judged.passages
    ]
    assert len(given["passages"]) == 3
    assert {**given, "passages": []} == {**asdict(judged), "passages": []}
    assert page_data(model.inspect(text))["authors"] is None
