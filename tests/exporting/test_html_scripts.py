"""The scripts of an exported page compute what the package computes. They run in a browser."""

import base64
import re
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported import make_run, page_of
from helpers import make_book

from textgen.analysis.evaluation import evaluate
from textgen.exporting import html
from textgen.preprocess.documents import Stretch
from textgen.preprocess.tokenizers import ByteTokenizer
from textgen.preprocess.words import word_splitter
from textgen.sampling.filters import Filter, draw
from textgen.sampling.sampler import Sampler

EXPORT = Path(html.__file__).parent
Call = Callable[..., Any]

# Drains a generator of the page.
DRAIN = """
function drain(steps) {
  const values = [];
  for (;;) {
    const { done, value } = steps.next();
    if (done) return { values, result: value };
    values.push(value);
  }
}
"""


@pytest.fixture(scope="module")
def call(browser: Any) -> Iterator[Call]:
    """Yield a function that evaluates an expression, with an argument `given`, in the scripts."""
    files = [EXPORT / "page" / name for name in html._WORKER_SCRIPTS]
    worker = "\n".join(file.read_text("utf-8") for file in files)
    scripts = f"let onmessage; const postMessage = () => {{}}; {worker} {DRAIN}"
    page = browser.new_page()
    yield lambda expression, given=None: page.evaluate(
        f"(given) => {{ {scripts}; return {expression}; }}", given
    )
    page.close()


def part(page: bytes, name: str) -> str:
    """Return the content of a script of a page."""
    [found] = re.findall(rf'id="{name}">(.*?)</script>', page.decode(), re.DOTALL)
    return str(found)


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "characters": ({"units": (7,)}, "The café"),
    "characters, GRU": ({"cell": "gru", "units": (9, 5), "embedding": 3}, ""),
    "characters, tied": ({"units": (10,), "embedding": 10, "tie": True}, "“"),
    "characters, CIFG": ({"cell": "cifg", "units": (6, 7)}, "The"),
    "words": ({"level": "word", "units": (12, 10), "embedding": 5}, "The lamp sa"),
    "words, tied GRU": (
        {"level": "word", "cell": "gru", "units": (6,), "embedding": 6, "tie": True},
        "The ",
    ),
    "bytes": ({"level": "byte", "units": (9, 9)}, "café"),
    "bytes, GRU": ({"level": "byte", "cell": "gru", "units": (6,)}, ""),
    "documents": ({"delimiter": "\n\n", "units": (11,)}, "The"),
    "documents of words": ({"delimiter": "\n\n", "level": "word", "units": (33,)}, "The"),
}


@pytest.mark.parametrize("case", CASES)
def test_networks(call: Call, tmp_path: Path, case: str) -> None:
    """By WebAssembly and in JavaScript, the page writes and measures what the sampler does."""
    options, prompt = CASES[case]
    run = make_run(tmp_path / "run", **{"tie": False} | options)
    page = page_of(run)
    text = make_book(seed=1)[:1000] + "“Ångström”"[: 10 if run.tokenizer.level != "char" else 0]
    given = {
        **{name: part(page, name) for name in ("data", "weights", "kernel")},
        "writing": {
            "prompt": prompt,
            **dict.fromkeys(("topK", "topP", "minP")),
            "temperature": 0,
            "length": 1000,
            "stop": "",
            "seed": 0,
        },
        "text": text,
    }
    results = call(
        """["webassembly", "javascript"].map((engine) => {
          load({ ...given, data: JSON.parse(given.data), engine });
          return {
            network: model.network.constructor.name,
            written: drain(write(model, given.writing)).values.join(""),
            measured: drain(measure(model, { text: given.text })).result,
          };
        })""",
        given,
    )
    assert [each["network"] for each in results] == ["KernelNetwork", "PlainNetwork"]
    sampler = Sampler([run])
    expected = sampler.generate(prompt, temperature=0, length=1000)
    evaluation = evaluate(sampler.network, run.tokenizer, [Stretch([text], True)])
    for each in results:
        assert each["written"] == expected
        measured = each["measured"]
        assert measured["loss"] == pytest.approx(evaluation.loss, abs=1e-5)
        bits = measured["perCharacter"] / np.log(2)
        assert bits == pytest.approx(evaluation.bits_per_character, abs=1e-5)
        for name in ("tokens", "characters"):
            assert measured[name] == getattr(evaluation, name)


def test_javascript_takes_over_where_the_kernel_cannot_run(call: Call, tmp_path: Path) -> None:
    page = page_of(make_run(tmp_path / "run"))
    given = {"data": part(page, "data"), "weights": part(page, "weights"), "kernel": "AGFzbQ=="}
    name = call(
        "(load({ ...given, data: JSON.parse(given.data) }), model.network.constructor.name)", given
    )
    assert name == "PlainNetwork"


def test_8_bits_lose_little(tmp_path: Path, call: Call) -> None:
    run = make_run(tmp_path / "run", units=(24,), tie=False)
    text = make_book(seed=1)[:2000]
    losses = []
    for bits in (16, 8):
        page = page_of(run, bits)
        given = {name: part(page, name) for name in ("data", "weights", "kernel")} | {"text": text}
        losses.append(
            call(
                """(load({ ...given, data: JSON.parse(given.data) }),
                  drain(measure(model, { text: given.text })).result.loss)""",
                given,
            )
        )
    assert losses[0] != losses[1] == pytest.approx(losses[0], abs=0.01)


def test_filters(call: Call) -> None:
    """They leave the same weights, up to the last bits, and the same token is drawn."""
    rng = np.random.default_rng(0)
    cases = []
    for number in range(400):
        size = int(rng.integers(1, 40))
        # Rounded, so that some are equal.
        logits = np.round(rng.normal(0, 3, size), int(rng.integers(0, 3))).astype(np.float32)
        banned = rng.choice(size, int(rng.integers(0, size)), replace=False)

        def maybe(value: float) -> float | None:
            return value if rng.random() < 0.5 else None

        cases.append(
            {
                "logits": logits.tolist(),
                "banned": banned.tolist(),
                "temperature": 0 if number % 10 == 0 else float(rng.uniform(0.05, 2)),
                "topK": maybe(int(rng.integers(1, 40))),
                "topP": maybe(float(rng.choice([0.3, 0.9, 0.99, 1]))),
                "minP": maybe(float(rng.choice([0, 0.01, 0.3, 1]))),
                "number": float(rng.random()),
            }
        )
    found = call(
        """given.map(({ logits, banned, number, ...options }) => {
          const weights = weightsOf(Float32Array.from(logits), options, banned);
          return [Array.from(weights), draw(weights, number)];
        })""",
        cases,
    )
    for case, (weights, token) in zip(cases, found, strict=True):
        filters = Filter(
            tuple(case["banned"]), top_k=case["topK"], top_p=case["topP"], min_p=case["minP"]
        )
        logits = np.array([case["logits"]], np.float32)
        expected = filters.weights(logits, case["temperature"])
        np.testing.assert_allclose(weights, expected[0], rtol=1e-12)
        assert token == draw(expected, np.array([case["number"]]))[0]


def test_random_numbers(call: Call) -> None:
    numbers, again, others = call(
        "[7, 7, 8].map((seed) => Array.from({ length: 2000 }, randomNumbers(seed)))"
    )
    assert numbers == again != others
    counts = np.histogram(numbers, 10, (0, 1))[0]
    assert min(numbers) >= 0
    assert abs(counts - 200).max() < 60
    assert abs(np.corrcoef(numbers, others)[0, 1]) < 0.1


def test_characters_are_split_as_in_python(call: Call) -> None:
    """Those of Python's version of Unicode; one in 64 of the scripts without capitals."""
    text = ""
    for code in range(1, sys.maxunicode):
        character = chr(code)
        category = unicodedata.category(character)
        if category not in ("Cn", "Co", "Cs") and (category != "Lo" or code % 64 == 0):
            text += f"a{character}b {character}{character}'{character}  {character}\u0301.\n"
    found = call("splitWords(given).join('\\0')", text).split("\0")
    pairs = zip(found, word_splitter()(text), strict=True)
    assert [pair for pair in pairs if len(set(pair)) > 1] == []


def test_bytes_are_decoded_as_in_python(call: Call) -> None:
    octets = np.random.default_rng(0).choice([0x41, 0x80, 0xBF, 0xC3, 0xE2, 0xEF, 0xF0], 3000)
    found = call("given.map(new ByteTokenizer(null, false).decoder()).join('')", octets.tolist())
    assert found == "".join(map(ByteTokenizer().decoder(), octets.tolist()))


@pytest.mark.parametrize("stop", ["aab", "ab", "b", "aaa"])
def test_stop_texts(call: Call, stop: str) -> None:
    """The text ends before the first one, which may lie across tokens."""
    text = "aacaaaabaab"
    pieces = call(
        """(() => {
          const tokenizer = new CharacterTokenizer([97, 98, 99], false);
          let place = 0;
          const network = {
            reset() {},
            step() {
              const next = given.text[place++];
              return tokenizer.known.map((character) => Number(character === next));
            },
          };
          const settings = { prompt: "a", temperature: 0, topK: null, topP: null, minP: null };
          const options = { ...settings, length: given.text.length, stop: given.stop, seed: 0 };
          const { values, result } = drain(write({ network, tokenizer, opening: [] }, options));
          return [values.join(""), result.ending];
        })()""",
        {"text": text, "stop": stop},
    )
    assert pieces == [text[: text.index(stop)], "stop"]


def can_build() -> bool:
    if not (shutil.which("clang") and shutil.which("wasm-ld")):
        return False
    targets = subprocess.run(["clang", "--print-targets"], capture_output=True, check=False).stdout
    return b"wasm32" in targets


@pytest.mark.skipif(not can_build(), reason="the kernel needs clang: apt-get install clang lld")
def test_the_kernel_is_built_from_its_source(call: Call, tmp_path: Path) -> None:
    """With the compiler that the kernel names, to the last byte."""
    subprocess.run([EXPORT / "wasm/build.sh", tmp_path / "kernel.wasm"], check=True)
    built, kept = ((at / "kernel.wasm").read_bytes() for at in (tmp_path, EXPORT / "page"))
    if built.partition(b"processed-by")[2] == kept.partition(b"processed-by")[2]:
        assert built == kept
    page = page_of(make_run(tmp_path / "run"))
    given = {name: part(page, name) for name in ("data", "weights")} | {"text": make_book()}
    losses = [
        call(
            """(load({ ...given, data: JSON.parse(given.data) }),
              [model.network.constructor.name,
               drain(measure(model, { text: given.text })).result.loss])""",
            given | {"kernel": base64.b64encode(kernel).decode()},
        )
        for kernel in (built, kept)
    ]
    assert losses[0] == ["KernelNetwork", pytest.approx(losses[1][1], abs=1e-6)]
